//! `OpenAI`'s dialect: requests on their way to a provider, streams on their way to the caller.
//!
//! A request keeps the caller's bytes but for the edits listed at [`request`]; what a whole answer
//! says is not touched at all. Which deployment is asked, and what its failure means for the call,
//! is not decided here.

mod deltas;
mod passthrough;

use std::borrow::Cow;

use bytes::Bytes;
use domain::{event::Delta, failure::Failure};

pub use self::passthrough::Passthrough;
pub(crate) use self::{
    deltas::Deltas,
    passthrough::{cut_short, garbage},
};
use crate::{
    scan::{Scan, key_text, scan},
    splice::{Edit, splice, splice_pieces},
};

/// What goes to the caller of a stream in `OpenAI`'s dialect.
pub trait CallerStream: Send {
    /// Takes bytes from the provider; appends to `out` what the caller gets now, in whole events.
    ///
    /// Of a failure of kind `StreamError` the caller has been told by the last bytes of `out`; of
    /// any other it has not. After a failure the stream takes nothing more.
    fn push(&mut self, bytes: Bytes, out: &mut Vec<Bytes>) -> Result<(), Failure>;

    /// Deltas seen since the last call; always empty unless built with `want_deltas`.
    fn take_deltas(&mut self) -> Vec<Delta>;

    /// Whether the protocol's end was seen, and all is in `out`. What follows it is ignored.
    fn is_complete(&self) -> bool;

    /// The provider's bytes ended: appends what is due, or says why this is no clean end.
    fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), Failure>;
}

/// The body that a provider in `OpenAI`'s dialect gets: the caller's, with these edits.
///
/// `model` becomes the deployment's; with `ask_usage` a streamed call gets
/// `stream_options.include_usage: true`, the other members of its `stream_options` kept; fields
/// that are addressed to the gateway are removed. The body comes in pieces, so that a long prompt
/// is not copied; if nothing of this changes a byte, as the one that it was.
pub fn request(body: &Bytes, scan: &Scan, model: &str, ask_usage: bool) -> Vec<Bytes> {
    let model = quoted(model);
    let options = if ask_usage && scan.bool(body, "stream") == Some(true) {
        with_usage(scan.raw(body, "stream_options"))
    } else {
        None
    };
    let ours: Vec<_> = scan
        .members
        .iter()
        .map(|member| key_text(body, member))
        .filter(|key| is_for_gateway(key))
        .collect();
    let mut edits = Vec::with_capacity(2 + ours.len());
    edits.push(Edit::Set { key: "model", value: &model });
    if let Some(options) = &options {
        edits.push(Edit::Set { key: "stream_options", value: options });
    }
    edits.extend(ours.iter().map(|key| Edit::Remove { key }));
    splice_pieces(body, scan, &edits)
}

/// Whether a top-level field is addressed to the gateway and unknown to providers.
pub(crate) fn is_for_gateway(key: &str) -> bool {
    const OURS: [&str; 12] = [
        "api_key",
        "fallbacks",
        "mock_delay",
        "mock_response",
        "mock_timeout",
        "mock_tool_calls",
        "no-log",
        "num_retries",
        "session_id",
        "tags",
        "timeout",
        "trace",
    ];
    OURS.contains(&key) || key.starts_with("litellm_") || key.starts_with("helicone-")
}

/// The caller's `stream_options` asking for usage; `None` if they are something that the provider
/// should refuse.
fn with_usage(raw: Option<&[u8]>) -> Option<String> {
    let raw = match raw {
        None | Some(b"null") => return Some(r#"{"include_usage":true}"#.to_owned()),
        Some(raw) => Bytes::copy_from_slice(raw),
    };
    let options = scan(&raw).ok()?;
    let edited = splice(&raw, &options, &[Edit::Set { key: "include_usage", value: "true" }]);
    String::from_utf8(edited.into()).ok()
}

/// Text as a JSON string.
pub(crate) fn quoted(text: &str) -> Cow<'_, str> {
    serde_json::to_string(text).map_or_else(|_| Cow::Borrowed("\"\""), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: &str, ask_usage: bool) -> String {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let scan = scan(&body).unwrap();
        let asked = request(&body, &scan, "gpt-4o", ask_usage).concat();
        String::from_utf8(asked).unwrap()
    }

    #[test]
    fn a_request_changes_in_the_listed_places_only() {
        let cases = [
            (r#"{"model": "fast", "x_new":[1.10]}"#, r#"{"model": "gpt-4o", "x_new":[1.10]}"#),
            (
                r#"{"model":"gpt-4o","stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"model":"gpt-4o","stream":true}"#,
            ),
            (
                r#"{"model":"gpt-4o","stream":true,"stream_options":null}"#,
                r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":false}}"#,
                r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"model":"gpt-4o","stream":true,"stream_options":{"a":1}}"#,
                r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true,"a":1}}"#,
            ),
            (
                r#"{"model":"gpt-4o","stream":true,"stream_options":7}"#,
                r#"{"model":"gpt-4o","stream":true,"stream_options":7}"#,
            ),
            (r#"{"model":"gpt-4o","stream":false}"#, r#"{"model":"gpt-4o","stream":false}"#),
            (
                r#"{"no-log":true,"model":"a","metadata":{"tags":[]},"litellm_x":1,"user":"u"}"#,
                r#"{"model":"gpt-4o","metadata":{"tags":[]},"user":"u"}"#,
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(asked(body, true), expected);
        }
        let streamed = r#"{"model":"gpt-4o","stream":true}"#;
        assert_eq!(asked(streamed, false), streamed);
    }

    #[test]
    fn a_request_that_needs_no_edit_is_not_copied() {
        let body = Bytes::from_static(br#"{"model":"gpt-4o","messages":[]}"#);
        let scan = scan(&body).unwrap();
        assert_eq!(request(&body, &scan, "gpt-4o", true)[0].as_ptr(), body.as_ptr());
    }
}
