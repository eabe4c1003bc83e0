//! Events to bytes, case by case: the cases are the folders of `provider/tests/golden/derive`.
//!
//! A snapshot shows each item under its id, members in the order of the wire, two levels deep.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail where its world is odd")]

#[path = "../../provider/tests/support/cases.rs"]
mod cases;
#[path = "support/destinations.rs"]
mod destinations;
#[path = "support/lines.rs"]
mod lines;
#[path = "support/notes.rs"]
mod notes;

use std::{fmt::Write as _, path::Path, sync::Arc};

use bytes::Bytes;
use domain::{
    call::Endpoint,
    destination::{CloudEventsMode, Compat, Destination, Format, LogFormat},
    event::EventType::{Completion, Error, Streaming},
    exchange::{Exchange, Payload},
    record::{Entry, Record, Sequence},
};
use proptest::prelude::*;
use provider::{derive::derive, price::Prices};
use webhook::format::{Item, content_type, events_per_body_max, items, join};

const GENERIC_API: Format = Format::GenericApi(LogFormat::JsonArray);

fn all_cases() -> Vec<cases::Case> {
    cases::cases(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../provider/tests/golden/derive")))
}

fn rendered(case: &cases::Case, prices: &Prices, destination: &Destination) -> Vec<Item> {
    derive(&case.entry, prices).iter().flat_map(|event| items(event, destination)).collect()
}

/// Compares what the destination gets of the named cases, or of all, with `golden/<folder>`.
fn check(folder: &str, destination: &Destination, names: Option<&[&str]>) {
    let prices = Prices::new();
    let mut seen = 0;
    for case in all_cases() {
        if names.is_some_and(|names| !names.contains(&case.name.as_str())) {
            continue;
        }
        seen += 1;
        compare(folder, &case.name, &rendered(&case, &prices, destination));
    }
    assert!(seen > 0 && names.is_none_or(|names| names.len() == seen), "{folder}: a case is gone");
}

/// Compares items with the snapshot of a name.
fn compare(folder: &str, name: &str, items: &[Item]) {
    let mut shown = String::new();
    for item in items {
        let text = std::str::from_utf8(&item.bytes).unwrap();
        let _: serde_json::Value = serde_json::from_str(text).unwrap();
        assert!(!text.contains(['\n', '\r']), "{name}: an item is one line");
        writeln!(shown, "{}", item.id).unwrap();
        writeln!(shown, "{}", lines::two_levels(text)).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    insta::with_settings!({
        snapshot_path => path,
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(name, shown);
    });
}

#[test]
fn gateway_events_are_written_as_their_snapshots_say() {
    check("event", &destinations::of(Format::Event), None);
}

#[test]
fn gateway_events_without_texts_are_written_as_their_snapshots_say() {
    let destination = Destination { privacy: true, ..destinations::of(Format::Event) };
    check("event_private", &destination, Some(&["client_disconnect_stream", "pieces", "success"]));
}

#[test]
fn notes_are_written_as_their_snapshots_say() {
    for (name, event) in notes::all() {
        compare("event", name, &items(&event, &destinations::of(Format::Event)));
    }
}

/// The payloads that seed 002 shows, by cases that tell the same.
const SEED: [(&str, &str); 4] = [
    (
        "success",
        r#"{"event":"completion","request_id":"req_abc123","model":"gpt-4","tokens_used":1250,
            "latency_ms":2340,"timestamp":"2024-01-15T10:30:00Z"}"#,
    ),
    (
        "rate_limit",
        r#"{"event":"error","request_id":"req_def456","error_type":"rate_limit",
            "error_message":"Rate limit exceeded","retry_after":60,
            "timestamp":"2024-01-15T10:35:00Z"}"#,
    ),
    (
        "pieces",
        r#"{"event":"streaming","request_id":"req_ghi789","token_index":42,"content":"Hello",
            "finish_reason":null,"timestamp":"2024-01-15T10:40:00Z"}"#,
    ),
    (
        "budget",
        r#"{"event":"budget","org_id":"org_123","usage_percent":85,"limit_type":"monthly",
            "current_spend":8500,"budget_limit":10000,"timestamp":"2024-01-15T10:45:00Z"}"#,
    ),
];

