//! JSON as formats need it: written straight into bytes, read without building a tree.
//!
//! Members of a request or an answer pass through as the raw text that they came in, so what this
//! writes is as right as what it was given: raw text must be one JSON value.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// A JSON text while it is written. Commas come by themselves.
#[derive(Debug)]
pub(super) struct Json {
    out: Vec<u8>,
}

impl Json {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes) }
    }

    pub(super) fn open(&mut self) {
        self.out.push(b'{');
    }

    pub(super) fn close(&mut self) {
        self.out.push(b'}');
    }

    pub(super) fn open_list(&mut self) {
        self.out.push(b'[');
    }

    pub(super) fn close_list(&mut self) {
        self.out.push(b']');
    }

    /// A member whose name needs no escapes.
    pub(super) fn field(&mut self, name: &'static str, value: impl Value) {
        self.name(name);
        value.write(&mut self.out);
    }

    /// A member whose name comes from outside.
    pub(super) fn field_named(&mut self, name: &str, value: impl Value) {
        self.comma();
        name.write(&mut self.out);
        self.out.push(b':');
        value.write(&mut self.out);
    }

    /// A member's name without its value, which must follow. It needs no escapes.
    pub(super) fn name(&mut self, name: &'static str) {
        self.comma();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// Members without values, which are all null.
    pub(super) fn nulls(&mut self, names: &[&'static str]) {
        for name in names {
            self.field(name, Null);
        }
    }

    /// An element of a list.
    pub(super) fn element(&mut self, value: impl Value) {
        self.comma();
        value.write(&mut self.out);
    }

    /// An element of a list or a value after its name, which the caller writes now.
    pub(super) fn comma(&mut self) {
        if !matches!(self.out.last(), None | Some(b'{' | b'[' | b':')) {
            self.out.push(b',');
        }
    }

    /// A value after its name.
    pub(super) fn value(&mut self, value: impl Value) {
        value.write(&mut self.out);
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.out
    }
}

/// What can stand after a name.
pub(super) trait Value {
    fn write(self, out: &mut Vec<u8>);
}

/// `null`.
#[derive(Clone, Copy)]
pub(super) struct Null;

/// One JSON value as it was written elsewhere. A text of several lines loses the white space
/// between its tokens: one payload is one line.
#[derive(Clone, Copy)]
pub(super) struct Raw<'a>(pub(super) &'a str);

impl Value for Null {
    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"null");
    }
}

impl Value for Raw<'_> {
    fn write(self, out: &mut Vec<u8>) {
        let bytes = self.0.as_bytes();
        if memchr::memchr2(b'\n', b'\r', bytes).is_none() {
            out.extend_from_slice(bytes);
            return;
        }
        let (mut in_string, mut is_escaped) = (false, false);
        for &byte in bytes {
            if in_string {
                in_string = is_escaped || byte != b'"';
                is_escaped = !is_escaped && byte == b'\\';
            } else if byte.is_ascii_whitespace() {
                continue;
            } else {
                in_string = byte == b'"';
            }
            out.push(byte);
        }
    }
}

impl Value for &str {
    fn write(self, out: &mut Vec<u8>) {
        serde_json::to_writer(out, self).expect("text is JSON, and a vector takes it");
    }
}

impl Value for bool {
    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self { b"true" } else { b"false" });
    }
}

impl Value for u64 {
    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(itoa::Buffer::new().format(self).as_bytes());
    }
}

impl Value for f64 {
    fn write(self, out: &mut Vec<u8>) {
        if self.is_finite() {
            out.extend_from_slice(ryu::Buffer::new().format_finite(self).as_bytes());
        } else {
            Null.write(out);
        }
    }
}

/// A number without a fraction where it is whole: `85`, `85.5`.
#[derive(Clone, Copy)]
pub(super) struct Amount(pub(super) f64);

/// Up to here a float holds every whole number.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

impl Value for Amount {
    fn write(self, out: &mut Vec<u8>) {
        if self.0.fract() == 0.0 && self.0.abs() <= WHOLE_MAX {
            #[expect(clippy::cast_possible_truncation, reason = "whole and within an integer")]
            let whole = self.0 as i64;
            out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
        } else {
            self.0.write(out);
        }
    }
}

impl<T: Value> Value for Option<T> {
    fn write(self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.write(out),
            None => Null.write(out),
        }
    }
}

/// The members of an object, in order, each value as raw text.
#[derive(Debug, Default)]
pub(super) struct Members<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Members<'a> {
    /// Reads an object; anything else has no members.
    pub(super) fn of(json: &'a str) -> Self {
        serde_json::from_str(json).unwrap_or_default()
    }

    /// Reads an object out of bytes; anything else has no members.
    pub(super) fn of_bytes(json: &'a [u8]) -> Self {
        std::str::from_utf8(json).map(Self::of).unwrap_or_default()
    }

    /// The raw value of a member; of the last one where a name stands twice, as parsers do.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The text that a raw value is: a string's, if it is not empty, or a number's as it was written.
pub(super) fn text_of(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'"' => {
            let Name(text) = serde_json::from_str(raw).ok()?;
            Some(text).filter(|text| !text.is_empty())
        }
        b'-' | b'0'..=b'9' => Some(Cow::Borrowed(raw)),
        _ => None,
    }
}

/// The elements of a list, each as raw text; anything else has none.
pub(super) fn elements(json: &str) -> Vec<&RawValue> {
    serde_json::from_str(json).unwrap_or_default()
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &RawValue>()? {
                    members.push((name, value.get()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A name, borrowed unless it has escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_stand_between_and_nowhere_else() {
        let mut json = Json::with_capacity(64);
        json.open();
        json.field("a", 1);
        json.name("b");
        json.open_list();
        json.element("x");
        json.element(Null);
        json.close_list();
        json.name("c");
        json.open();
        json.close();
        json.field_named("d\"", Some(0.0));
        json.close();
        let text = String::from_utf8(json.into_bytes()).unwrap();
        assert_eq!(text, r#"{"a":1,"b":["x",null],"c":{},"d\"":0.0}"#);
    }

    #[test]
    fn an_amount_has_a_fraction_only_if_it_needs_one() {
        let written = |amount| {
            let mut out = Vec::new();
            Amount(amount).write(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(8_500.0), "8500");
        assert_eq!(written(85.25), "85.25");
        assert_eq!(written(-0.0), "0");
        assert_eq!(written(1e300), "1e300");
        assert_eq!(written(f64::INFINITY), "null");
    }

    #[test]
    fn raw_text_becomes_one_line_and_keeps_its_strings() {
        let mut out = Vec::new();
        Raw("{\r\n  \"a\": \"x \\n\\\" \\\\\",\n \"b\" : [ 1, 2 ]\n}").write(&mut out);
        assert_eq!(out, br#"{"a":"x \n\" \\","b":[1,2]}"#);
    }

    #[test]
    fn members_keep_order_and_raw_values() {
        let members = Members::of(r#"{"b":[1, 2],"a":{"x":1},"b":3}"#);
        let seen: Vec<_> = members.iter().collect();
        assert_eq!(seen, [("b", "[1, 2]"), ("a", r#"{"x":1}"#), ("b", "3")]);
        assert_eq!(members.get("b"), Some("3"));
        assert!(Members::of("[1]").is_empty());
    }
}
