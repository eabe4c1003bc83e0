//! A strict JSON walker over bytes: finds where values begin and end, without building anything.
//!
//! It accepts what RFC 8259 calls JSON text, nested at most [`DEPTH_MAX`] deep: the depth to which
//! `serde_json` reads a value, so that whatever passes here can be read again behind the journal.
//! Like that crate's skipping of values it does not pair surrogate escapes (`\ud800` alone passes)
//! and does not judge a number's size. It decides nothing about meaning; duplicates are the scan's.
//!
//! Invariant: a span that is given out holds one well-formed value. Only [`check`], [`is_object`]
//! and `scan` look at UTF-8, once, over all bytes.

use std::ops::Range;

use memchr::memchr2;

/// How deep arrays and objects may nest.
pub const DEPTH_MAX: u32 = 127;

/// Why bytes are not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {position}")]
pub struct JsonError {
    /// Where, counted from 0.
    pub position: usize,
    /// What is wrong.
    pub problem: &'static str,
}

/// One member of an object, as spans into the bytes that were walked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The key with its quotes.
    pub key: Range<usize>,
    /// The value, without the space around it.
    pub value: Range<usize>,
}

/// Says whether the bytes are one JSON text.
pub fn check(bytes: &[u8]) -> Result<(), JsonError> {
    check_utf8(bytes)?;
    let end = skip_value(bytes, skip_space(bytes, 0))?;
    check_end(bytes, end)
}

/// Whether the bytes are one JSON text, and that an object.
pub fn is_object(bytes: &[u8]) -> bool {
    bytes.get(skip_space(bytes, 0)) == Some(&b'{') && check(bytes).is_ok()
}

/// Says where the bytes stop being UTF-8, if they do.
pub(crate) fn check_utf8(bytes: &[u8]) -> Result<(), JsonError> {
    match std::str::from_utf8(bytes) {
        Ok(_) => Ok(()),
        Err(error) => fail(error.valid_up_to(), "invalid UTF-8"),
    }
}

/// Says what follows the end of the value, if it is more than space.
pub(crate) fn check_end(bytes: &[u8], end: usize) -> Result<(), JsonError> {
    let end = skip_space(bytes, end);
    if end < bytes.len() { fail(end, "unexpected text after the JSON value") } else { Ok(()) }
}

/// The position of the first byte at or after `at` that is not JSON's white space.
pub fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

/// The end of the value that begins at `start`.
pub fn skip_value(bytes: &[u8], start: usize) -> Result<usize, JsonError> {
    skip_nested(bytes, start, DEPTH_MAX)
}

/// As [`skip_value`], with fewer levels left.
fn skip_nested(bytes: &[u8], start: usize, depth_max: u32) -> Result<usize, JsonError> {
    let mut at = start;
    // One bit for each open container, the innermost lowest: 1 for an object.
    let mut open = 0_u128;
    let mut depth = 0;
    loop {
        let first = bytes.get(at).copied();
        if let Some(b'{' | b'[') = first {
            let is_object = first == Some(b'{');
            if depth == depth_max {
                return fail(at, "arrays and objects nested too deep");
            }
            let next = skip_space(bytes, at + 1);
            if bytes.get(next) == Some(if is_object { &b'}' } else { &b']' }) {
                at = next + 1;
            } else {
                depth += 1;
                open = open << 1 | u128::from(is_object);
                at = if is_object { skip_key(bytes, next)?.1 } else { next };
                continue;
            }
        } else {
            at = skip_scalar(bytes, at)?;
        }
        // A value ended here: so may what it stands in.
        loop {
            if depth == 0 {
                return Ok(at);
            }
            at = skip_space(bytes, at);
            let is_object = open & 1 == 1;
            match bytes.get(at) {
                Some(b',') => {
                    at = skip_space(bytes, at + 1);
                    if is_object {
                        at = skip_key(bytes, at)?.1;
                    }
                    break;
                }
                Some(b'}') if is_object => {}
                Some(b']') if !is_object => {}
                _ if is_object => return fail(at, "expected `,` or `}`"),
                _ => return fail(at, "expected `,` or `]`"),
            }
            depth -= 1;
            open >>= 1;
            at += 1;
        }
    }
}

/// The members of the object that begins at `start`, in order. Stops after the first error.
pub fn members(bytes: &[u8], start: usize) -> Members<'_> {
    Members(Items { bytes, at: start, open: b'{', close: b'}', state: State::Before })
}

/// The elements of the array that begins at `start`, in order. Stops after the first error.
pub fn elements(bytes: &[u8], start: usize) -> Elements<'_> {
    Elements(Items { bytes, at: start, open: b'[', close: b']', state: State::Before })
}

/// See [`members`].
#[derive(Debug, Clone)]
pub struct Members<'a>(Items<'a>);

impl Members<'_> {
    /// The end of the object, once all members were given out without an error.
    pub fn end(&self) -> Option<usize> {
        self.0.end()
    }
}