#[test]
fn each_event_begins_with_the_fields_that_the_seed_shows() {
    let (prices, destination) = (Prices::new(), destinations::of(Format::Event));
    for (name, shown) in SEED {
        let case = all_cases().into_iter().find(|case| case.name == name);
        let item = match &case {
            Some(case) => rendered(case, &prices, &destination).remove(0),
            None => items(&notes::budgets()[0].1, &destination).remove(0),
        };
        let (shown, ours) = (members(shown), members(std::str::from_utf8(&item.bytes).unwrap()));
        for ((key, shown), (our_key, ours)) in shown.iter().zip(&ours) {
            assert_eq!(our_key, key, "{name}: the same fields in the same order");
            // Our stream has ended, the seed's has not.
            let is_alike = key == "finish_reason" || form(ours) == form(shown);
            assert!(is_alike, "{name}: {key} is {ours}, and {shown} in the seed");
            assert!(case.is_some() || ours == shown, "{key} is {ours}");
        }
    }
}

/// Names and values of a flat object's members, in their order.
fn members(json: &str) -> Vec<(String, String)> {
    let json = json.split('\n').map(str::trim).collect::<String>();
    let lines = lines::two_levels(&json);
    let members = lines.lines().filter_map(|line| line.strip_prefix("  ")?.split_once(": "));
    members.map(|(key, value)| (key.replace('"', ""), value.replace(',', ""))).collect()
}

/// A value with its digits as `0`, without the text of what has no form.
fn form(value: &str) -> String {
    let digits: String = value.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    match digits.as_str() {
        text if text.starts_with("\"0000-") => text.to_owned(),
        text => text.chars().take(1).collect(),
    }
}

#[test]
fn cloud_events_are_written_as_their_snapshots_say() {
    let destination = destinations::of(Format::CloudEvents(CloudEventsMode::Structured));
    let names = ["client_disconnect_plain", "pieces", "rate_limit", "success"];
    check("cloudevents", &destination, Some(&names));
    for (name, event) in notes::all() {
        compare("cloudevents", name, &items(&event, &destination));
    }
}

#[test]
fn a_batch_of_cloud_events_is_a_list_of_them() {
    let mode = |mode| destinations::of(Format::CloudEvents(mode));
    let (structured, batch) = (mode(CloudEventsMode::Structured), mode(CloudEventsMode::Batch));
    let items: Vec<Item> =
        notes::budgets().iter().flat_map(|(_, event)| items(event, &batch)).collect();
    let body = join(&batch, &items).to_bytes();
    let listed: Vec<serde_json::Value> = serde_json::from_slice(&body).unwrap();
    assert_eq!(listed.len(), items.len());
    assert!(listed.iter().all(|event| event["specversion"] == "1.0"));
    let single = join(&structured, &items[..1]).to_bytes();
    assert_eq!(single, items[0].bytes);
    assert_eq!(content_type(structured.format), "application/cloudevents+json");
    assert_eq!(content_type(batch.format), "application/cloudevents-batch+json");
    assert_eq!(events_per_body_max(structured.format), 1);
}

#[test]
fn alerts_are_written_as_their_snapshots_say() {
    let destination = destinations::of(Format::LitellmAlert);
    for (name, event) in notes::budgets() {
        compare("litellm_alert", name, &items(&event, &destination));
    }
    // LiteLLM alerts of budgets only.
    let others = notes::all().into_iter().filter(|(name, _)| !name.starts_with("budget"));
    for (name, event) in others {
        assert!(items(&event, &destination).is_empty(), "{name}");
    }
    for case in all_cases() {
        assert!(rendered(&case, &Prices::new(), &destination).is_empty(), "{}", case.name);
    }
}

#[test]
fn formats_of_calls_tell_nothing_of_notes() {
    for (name, event) in notes::all() {
        assert!(items(&event, &destinations::of(GENERIC_API)).is_empty(), "{name}");
    }
}

#[test]
fn litellms_payloads_are_written_as_their_snapshots_say() {
    check("generic_api", &destinations::of(GENERIC_API), None);
}

#[test]
fn litellms_documented_payloads_are_written_as_their_snapshots_say() {
    let destination = Destination { compat: Compat::Document, ..destinations::of(GENERIC_API) };
    check(
        "generic_api_document",
        &destination,
        Some(&["embeddings", "rate_limit", "stream", "success"]),
    );
}

