//! The scan of a request and the splice into it: what passes the scan is JSON, and the splice
//! changes nothing but what it was told to.
#![no_main]

use std::collections::BTreeMap;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use provider::{
    anthropic,
    scan::scan,
    splice::{Edit, splice, splice_pieces},
};
use serde_json::value::RawValue;

type Members = BTreeMap<String, Box<RawValue>>;

const EDITS: [Edit<'_>; 3] = [
    Edit::Set { key: "model", value: "\"gpt-4o\"" },
    Edit::Remove { key: "trace" },
    Edit::Remove { key: "no-log" },
];

fuzz_target!(|data: &[u8]| {
    let body = Bytes::copy_from_slice(data);
    // Whatever it is, a translation must not break.
    let _ = anthropic::request(&body, "claude");
    let Ok(found) = scan(&body) else { return };
    // Numbers that fit no type and deep nesting are the caller's business, not the scan's.
    let Ok(before) = serde_json::from_slice::<Members>(&body) else { return };
    let spliced = splice(&body, &found, &EDITS);
    assert_eq!(splice_pieces(&body, &found, &EDITS).concat(), spliced, "pieces are the same bytes");
    let after: Members = serde_json::from_slice(&spliced).expect("a spliced body is JSON");
    assert_eq!(after["model"].get(), "\"gpt-4o\"");
    assert!(!after.contains_key("trace") && !after.contains_key("no-log"));
    for (key, value) in before {
        if !matches!(key.as_str(), "model" | "trace" | "no-log") {
            assert_eq!(after[&key].get(), value.get(), "{key} changed");
        }
    }
});