impl Iterator for Members<'_> {
    type Item = Result<Member, JsonError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_item(|bytes, at| {
            let (key_end, value_start) = skip_key(bytes, at)?;
            let value_end = skip_nested(bytes, value_start, DEPTH_MAX - 1)?;
            Ok((Member { key: at..key_end, value: value_start..value_end }, value_end))
        })
    }
}

/// See [`elements`].
#[derive(Debug, Clone)]
pub struct Elements<'a>(Items<'a>);

impl Elements<'_> {
    /// The end of the array, once all elements were given out without an error.
    pub fn end(&self) -> Option<usize> {
        self.0.end()
    }
}

impl Iterator for Elements<'_> {
    type Item = Result<Range<usize>, JsonError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_item(|bytes, at| {
            let end = skip_nested(bytes, at, DEPTH_MAX - 1)?;
            Ok((at..end, end))
        })
    }
}

#[derive(Debug, Clone)]
struct Items<'a> {
    bytes: &'a [u8],
    at: usize,
    open: u8,
    close: u8,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Before,
    Inside,
    Ended,
    Failed,
}

impl Items<'_> {
    fn end(&self) -> Option<usize> {
        (self.state == State::Ended).then_some(self.at)
    }

    fn next_item<T>(
        &mut self,
        item: impl FnOnce(&[u8], usize) -> Result<(T, usize), JsonError>,
    ) -> Option<Result<T, JsonError>> {
        let next = self
            .step()
            .and_then(|more| if more { item(self.bytes, self.at).map(Some) } else { Ok(None) });
        match next {
            Ok(None) => None,
            Ok(Some((item, end))) => {
                self.at = end;
                Some(Ok(item))
            }
            Err(error) => {
                self.state = State::Failed;
                Some(Err(error))
            }
        }
    }

    /// Goes to the first byte of the next item; `false` at the end.
    fn step(&mut self) -> Result<bool, JsonError> {
        match self.state {
            State::Ended | State::Failed => return Ok(false),
            State::Before => {
                if self.bytes.get(self.at) != Some(&self.open) {
                    return fail(self.at, "expected an object or an array");
                }
                self.at = skip_space(self.bytes, self.at + 1);
                self.state = State::Inside;
                if self.bytes.get(self.at) != Some(&self.close) {
                    return Ok(true);
                }
            }
            State::Inside => {
                self.at = skip_space(self.bytes, self.at);
                match self.bytes.get(self.at) {
                    Some(b',') => {
                        self.at = skip_space(self.bytes, self.at + 1);
                        return Ok(true);
                    }
                    Some(byte) if *byte == self.close => {}
                    _ => return fail(self.at, "expected `,` or the closing bracket"),
                }
            }
        }
        self.state = State::Ended;
        self.at += 1;
        Ok(false)
    }
}

/// The key's end, and where its value begins.
fn skip_key(bytes: &[u8], at: usize) -> Result<(usize, usize), JsonError> {
    if bytes.get(at) != Some(&b'"') {
        return fail(at, "expected a key in double quotes");
    }
    let key_end = skip_string(bytes, at)?;
    let colon = skip_space(bytes, key_end);
    if bytes.get(colon) != Some(&b':') {
        return fail(colon, "expected `:`");
    }
    Ok((key_end, skip_space(bytes, colon + 1)))
}

fn skip_scalar(bytes: &[u8], at: usize) -> Result<usize, JsonError> {
    let literal = |text: &str| {
        let end = at + text.len();
        let found = bytes.get(at..end) == Some(text.as_bytes());
        if found { Ok(end) } else { fail(at, "expected a JSON value") }
    };
    match bytes.get(at) {
        Some(b'"') => skip_string(bytes, at),
        Some(b'-' | b'0'..=b'9') => skip_number(bytes, at),
        Some(b't') => literal("true"),
        Some(b'f') => literal("false"),
        Some(b'n') => literal("null"),
        _ => fail(at, "expected a JSON value"),
    }
}

fn skip_string(bytes: &[u8], start: usize) -> Result<usize, JsonError> {
    let mut at = start + 1;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(run) = memchr2(b'"', b'\\', rest) else {
            return fail(bytes.len(), "string without an end");
        };
        // The least byte, without an early exit, so that the compiler checks many at once.
        if rest[..run].iter().fold(u8::MAX, |least, byte| least.min(*byte)) < 0x20 {
            return fail(at, "control character in a string");
        }
        at += run;
        if bytes[at] == b'"' {
            return Ok(at + 1);
        }
        at = skip_escape(bytes, at)?;
    }
}

fn skip_escape(bytes: &[u8], backslash: usize) -> Result<usize, JsonError> {
    match bytes.get(backslash + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(backslash + 2),
        Some(b'u') => {
            let digits = bytes.get(backslash + 2..backslash + 6).unwrap_or_default();
            let is_hex = digits.len() == 4 && digits.iter().all(u8::is_ascii_hexdigit);
            if is_hex { Ok(backslash + 6) } else { fail(backslash, "invalid escape in a string") }
        }
        _ => fail(backslash, "invalid escape in a string"),
    }
}

