//! Exchanges described in folders, for the golden tests of this crate and of `webhook`.
//!
//! A folder of `golden/derive` holds `case.json`, what differs from `base.json` in the facts, and
//! the bodies: `request.json` (else a greeting), `response.json` or `response.sse` (else none).
//! Objects are merged; each of `attempts` is merged into the base's one. `pieces.json` instead of
//! `case.json` holds the deltas of a piece of a stream.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use domain::{
    event::Captured,
    exchange::{Exchange, Facts, Payload},
    record::{Entry, Record, Sequence},
    time::Timestamp,
};
use serde_json::Value;

/// A case's name, and the entry that the journal would hold.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) entry: Entry,
}

/// All cases, by name.
pub(crate) fn cases(golden: &Path) -> Vec<Case> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(golden)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    let base = json(&golden.join("base.json")).unwrap();
    folders.iter().map(|folder| case(folder, &base)).collect()
}

fn case(folder: &Path, base: &Value) -> Case {
    let record = if let Some(pieces) = json(&folder.join("pieces.json")) {
        Record::Captured(Arc::new(Captured {
            call: facts(base, pieces["facts"].clone()).call,
            at: Timestamp::from_millis(1_795_227_718_900),
            deltas: serde_json::from_value(pieces["deltas"].clone()).unwrap(),
        }))
    } else {
        let case = json(&folder.join("case.json")).unwrap();
        Record::Sealed(Arc::new(exchange(folder, facts(base, case))))
    };
    let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
    Case { name, entry: Entry { sequence: Sequence(7), record } }
}

fn exchange(folder: &Path, mut facts: Facts) -> Exchange {
    let read = |name: &str| std::fs::read(folder.join(name)).ok().map(Bytes::from);
    let stream = read("response.sse");
    facts.response_is_stream = stream.is_some();
    let greeting = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Hello!"}]}"#;
    let request = read("request.json").unwrap_or_else(|| Bytes::from_static(greeting.as_bytes()));
    let response = stream.or_else(|| read("response.json")).unwrap_or_default();
    Exchange { facts, request: Payload::whole(request), response: Payload::whole(response) }
}

fn facts(base: &Value, mut case: Value) -> Facts {
    let attempt = &base["attempts"][0];
    if let Some(attempts) = case.get_mut("attempts").and_then(Value::as_array_mut) {
        for own in attempts {
            let mut whole = attempt.clone();
            merge(&mut whole, own);
            *own = whole;
        }
    }
    let mut whole = base.clone();
    merge(&mut whole, &case);
    serde_json::from_value(whole).unwrap()
}

/// Puts members of one object over those of another, objects into objects.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn json(path: &Path) -> Option<Value> {
    let bytes = std::fs::read(path).ok()?;
    Some(serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}