#[test]
fn litellms_payloads_without_texts_are_written_as_their_snapshots_say() {
    let destination = Destination { privacy: true, ..destinations::of(GENERIC_API) };
    let names = [
        "client_disconnect_stream",
        "embeddings",
        "messages_tools_and_cache",
        "responses_tools",
        "several_choices",
        "stream_tools",
        "text_completion",
        "unicode",
    ];
    check("generic_api_private", &destination, Some(&names));
}

#[test]
fn without_texts_no_word_of_the_caller_or_the_model_is_told() {
    let prices = Prices::new();
    let cloud_events = Format::CloudEvents(CloudEventsMode::Structured);
    for format in [GENERIC_API, Format::Event, cloud_events] {
        let destination = Destination { privacy: true, ..destinations::of(format) };
        for case in all_cases() {
            for item in rendered(&case, &prices, &destination) {
                let text = std::str::from_utf8(&item.bytes).unwrap();
                for word in [
                    "Hello", "there!", "Kiel", "Once", "Grüße", "a1a2", "hard", "Bon", "Grüß",
                    "Köln", "Let me",
                ] {
                    assert!(!text.contains(word), "{}: {word} in {text}", case.name);
                }
            }
        }
    }
}

#[test]
fn an_items_own_type_decides_whether_it_is_wanted() {
    let prices = Prices::new();
    let cases = all_cases();
    let ids = |name: &str, format, kind| -> Vec<String> {
        let case = cases.iter().find(|case| case.name == name).unwrap();
        let destination = Destination { event_types: vec![kind], ..destinations::of(format) };
        let items = rendered(case, &prices, &destination);
        items.iter().map(|item| item.id.as_str()[36..].to_owned()).collect()
    };
    assert_eq!(ids("fallback", GENERIC_API, Completion), ["_completion"]);
    assert_eq!(ids("fallback", GENERIC_API, Error), ["_error_1"]);
    assert_eq!(ids("fallback", Format::Event, Error), [""; 0]);
    assert_eq!(ids("client_disconnect_stream", GENERIC_API, Completion), ["_error"]);
    assert_eq!(ids("client_disconnect_stream", GENERIC_API, Error), [""; 0]);
    assert_eq!(ids("client_disconnect_stream", Format::Event, Error), ["_error"]);
    assert_eq!(ids("client_disconnect_plain", GENERIC_API, Error), ["_error"]);
    assert_eq!(ids("retries_then_success", GENERIC_API, Error), ["_error_1"]);
    assert_eq!(ids("retries_and_fallback_all_failed", GENERIC_API, Error), ["_error_1", "_error"]);
    assert_eq!(ids("pieces", GENERIC_API, Streaming), [""; 0]);
    assert_eq!(ids("pieces", Format::Event, Streaming).len(), 2);
    assert_eq!(ids("no_log", GENERIC_API, Completion), [""; 0]);
    assert_eq!(ids("pieces_no_log", Format::Event, Streaming), [""; 0]);
}

#[test]
fn bodies_join_items_as_their_log_format_says() {
    let prices = Prices::new();
    let cases = all_cases();
    let case = cases.iter().find(|case| case.name == "fallback").unwrap();
    let destination = |log_format| destinations::of(Format::GenericApi(log_format));
    let items = rendered(case, &prices, &destination(LogFormat::JsonArray));
    let [failure, success] = items.as_slice() else { panic!("two posts") };

    let array = join(&destination(LogFormat::JsonArray), &items).to_bytes();
    let parsed: Vec<serde_json::Value> = serde_json::from_slice(&array).unwrap();
    assert_eq!(parsed.len(), 2);
    let one = join(&destination(LogFormat::JsonArray), &items[..1]);
    assert_eq!(one.len(), failure.bytes.len() + 2);

    let lines = join(&destination(LogFormat::Ndjson), &items).to_bytes();
    let lines: Vec<&[u8]> = lines.split(|byte| *byte == b'\n').collect();
    assert_eq!(lines, [&failure.bytes[..], &success.bytes[..]]);

    let single = join(&destination(LogFormat::Single), &items[1..]);
    assert_eq!(single.to_bytes(), success.bytes);
}