fn skip_number(bytes: &[u8], start: usize) -> Result<usize, JsonError> {
    let digits = |mut at: usize| {
        let from = at;
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        if at == from { fail(at, "expected a digit") } else { Ok(at) }
    };
    let mut at = start + usize::from(bytes[start] == b'-');
    at = if bytes.get(at) == Some(&b'0') { at + 1 } else { digits(at)? };
    if bytes.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        at = digits(at + usize::from(matches!(bytes.get(at), Some(b'+' | b'-'))))?;
    }
    Ok(at)
}

fn fail<T>(position: usize, problem: &'static str) -> Result<T, JsonError> {
    Err(JsonError { position, problem })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn serde_accepts(bytes: &[u8]) -> bool {
        serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
            && std::str::from_utf8(bytes).is_ok()
    }

    #[test]
    fn it_accepts_and_refuses_what_serde_json_does() {
        let cases: &[&[u8]] = &[
            b"",
            b" ",
            b"{}",
            b" [ ] ",
            b"[1,]",
            b"[,1]",
            b"{\"a\":1,}",
            b"{\"a\" : [1, {}] }",
            b"{a:1}",
            b"{\"a\"}",
            b"{\"a\":}",
            b"[}",
            b"{]",
            b"nul",
            b"null",
            b"nulll",
            b"true false",
            b"0",
            b"-0",
            b"00",
            b"-",
            b"01",
            b"1.",
            b".5",
            b"1.5e",
            b"1e+5",
            b"1E-05",
            b"1e999",
            b"\"\"",
            b"\"",
            b"\"\\\"",
            b"\"\\u12g4\"",
            b"\"\\ud800\"",
            b"\"\\x\"",
            b"\"\x01\"",
            b"\"\xff\"",
            b"\"\xc3\xa9\"",
            b"\"\x7f\"",
            b"\xef\xbb\xbf{}",
            b"[1 2]",
            b"{\"a\":1 \"b\":2}",
            b"\x0b1",
            b"1\0",
        ];
        for case in cases {
            let text = String::from_utf8_lossy(case);
            assert_eq!(check(case).is_ok(), serde_accepts(case), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded_where_serde_json_bounds_values() {
        for depth in [1, 126, 127, 128, 129, 4000] {
            let text = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
            let read = serde_json::from_str::<serde_json::Value>(&text);
            assert_eq!(check(text.as_bytes()).is_ok(), read.is_ok(), "depth {depth}");
            let mut walk = elements(text.as_bytes(), 0);
            assert_eq!(walk.all(|item| item.is_ok()), read.is_ok(), "depth {depth}");
            let text = format!("{{\"a\":{}1{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
            let mut walk = members(text.as_bytes(), 0);
            assert_eq!(walk.all(|item| item.is_ok()), read.is_ok(), "depth {depth}");
        }
    }

    #[test]
    fn an_error_names_the_byte() {
        let error = check(b"{\"a\": 1, b: 2}").unwrap_err();
        assert_eq!(error.to_string(), "expected a key in double quotes at byte 9");
    }

    #[test]
    fn members_and_elements_are_spans_without_space() {
        let bytes = b" { \"a\" : [ 1 , \"x,]\" ] , \"b\":{} } ";
        let mut walk = members(bytes, 1);
        let found: Vec<_> = walk
            .by_ref()
            .map(|member| {
                let Member { key, value } = member.unwrap();
                (&bytes[key], &bytes[value])
            })
            .collect();
        assert_eq!(found, [(&b"\"a\""[..], &b"[ 1 , \"x,]\" ]"[..]), (&b"\"b\""[..], &b"{}"[..])]);
        assert_eq!(walk.end(), Some(bytes.len() - 1));
        let items: Vec<_> = elements(bytes, 9).map(|item| &bytes[item.unwrap()]).collect();
        assert_eq!(items, [&b"1"[..], b"\"x,]\""]);
        assert!(members(b"[]", 0).next().is_some_and(|first| first.is_err()));
    }

    /// Bytes that are nearly JSON: pieces of its grammar in any order.
    fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a\"",
            "\"",
            "\\",
            "\\u00e9",
            "\\n",
            "0",
            "1",
            "-",
            ".",
            "e",
            "+",
            "true",
            "null",
            " ",
            "\n",
            "é",
            "\u{1}",
            "12.5e-3",
            "{\"k\":[1,2]}",
        ]);
        let pieces = prop::collection::vec(piece, 0..24).prop_map(|p| p.concat().into_bytes());
        prop_oneof![pieces, prop::collection::vec(any::<u8>(), 0..24)]
    }

    proptest! {
        #[test]
        fn law_any_bytes_are_judged_as_serde_json_judges_them(bytes in nearly_json()) {
            prop_assert_eq!(check(&bytes).is_ok(), serde_accepts(&bytes));
        }
    }
}
