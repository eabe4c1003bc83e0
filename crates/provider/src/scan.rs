//! Finds the top-level members of a request, without a DOM.
//!
//! The whole body is checked to be JSON on the way, so that nothing broken is forwarded. Keys are
//! compared as their text means them: `"m\u006fdel"` is `model`, as it is for the provider.
//!
//! Invariant: no field that the gateway acts on is there twice, so gateway and provider cannot read
//! two different values out of one body.

use std::borrow::Cow;

pub use crate::json::Member;
use crate::json::{self, JsonError};

/// Fields that the gateway reads, sets or removes; each may be there once.
const ACTED_ON: [&str; 29] = [
    "api_key",
    "content_policy_fallbacks",
    "context_window_fallbacks",
    "disable_fallbacks",
    "fallbacks",
    "input",
    "messages",
    "metadata",
    "mock_delay",
    "mock_response",
    "mock_timeout",
    "mock_tool_calls",
    "model",
    "no-log",
    "num_retries",
    "prompt",
    "request_timeout",
    "session_id",
    "store",
    "stream",
    "stream_options",
    "stream_timeout",
    "tags",
    "timeout",
    "trace",
    "turn_off_message_logging",
    "user",
    "litellm_session_id",
    "litellm_trace_id",
];

/// Why a request's body cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// It is not JSON.
    #[error(transparent)]
    NotJson(#[from] JsonError),
    /// It is JSON, but not an object.
    #[error("expected a JSON object")]
    NotAnObject,
    /// A field that the gateway acts on is there twice.
    #[error("the field `{key}` is there twice, the second time at byte {position}")]
    Duplicate {
        /// The field.
        key: String,
        /// Where the second one begins.
        position: usize,
    },
}

/// The top-level members of a request's body, as spans into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Where the opening brace is.
    pub(crate) open: usize,
    pub(crate) members: Vec<Member>,
}

/// Walks the whole body once.
pub fn scan(body: &[u8]) -> Result<Scan, ScanError> {
    json::check_utf8(body)?;
    let open = json::skip_space(body, 0);
    if body.get(open) != Some(&b'{') {
        json::check(body)?;
        return Err(ScanError::NotAnObject);
    }
    let mut walk = json::members(body, open);
    let mut members: Vec<Member> = Vec::with_capacity(12);
    let mut seen = 0_u32;
    for member in walk.by_ref() {
        let member = member?;
        let key = key_text(body, &member);
        if let Some(bit) = ACTED_ON.iter().position(|known| *known == key) {
            if seen & (1 << bit) != 0 {
                let position = member.key.start;
                return Err(ScanError::Duplicate { key: key.into_owned(), position });
            }
            seen |= 1 << bit;
        }
        members.push(member);
    }
    json::check_end(body, walk.end().unwrap_or(body.len()))?;
    Ok(Scan { open, members })
}

impl Scan {
    /// The last member of that key, as a provider would read it. `body` is what was scanned.
    pub fn member(&self, body: &[u8], key: &str) -> Option<&Member> {
        self.members.iter().rev().find(|member| is_key(body, member, key))
    }

    /// The raw JSON of a member's value.
    pub fn raw<'a>(&self, body: &'a [u8], key: &str) -> Option<&'a [u8]> {
        self.member(body, key).map(|member| &body[member.value.clone()])
    }

    /// A member's value as text; `None` if it is not a string.
    pub fn str<'a>(&self, body: &'a [u8], key: &str) -> Option<Cow<'a, str>> {
        text(self.raw(body, key)?)
    }

    /// A member's value as a truth value; `None` if it is not one.
    pub fn bool(&self, body: &[u8], key: &str) -> Option<bool> {
        match self.raw(body, key)? {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        }
    }
}

/// The text of a raw JSON string; `None` if it is none, or has a surrogate without its pair.
pub(crate) fn text(raw: &[u8]) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr::memchr(b'\\', inner).is_none() {
        return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    serde_json::from_slice::<String>(raw).ok().map(Cow::Owned)
}

/// A member's key as text. One with a broken surrogate keeps its raw form: it equals no known key.
pub(crate) fn key_text<'a>(body: &'a [u8], member: &Member) -> Cow<'a, str> {
    let raw = &body[member.key.clone()];
    text(raw).unwrap_or_else(|| String::from_utf8_lossy(raw))
}

/// Whether a member's key means `key`.
pub(crate) fn is_key(body: &[u8], member: &Member, key: &str) -> bool {
    let raw = &body[member.key.start + 1..member.key.end - 1];
    if raw.len() == key.len() {
        // As long as the key and yet escaped would be another key.
        return raw == key.as_bytes();
    }
    raw.len() > key.len() && memchr::memchr(b'\\', raw).is_some() && key_text(body, member) == key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_what_their_keys_mean() {
        let body = br#" {"m\u006fdel" : "gpt-\u0034o", "stream":true,"n":1,"user":null} "#;
        let scan = scan(body).unwrap();
        assert_eq!(scan.str(body, "model").as_deref(), Some("gpt-4o"));
        assert_eq!(scan.raw(body, "model"), Some(&br#""gpt-\u0034o""#[..]));
        assert_eq!(scan.bool(body, "stream"), Some(true));
        assert_eq!(scan.bool(body, "n"), None);
        assert_eq!(scan.str(body, "user"), None);
        assert_eq!(scan.raw(body, "user"), Some(&b"null"[..]));
        assert_eq!(scan.raw(body, "temperature"), None);
    }

    #[test]
    fn a_string_with_a_lone_surrogate_is_no_text() {
        let body = br#"{"model":"\ud800"}"#;
        assert_eq!(scan(body).unwrap().str(body, "model"), None);
    }

    #[test]
    fn errors_say_what_is_wrong_and_where() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "expected a JSON value at byte 0"),
            (b"[1]", "expected a JSON object"),
            (b"{\"a\":1", "expected `,` or the closing bracket at byte 6"),
            (b"{} x", "unexpected text after the JSON value at byte 3"),
            (b"{\"a\":\"\xff\"}", "invalid UTF-8 at byte 6"),
            (
                br#"{"model":"a","m\u006fdel":"b"}"#,
                "the field `model` is there twice, the second time at byte 13",
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(scan(body).unwrap_err().to_string(), *expected);
        }
    }

    #[test]
    fn a_field_that_nobody_acts_on_may_be_there_twice() {
        let body = br#"{"seed":1,"seed":2}"#;
        assert_eq!(scan(body).unwrap().raw(body, "seed"), Some(&b"2"[..]));
    }
}
