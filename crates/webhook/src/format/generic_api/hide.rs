//! JSON without its texts, for destinations that must not see any.

use crate::format::json::{Json, Members, Null, Raw, Value, elements};

/// What stands where a text was taken out, as in LiteLLM.
pub(super) const REDACTED: &str = "redacted-by-litellm";

/// Members whose text is none of the model's or the caller's.
const KEPT: [&str; 10] = [
    "id",
    "call_id",
    "item_id",
    "type",
    "object",
    "role",
    "name",
    "status",
    "index",
    "server_label",
];

/// Deeper values become null: nothing that a model answers is nested so.
const DEPTH_MAX: usize = 24;

/// Writes a value with the mark in place of its texts, but for ids, names and the like.
pub(super) fn write(json: &mut Json, raw: &str) {
    json.value(Hidden(raw));
}

/// A raw value without its texts.
pub(super) struct Hidden<'a>(pub(super) &'a str);

impl Value for Hidden<'_> {
    fn write(self, out: &mut Vec<u8>) {
        write_value(out, self.0, 0);
    }
}

fn write_value(out: &mut Vec<u8>, raw: &str, depth: usize) {
    match raw.as_bytes().first() {
        Some(b'{' | b'[') if depth == DEPTH_MAX => Null.write(out),
        Some(b'{') => {
            out.push(b'{');
            for (position, (name, value)) in Members::of(raw).iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                name.write(out);
                out.push(b':');
                if KEPT.contains(&name) && value.starts_with('"') {
                    Raw(value).write(out);
                } else {
                    write_value(out, value, depth + 1);
                }
            }
            out.push(b'}');
        }
        Some(b'[') => {
            out.push(b'[');
            for (position, element) in elements(raw).into_iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write_value(out, element.get(), depth + 1);
            }
            out.push(b']');
        }
        Some(b'"') => REDACTED.write(out),
        Some(_) => Raw(raw).write(out),
        None => Null.write(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(raw: &str) -> String {
        let mut out = Vec::new();
        Hidden(raw).write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn texts_go_and_names_stay() {
        assert_eq!(
            hidden(r#"[{"id":"c1","n":[1,"x"],"function":{"name":"f","arguments":"{\"a\":1}"}}]"#),
            concat!(
                r#"[{"id":"c1","n":[1,"redacted-by-litellm"],"#,
                r#""function":{"name":"f","arguments":"redacted-by-litellm"}}]"#
            )
        );
        assert_eq!(
            hidden(r#"{"name":{"text":"x"}}"#),
            r#"{"name":{"text":"redacted-by-litellm"}}"#
        );
    }

    #[test]
    fn what_is_nested_without_end_is_cut() {
        let raw = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(hidden(&raw), format!("{}null{}", "[".repeat(24), "]".repeat(24)));
    }
}