#[test]
fn formats_of_one_event_a_body_say_so() {
    let most = |log_format| events_per_body_max(Format::GenericApi(log_format));
    assert_eq!(most(LogFormat::Single), 1);
    assert_eq!(events_per_body_max(Format::Event), 1);
    assert!(most(LogFormat::JsonArray) > 1 && most(LogFormat::Ndjson) > 1);
    assert_eq!(content_type(Format::GenericApi(LogFormat::Ndjson)), "application/json");
}

const ENDPOINTS: [Endpoint; 5] = [
    Endpoint::ChatCompletions,
    Endpoint::TextCompletions,
    Endpoint::Embeddings,
    Endpoint::Responses,
    Endpoint::Messages,
];

/// The named case with other bodies, in another API.
fn with_bodies(name: &str, request: Payload, response: Payload, endpoint: Endpoint) -> cases::Case {
    let case = all_cases().into_iter().find(|case| case.name == name).unwrap();
    let Record::Sealed(exchange) = case.entry.record else { unreachable!("{name} is an outcome") };
    let mut exchange = Exchange { request, response, ..exchange.as_ref().clone() };
    Arc::make_mut(&mut exchange.facts.call).endpoint = endpoint;
    let record = Record::Sealed(Arc::new(exchange));
    cases::Case { name: name.into(), entry: Entry { sequence: Sequence(7), record } }
}

#[test]
fn bodies_that_were_cut_are_marked_and_spoil_nothing() {
    let cut = |text: &'static str| Payload {
        bytes: Bytes::from_static(text.as_bytes()),
        truncated: true,
    };
    let (request, response) = (cut(r#"{"messages":[{"role":"us"#), cut(r#"{"id":"c"#));
    let case = with_bodies("success", request, response, Endpoint::ChatCompletions);
    let items = rendered(&case, &Prices::new(), &destinations::of(GENERIC_API));
    let post: serde_json::Value = serde_json::from_slice(&items[0].bytes).unwrap();
    assert_eq!(post["truncated"], serde_json::json!(["request", "response"]));
    assert_eq!(post["messages"], serde_json::Value::Null);
    assert_eq!(post["response"], serde_json::json!({}));
    assert_eq!(post["status"], "success");
}

/// JSON as a request or an answer may hold it where something else belongs.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    let names = prop::sample::select(vec![
        "messages",
        "metadata",
        "tags",
        "headers",
        "stream_options",
        "choices",
        "message",
        "index",
        "content",
        "role",
        "usage",
        "model",
        "id",
        "finish_reason",
        "spend_logs_metadata",
        "tools",
        "prompt",
        "input",
        "system",
        "output",
        "data",
        "usage_details",
        "prompt_tokens",
        "completion_tokens",
        "text",
        "\u{7}\"odd\"",
    ]);
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::hash_map(names.clone().prop_map(String::from), inner, 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn law_whatever_the_bodies_are_an_item_is_one_line_of_json(
        request in any_json(),
        response in any_json(),
        is_pretty in any::<bool>(),
        endpoint in prop::sample::select(ENDPOINTS.to_vec()),
    ) {
        let bytes = |json: &serde_json::Value| {
            let text = if is_pretty { format!("{json:#}") } else { json.to_string() };
            Payload::whole(text.into())
        };
        let case = with_bodies("success", bytes(&request), bytes(&response), endpoint);
        let cloud_events = Format::CloudEvents(CloudEventsMode::Structured);
        for format in [GENERIC_API, Format::Event, cloud_events] {
            for privacy in [false, true] {
                let destination = Destination { privacy, ..destinations::of(format) };
                let items = rendered(&case, prices(), &destination);
                prop_assert_eq!(items.len(), 1);
                let text = std::str::from_utf8(&items[0].bytes).unwrap();
                let value: Result<serde_json::Value, _> = serde_json::from_str(text);
                prop_assert!(value.is_ok() && !text.contains('\n'), "{}", text);
            }
        }
    }
}

/// Decoded once: a law has many cases.
fn prices() -> &'static Prices {
    static PRICES: std::sync::OnceLock<Prices> = std::sync::OnceLock::new();
    PRICES.get_or_init(Prices::new)
}
