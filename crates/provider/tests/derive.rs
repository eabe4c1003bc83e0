//! Exchanges to events, folder by folder: add a folder to `golden/derive`, not code.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail where its world is odd")]

#[path = "support/cases.rs"]
mod cases;

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use domain::{
    event::{Detail, Event, Report},
    exchange::{Exchange, Payload},
    record::{Entry, Record},
};
use provider::{derive::derive, price::Prices, redact};
use serde_json::{Value, json};

fn golden() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/derive"))
}

#[test]
fn exchanges_become_the_events_of_their_folders() {
    let prices = Prices::new();
    for case in cases::cases(golden()) {
        let events: Vec<Value> = derive(&case.entry, &prices).iter().map(shown).collect();
        insta::with_settings!({
            snapshot_path => golden().join(&case.name),
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_json_snapshot!("events", events);
        });
    }
}

#[test]
fn deriving_again_gives_the_same_events() {
    let (prices, others) = (Prices::new(), Prices::new());
    for case in cases::cases(golden()) {
        let events = derive(&case.entry, &prices);
        assert_eq!(events, derive(&case.entry, &prices), "{}", case.name);
        assert_eq!(events, derive(&case.entry, &others), "{}", case.name);
    }
}

#[test]
fn a_whole_answer_is_kept_byte_for_byte() {
    let cases = cases::cases(golden());
    let case = cases.iter().find(|case| case.name == "unicode").unwrap();
    let Record::Sealed(exchange) = &case.entry.record else { panic!("an outcome") };
    let events = derive(&case.entry, &Prices::new());
    let Detail::Completion(report) = &events[0].detail else { panic!("a completion") };
    let kept = report.response.as_deref().unwrap();
    assert_eq!(kept, std::str::from_utf8(&exchange.response.bytes).unwrap().trim());
}

/// The report of a case's outcome, with another answer in place of its own.
fn reported(case: &cases::Case, prices: &Prices, answer: Bytes) -> Option<Arc<Report>> {
    let Record::Sealed(exchange) = &case.entry.record else { return None };
    let exchange = Exchange { response: Payload::whole(answer), ..Exchange::clone(exchange) };
    let record = Record::Sealed(Arc::new(exchange));
    derive(&Entry { record, ..case.entry.clone() }, prices).first()?.report().cloned()
}

/// The answer's bytes of a case, if it has any.
fn answer(case: &cases::Case) -> Bytes {
    match &case.entry.record {
        Record::Sealed(exchange) => exchange.response.bytes.clone(),
        _ => Bytes::new(),
    }
}

#[test]
fn a_stream_cut_anywhere_keeps_what_came() {
    let prices = Prices::new();
    let of_other_apis = ["responses_stream", "messages_stream", "text_completion_stream"];
    let is_of = |case: &&cases::Case| of_other_apis.iter().any(|api| case.name.starts_with(api));
    for case in cases::cases(golden()).iter().filter(is_of) {
        let bytes = answer(case);
        let whole = reported(case, &prices, bytes.clone()).unwrap();
        let whole = whole.text.as_deref().unwrap_or_default();
        let mut longest = String::new();
        // Every eleventh byte is as good as every one, and quicker.
        for end in (0..bytes.len()).step_by(11) {
            let cut = reported(case, &prices, bytes.slice(..end)).unwrap();
            if let Some(response) = &cut.response {
                let response: Value = serde_json::from_str(response).unwrap();
                assert!(response.is_object(), "{} cut at {end}", case.name);
            }
            let text = cut.text.clone().unwrap_or_default();
            assert!(whole.starts_with(&text), "{} cut at {end}: {text}", case.name);
            assert!(text.starts_with(&longest), "{} cut at {end}: {text}", case.name);
            longest = text;
        }
    }
}

#[test]
fn an_answer_without_its_texts_tells_the_same_numbers() {
    let prices = Prices::new();
    for case in cases::cases(golden()) {
        let Record::Sealed(exchange) = &case.entry.record else { continue };
        let endpoint = exchange.facts.call.endpoint;
        let redacted = if exchange.facts.response_is_stream {
            redact::stream(endpoint, &answer(&case))
        } else {
            redact::response(endpoint, &answer(&case))
        };
        let Some(told) = reported(&case, &prices, answer(&case)) else { continue };
        let left = reported(&case, &prices, redacted).unwrap();
        assert_eq!(left.usage, told.usage, "{}", case.name);
        assert_eq!(left.cost, told.cost, "{}", case.name);
        assert_eq!(left.finish_reason, told.finish_reason, "{}", case.name);
        assert_eq!(left.response_id, told.response_id, "{}", case.name);
        for text in [&left.text, &left.reasoning].into_iter().flatten() {
            assert!(text.replace(redact::MARK, "").trim().is_empty(), "{}: {text}", case.name);
        }
    }
}

/// An event as a snapshot shows it.
fn shown(event: &Event) -> Value {
    let mut value = json!({
        "id": event.id,
        "kind": event.kind().as_str(),
        "sequence": event.sequence,
        "occurred_at": event.occurred_at.to_string(),
    });
    let detail = match &event.detail {
        Detail::Completion(report) | Detail::Error(report) => report_shown(report),
        Detail::RateLimit(limited) => json!({
            "scope": limited.scope,
            "limit_type": limited.kind.as_str(),
            "attempt": limited.attempt,
            "limit": limited.limit,
            "remaining": limited.remaining,
            "retry_after_secs": limited.retry_after_secs,
        }),
        Detail::Noted(note) => json!({"note": &**note}),
        Detail::Streaming(piece) => json!({
            "choice_index": piece.choice_index,
            "token_index_first": piece.token_index_first,
            "token_index": piece.token_index,
            "content": piece.content,
            "finish_reason": piece.finish_reason,
        }),
    };
    let (Value::Object(value), Value::Object(detail)) = (&mut value, detail) else {
        unreachable!("both are objects")
    };
    value.extend(detail);
    Value::Object(value.clone())
}

fn report_shown(report: &Report) -> Value {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    json!({
        "response": report.response.as_deref().map(parsed),
        "response_id": report.response_id,
        "text": report.text,
        "reasoning": report.reasoning,
        "tool_calls": report.tool_calls.as_deref().map(parsed),
        "finish_reason": report.finish_reason,
        "usage": report.usage,
        "usage_json": report.usage_json.as_deref().map(parsed),
        "cost": report.cost,
        "prices": report.prices,
    })
}
