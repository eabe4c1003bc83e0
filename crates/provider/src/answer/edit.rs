//! JSON objects put together from others' pieces: every byte that is not replaced stays as it came.

use std::fmt::Write as _;

use bytes::Bytes;

use crate::{
    json,
    request::quoted,
    scan::scan,
    splice::{Edit, splice},
};

/// The object with these members set to raw JSON; as it was if it is no object. The names need no
/// escaping.
pub(super) fn with(object: &str, members: &[(&str, &str)]) -> String {
    let bytes = Bytes::copy_from_slice(object.as_bytes());
    let Ok(scan) = scan(&bytes) else { return object.to_owned() };
    let edits: Vec<_> = members.iter().map(|(key, value)| Edit::Set { key, value }).collect();
    let edited = splice(&bytes, &scan, &edits);
    String::from_utf8(edited.into()).unwrap_or_else(|_| object.to_owned())
}

/// The object with all members of another that are not null put over its own.
pub(super) fn merged(object: &str, over: &str) -> String {
    let members: Vec<_> = json::members(over.as_bytes(), json::skip_space(over.as_bytes(), 0))
        .map_while(Result::ok)
        .map(|member| (&over[member.key.start + 1..member.key.end - 1], &over[member.value]))
        .filter(|(key, value)| *value != "null" && !key.contains('\\'))
        .collect();
    // Twice the same name would be set twice.
    let is_first = |at: usize| members[..at].iter().all(|(key, _)| *key != members[at].0);
    let first: Vec<_> =
        (0..members.len()).filter(|at| is_first(*at)).map(|at| members[at]).collect();
    with(object, &first)
}

/// A JSON array of raw values.
pub(super) fn array<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    let mut out = String::from("[");
    for value in values {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(value);
    }
    out.push(']');
    out
}

/// A tool call of an answer in another protocol than chat's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ToolCall {
    pub(super) id: String,
    pub(super) name: String,
    /// JSON, or for a custom tool any text.
    pub(super) arguments: String,
    pub(super) is_custom: bool,
}

/// Tool calls as chat's `tool_calls`; `None` if there are none.
pub(super) fn tool_calls(calls: &[ToolCall]) -> Option<String> {
    if calls.is_empty() {
        return None;
    }
    let one = |call: &ToolCall| {
        let (id, name, text) = (quoted(&call.id), quoted(&call.name), quoted(&call.arguments));
        let (kind, arguments) =
            if call.is_custom { ("custom", "input") } else { ("function", "arguments") };
        let mut out = String::new();
        // Writing to a `String` cannot fail.
        let _ = write!(
            out,
            r#"{{"id":{id},"type":"{kind}","{kind}":{{"name":{name},"{arguments}":{text}}}}}"#
        );
        out
    };
    let calls: Vec<_> = calls.iter().map(one).collect();
    Some(array(calls.iter().map(String::as_str)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_replaced_where_they_stand_and_null_replaces_nothing() {
        let object = r#"{"a": 1, "b":{"x":[1.10]}}"#;
        assert_eq!(with(object, &[("a", "2")]), r#"{"a": 2, "b":{"x":[1.10]}}"#);
        assert_eq!(merged(object, r#"{"a":null,"b":7,"b":8}"#), r#"{"a": 1, "b":7}"#);
        assert_eq!(merged(object, r#"{"c":3,"d\"":4}"#), r#"{"c":3,"a": 1, "b":{"x":[1.10]}}"#);
        assert_eq!(merged("no object", r#"{"a":1}"#), "no object");
    }

    #[test]
    fn calls_of_functions_and_of_custom_tools_differ() {
        let call = |is_custom| ToolCall {
            id: "c".into(),
            name: "f".into(),
            arguments: r#"{"a":1}"#.into(),
            is_custom,
        };
        let expected = concat!(
            r#"[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}},"#,
            r#"{"id":"c","type":"custom","custom":{"name":"f","input":"{\"a\":1}"}}]"#,
        );
        assert_eq!(tool_calls(&[call(false), call(true)]).as_deref(), Some(expected));
        assert_eq!(tool_calls(&[]), None);
    }
}
