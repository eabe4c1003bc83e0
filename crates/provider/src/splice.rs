//! Edits top-level fields of a JSON object and leaves every other byte as it was.
//!
//! Invariant: without edits that change anything the same bytes come back, not a copy; in pieces,
//! large unchanged parts are never copied.

use bytes::Bytes;

use crate::scan::{Scan, is_key};

/// One edit of a top-level field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit<'a> {
    /// Replaces the value, or adds the field at the front of the object.
    Set {
        /// The field: text that needs no escaping.
        key: &'a str,
        /// Its new value, as raw JSON.
        value: &'a str,
    },
    /// Removes the field, if it is there.
    Remove {
        /// The field.
        key: &'a str,
    },
}

impl Edit<'_> {
    fn key(&self) -> &str {
        match self {
            Self::Set { key, .. } | Self::Remove { key } => key,
        }
    }
}

/// An unchanged part of at least this size is a piece of its own: sending it from its place costs
/// less than copying it.
const PIECE_BYTES_MIN: usize = 4 << 10;

/// The body with the edits applied, as pieces that follow each other; none is empty. `scan` is the
/// body's own; no two edits name the same field.
pub fn splice_pieces(body: &Bytes, scan: &Scan, edits: &[Edit<'_>]) -> Vec<Bytes> {
    if !changes(body, scan, edits) {
        return vec![body.clone()];
    }
    let mut pieces = Vec::new();
    let mut gathered = Vec::new();
    let own = body.as_ptr_range();
    write(body, scan, edits, &mut |part| {
        if part.len() < PIECE_BYTES_MIN || !own.contains(&part.as_ptr()) {
            return gathered.extend_from_slice(part);
        }
        if !gathered.is_empty() {
            pieces.push(Bytes::from(std::mem::take(&mut gathered)));
        }
        pieces.push(body.slice_ref(part));
    });
    if !gathered.is_empty() {
        pieces.push(Bytes::from(gathered));
    }
    pieces
}

/// The body with the edits applied. `scan` is the body's own; no two edits name the same field.
pub fn splice(body: &Bytes, scan: &Scan, edits: &[Edit<'_>]) -> Bytes {
    if !changes(body, scan, edits) {
        return body.clone();
    }
    let mut length = 0;
    write(body, scan, edits, &mut |part| length += part.len());
    let mut spliced = Vec::with_capacity(length);
    write(body, scan, edits, &mut |part| spliced.extend_from_slice(part));
    Bytes::from(spliced)
}

fn changes(body: &[u8], scan: &Scan, edits: &[Edit<'_>]) -> bool {
    edits.iter().any(|edit| match edit {
        Edit::Set { key, value } => scan.raw(body, key) != Some(value.as_bytes()),
        Edit::Remove { key } => scan.member(body, key).is_some(),
    })
}

/// Gives out the parts of the edited body in order.
fn write(body: &[u8], scan: &Scan, edits: &[Edit<'_>], out: &mut impl FnMut(&[u8])) {
    let Some((first, last)) = scan.members.first().zip(scan.members.last()) else {
        out(&body[..=scan.open]);
        add_absent(body, scan, edits, out);
        out(&body[scan.open + 1..]);
        return;
    };
    out(&body[..first.key.start]);
    let mut any = add_absent(body, scan, edits, out);
    let mut previous_end = None;
    for member in &scan.members {
        let edit = edits.iter().find(|edit| is_key(body, member, edit.key()));
        if !matches!(edit, Some(Edit::Remove { .. })) {
            match previous_end {
                // What stood between this member and the one before it: a comma, and space.
                Some(end) if any => out(&body[end..member.key.start]),
                _ if any => out(b","),
                _ => {}
            }
            match edit {
                Some(Edit::Set { value, .. }) => {
                    out(&body[member.key.start..member.value.start]);
                    out(value.as_bytes());
                }
                _ => out(&body[member.key.start..member.value.end]),
            }
            any = true;
        }
        previous_end = Some(member.value.end);
    }
    out(&body[last.value.end..]);
}

/// Adds the fields to set that are not there; says whether there were any.
fn add_absent(body: &[u8], scan: &Scan, edits: &[Edit<'_>], out: &mut impl FnMut(&[u8])) -> bool {
    let mut any = false;
    for edit in edits {
        if let Edit::Set { key, value } = edit
            && scan.member(body, key).is_none()
        {
            out(if any { b",\"" } else { b"\"" });
            out(key.as_bytes());
            out(b"\":");
            out(value.as_bytes());
            any = true;
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;
    use crate::scan::scan;

    fn spliced(body: &str, edits: &[Edit<'_>]) -> String {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let scan = scan(&body).unwrap();
        String::from_utf8(splice(&body, &scan, edits).to_vec()).unwrap()
    }

    #[test]
    fn every_other_byte_stays() {
        let set = |key, value| Edit::Set { key, value };
        let remove = |key| Edit::Remove { key };
        let cases: &[(&str, &[Edit<'_>], &str)] = &[
            (r#"{"a": 1, "b":2}"#, &[set("a", "7")], r#"{"a": 7, "b":2}"#),
            (r#"{"a":1 , "b":2}"#, &[remove("a")], r#"{"b":2}"#),
            (r#"{"a":1 , "b":2 }"#, &[remove("b")], r#"{"a":1 }"#),
            (r#"{"a":1,"b":2,"c":3}"#, &[remove("b")], r#"{"a":1,"c":3}"#),
            (r#"{"a":1,"b":2,"c":3}"#, &[remove("b"), remove("c")], r#"{"a":1}"#),
            (r#" { "a":1 } "#, &[remove("a")], " {  } "),
            (r#"{"a":1}"#, &[set("b", "2"), set("c", "3")], r#"{"b":2,"c":3,"a":1}"#),
            (r#"{"a":1}"#, &[set("b", "2"), remove("a")], r#"{"b":2}"#),
            ("{ }", &[set("b", "2")], r#"{"b":2 }"#),
            (r#"{"m\u006fdel":1}"#, &[set("model", "2")], r#"{"m\u006fdel":2}"#),
            (r#"{"x":1,"y":2,"x":3}"#, &[remove("x")], r#"{"y":2}"#),
        ];
        for (body, edits, expected) in cases {
            assert_eq!(spliced(body, edits), *expected, "{body} {edits:?}");
        }
    }

    #[test]
    fn what_changes_nothing_costs_no_copy() {
        let body = Bytes::from_static(br#"{"model":"a","n":1}"#);
        let scan = scan(&body).unwrap();
        let edits = [Edit::Set { key: "model", value: "\"a\"" }, Edit::Remove { key: "x" }];
        for edits in [&edits[..], &[]] {
            assert_eq!(splice(&body, &scan, edits).as_ptr(), body.as_ptr());
        }
    }

    fn object() -> impl Strategy<Value = Map<String, Value>> {
        let key = prop::sample::select(vec!["model", "a", "b", "é", "x\"y", "trace", "tags"]);
        let value = prop_oneof![
            any::<i32>().prop_map(Value::from),
            "[a-z\"\\\\é]{0,6}".prop_map(Value::from),
            Just(serde_json::json!({"model": [1, {"trace": null}]})),
        ];
        prop::collection::btree_map(key.prop_map(str::to_owned), value, 0..6)
            .prop_map(|members| members.into_iter().collect())
    }

    fn written(object: &Map<String, Value>, pretty: bool) -> String {
        let text = if pretty {
            serde_json::to_string_pretty(object)
        } else {
            serde_json::to_string(object)
        };
        text.unwrap()
    }

    proptest! {
        #[test]
        fn law_the_pieces_are_the_spliced_body(text in "[a-z\"\\\\]{0,9000}", model in "[a-z]{1,9}") {
            let body = serde_json::json!({"a": text, "model": model, "z": text}).to_string();
            let body = Bytes::from(body);
            let scanned = scan(&body).unwrap();
            let edits = [Edit::Set { key: "model", value: "\"other\"" }, Edit::Remove { key: "z" }];
            let pieces = splice_pieces(&body, &scanned, &edits);
            prop_assert!(pieces.iter().all(|piece| !piece.is_empty()));
            prop_assert_eq!(pieces.concat(), splice(&body, &scanned, &edits).to_vec());
        }

        #[test]
        fn law_setting_the_model_changes_nothing_but_the_model(
            mut object in object(),
            pretty: bool,
        ) {
            let body = written(&object, pretty);
            let edited = spliced(&body, &[Edit::Set { key: "model", value: "\"new\"" }]);
            object.insert("model".into(), "new".into());
            let read: Map<String, Value> = serde_json::from_str(&edited).unwrap();
            prop_assert_eq!(read, object);
        }

        #[test]
        fn law_removing_then_parsing_is_parsing_then_removing(
            mut object in object(),
            pretty: bool,
            keys in prop::sample::subsequence(vec!["model", "a", "trace", "tags", "é"], 0..=5),
        ) {
            let edits: Vec<_> = keys.iter().map(|key| Edit::Remove { key }).collect();
            let edited = spliced(&written(&object, pretty), &edits);
            for key in keys {
                object.remove(key);
            }
            let read: Map<String, Value> = serde_json::from_str(&edited).unwrap();
            prop_assert_eq!(read, object);
        }
    }
}
