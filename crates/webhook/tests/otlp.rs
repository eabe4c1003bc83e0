//! Traces, case by case: the cases are the folders of `provider/tests/golden/derive`.
//!
//! Whatever a test renders, `ExportTraceServiceRequest` of the OTLP protocol must read. A snapshot
//! shows each item under its id, in the order of the wire, an attribute a line.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail where its world is odd")]

#[path = "../../provider/tests/support/cases.rs"]
mod cases;
#[path = "support/destinations.rs"]
mod destinations;
#[path = "otlp/genai.rs"]
mod genai;
#[path = "otlp/openrouter.rs"]
mod openrouter;
#[path = "otlp/strict.rs"]
mod strict;

use std::{collections::BTreeSet, fmt::Write as _, path::Path, sync::Arc};

use bytes::Bytes;
use domain::{
    call::{Call, Endpoint, Logging},
    destination::{
        Compat, Destination, Format, GenerationMetadata, Otlp, OtlpIntegers, OtlpProfile,
    },
    exchange::{Exchange, Payload},
    record::{Entry, Record, Sequence},
    time::Timestamp,
};
use proptest::prelude::*;
use provider::{derive::derive, price::Prices};
use serde_json::{Value, json};
use webhook::format::{
    Item, content_type, events_per_body_max, items, join,
    otlp::{Test, test_payload},
};

/// Decoded once: a law has many cases.
fn prices() -> &'static Prices {
    static PRICES: std::sync::OnceLock<Prices> = std::sync::OnceLock::new();
    PRICES.get_or_init(Prices::new)
}

fn openrouter() -> Destination {
    destinations::of(Format::Otlp(Otlp::default()))
}

fn genai() -> Destination {
    let otlp = Otlp { profile: OtlpProfile::GenAi, ..Otlp::default() };
    destinations::of(Format::Otlp(otlp))
}

fn all_cases() -> Vec<cases::Case> {
    cases::cases(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../provider/tests/golden/derive")))
}

fn entry(name: &str) -> Entry {
    all_cases().into_iter().find(|case| case.name == name).unwrap().entry
}

fn changed(name: &str, change: impl FnOnce(&mut Exchange)) -> Entry {
    let Record::Sealed(exchange) = entry(name).record else { unreachable!("{name} is an outcome") };
    let mut exchange = Arc::unwrap_or_clone(exchange);
    change(&mut exchange);
    Entry { sequence: Sequence(7), record: Record::Sealed(Arc::new(exchange)) }
}

fn with_call(name: &str, change: impl FnOnce(&mut Call)) -> Entry {
    changed(name, |exchange| change(Arc::make_mut(&mut exchange.facts.call)))
}

fn with_request(name: &str, request: &Value) -> Entry {
    let body = Payload::whole(request.to_string().into());
    changed(name, |exchange| exchange.request = body)
}

fn rendered(entry: &Entry, destination: &Destination) -> Vec<Item> {
    let items: Vec<_> =
        derive(entry, prices()).iter().flat_map(|event| items(event, destination)).collect();
    for item in &items {
        strict::check(&join(destination, std::slice::from_ref(item)).to_bytes());
    }
    items
}

/// The spans of an outcome, the root first.
fn spans(entry: &Entry, destination: &Destination) -> Vec<strict::Span> {
    let items = rendered(entry, destination);
    assert_eq!(items.len(), 1, "an outcome is one item");
    let spans = strict::check(&join(destination, &items).to_bytes());
    let ids: BTreeSet<_> = spans.iter().map(|span| &span.id).collect();
    assert_eq!(ids.len(), spans.len(), "no span's id comes twice: {spans:#?}");
    assert!(spans.iter().all(|span| span.trace_id == spans[0].trace_id));
    assert!(spans[1..].iter().all(|span| span.parent_id == spans[0].id));
    spans
}

fn root(entry: &Entry, destination: &Destination) -> strict::Span {
    spans(entry, destination).remove(0)
}

/// Compares what the destination gets of the named cases, or of all, with `golden/<folder>`.
fn check(folder: &str, destination: &Destination, names: Option<&[&str]>) {
    for case in all_cases() {
        if names.is_none_or(|names| names.contains(&case.name.as_str())) {
            compare(folder, &case.name, &rendered(&case.entry, destination));
        }
    }
}

fn compare(folder: &str, name: &str, items: &[Item]) {
    let mut shown = String::new();
    for item in items {
        let text = std::str::from_utf8(&item.bytes).unwrap();
        assert!(!text.contains(['\n', '\r']), "{name}: an item is one line");
        writeln!(shown, "{}", item.id).unwrap();
        // In a text the quotes would be escaped.
        let text = text
            .replace(r#",{"resource":"#, ",\n{\"resource\":")
            .replace(r#","scopeSpans":"#, ",\n \"scopeSpans\":")
            .replace(r#"[{"traceId":"#, "[{\n  \"traceId\":")
            .replace(r#","name":"#, ",\n  \"name\":")
            .replace(r#","status":"#, ",\n  \"status\":")
            .replace(r#","events":"#, ",\n  \"events\":")
            .replace(r#","attributes":["#, ",\n  \"attributes\":[")
            .replace(r#"{"key":"#, "\n   {\"key\":");
        writeln!(shown, "{text}").unwrap();
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
fn traces_are_written_as_their_snapshots_say() {
    check("otlp", &openrouter(), None);
}

#[test]
fn documented_traces_are_written_as_their_snapshots_say() {
    let destination = Destination { compat: Compat::Document, ..openrouter() };
    check("otlp_document", &destination, Some(&["client_disconnect_stream", "success"]));
}

#[test]
fn traces_without_texts_are_written_as_their_snapshots_say() {
    let destination = Destination { privacy: true, ..openrouter() };
    check("otlp_private", &destination, Some(&["messages_tools_and_cache", "responses_stream"]));
}

#[test]
fn traces_by_the_conventions_are_written_as_their_snapshots_say() {
    check("otlp_genai", &genai(), None);
}

#[test]
fn integers_are_text_or_numbers() {
    let numbers = Otlp { integers: OtlpIntegers::Number, ..Otlp::default() };
    let tokens = |destination: &Destination| {
        let item = rendered(&entry("success"), destination).remove(0);
        let text = String::from_utf8(item.bytes.to_vec()).unwrap();
        let found = text.split_once(r#""gen_ai.usage.input_tokens","value":"#).unwrap().1;
        found.split('}').next().unwrap().to_owned()
    };
    assert_eq!(tokens(&openrouter()), r#"{"intValue":"9""#);
    assert_eq!(tokens(&destinations::of(Format::Otlp(numbers))), r#"{"intValue":9"#);
}

#[test]
fn a_batch_is_one_request_with_the_spans_of_all() {
    let destination = openrouter();
    let names = ["success", "stream", "fallback", "timeout"];
    let items: Vec<Item> =
        names.iter().flat_map(|name| rendered(&entry(name), &destination)).collect();
    let body = join(&destination, &items).to_bytes();
    let counts: usize = names.iter().map(|name| spans(&entry(name), &destination).len()).sum();
    assert_eq!((items.len(), strict::check(&body).len()), (4, counts));
    assert_eq!(counts, 2 + 3 + 3 + 2);
    assert_eq!(strict::check(&join(&destination, &[]).to_bytes()).len(), 0);
    assert_eq!(content_type(destination.format), "application/json");
    assert!(events_per_body_max(destination.format) > 1);
}

#[test]
fn a_call_has_the_same_bytes_every_time_and_other_ids_than_other_calls() {
    for destination in [openrouter(), genai()] {
        let first = rendered(&entry("stream_tools"), &destination);
        assert_eq!(first, rendered(&entry("stream_tools"), &destination));
        let other = with_call("stream_tools", |call| {
            call.id = domain::id::CallId::new(call.arrived_at, [9; 10]);
        });
        let ids = |entry: &Entry| -> Vec<String> {
            spans(entry, &destination).into_iter().map(|span| span.id).collect()
        };
        let (ours, others) = (ids(&entry("stream_tools")), ids(&other));
        assert!(ours.iter().all(|id| !others.contains(id)), "{ours:?} {others:?}");
    }
}

#[test]
fn without_texts_no_word_of_the_caller_or_the_model_is_told() {
    for destination in [openrouter(), genai()] {
        let destination = Destination { privacy: true, ..destination };
        for case in all_cases() {
            for item in rendered(&case.entry, &destination) {
                let text = std::str::from_utf8(&item.bytes).unwrap();
                for word in [
                    "Hello",
                    "there!",
                    "Kiel",
                    "Once",
                    "Grüße",
                    "a1a2",
                    "hard",
                    "Bon",
                    "Grüß",
                    "Köln",
                    "Let me",
                    "rawRequest",
                ] {
                    assert!(!text.contains(word), "{}: {word} in {text}", case.name);
                }
            }
        }
    }
}

const PROMPT_KEYS: [&str; 6] = [
    "trace.input",
    "span.input",
    "gen_ai.prompt",
    "gen_ai.input.messages",
    "gen_ai.system_instructions",
    "gen_ai.tool.definitions",
];
const ANSWER_KEYS: [&str; 4] =
    ["trace.output", "span.output", "gen_ai.completion", "gen_ai.output.messages"];

#[test]
fn what_a_caller_keeps_to_itself_is_not_told() {
    let keys = |entry: &Entry, keys: &[&str]| -> usize {
        let spans = [root(entry, &openrouter()), root(entry, &genai())];
        spans.iter().map(|span| keys.iter().filter(|key| span.has(key)).count()).sum()
    };
    let case = "messages_tools_and_cache";
    let told = entry(case);
    assert_eq!((keys(&told, &PROMPT_KEYS), keys(&told, &ANSWER_KEYS)), (6, 4));
    let question = with_call(case, |call| call.omit_request = true);
    assert_eq!((keys(&question, &PROMPT_KEYS), keys(&question, &ANSWER_KEYS)), (0, 4));
    for destination in [openrouter(), genai()] {
        let item = rendered(&question, &destination).remove(0);
        let text = std::str::from_utf8(&item.bytes).unwrap();
        assert!(!text.contains("Be brief") && !text.contains("rawRequest"), "{text}");
    }
    let answer = with_call(case, |call| call.omit_response = true);
    assert_eq!((keys(&answer, &PROMPT_KEYS), keys(&answer, &ANSWER_KEYS)), (6, 0));
    for logging in [Logging::Redacted, Logging::Off] {
        let kept = with_call(case, |call| call.logging = logging);
        let items = rendered(&kept, &openrouter());
        match logging {
            Logging::Off => assert!(items.is_empty()),
            _ => assert_eq!((keys(&kept, &PROMPT_KEYS), keys(&kept, &ANSWER_KEYS)), (0, 0)),
        }
    }
}

#[test]
fn a_connection_test_is_empty_or_one_span() {
    assert_eq!(test_payload(Test::Empty), r#"{"resourceSpans":[]}"#);
    assert!(strict::check(&test_payload(Test::Empty)).is_empty());
    let ended_at = Timestamp::from_millis(1_790_606_298_041);
    let body = test_payload(Test::Span { ended_at });
    let expected = json!({"resourceSpans": [{
        "resource": {
            "attributes": [{"key": "service.name", "value": {"stringValue": "openrouter"}}],
        },
        "scopeSpans": [{"scope": {"name": "openrouter"}, "spans": [{
            "traceId": "00000000000000000000000000000001",
            "spanId": "0000000000000001",
            "name": "openrouter-connection-test",
            "kind": 1,
            "startTimeUnixNano": "1790606298040000000",
            "endTimeUnixNano": "1790606298041000000",
            "status": {"code": 1},
            "attributes": [],
        }]}],
    }]});
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
    assert_eq!(strict::check(&body).len(), 1);
}

#[test]
fn bodies_that_were_cut_or_are_no_text_spoil_nothing() {
    let odd: [(&[u8], bool); 5] = [
        (br#"{"messages":[{"role":"us"#, true),
        (b"{\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xfe\"}]}", false),
        (br#"{"messages":[{"role":"user","content":"\ud800"}],"trace":{"a":"\ud800"}}"#, false),
        (b"\xff", false),
        (b"", false),
    ];
    for destination in [openrouter(), genai()] {
        for (bytes, truncated) in odd {
            let entry = changed("success", |exchange| {
                exchange.request = Payload { bytes: Bytes::copy_from_slice(bytes), truncated };
                exchange.response.truncated = truncated;
            });
            let root = root(&entry, &destination);
            let cut = root.text("trace.metadata.hookgate.truncated");
            assert_eq!(cut, truncated.then_some(r#"["request","response"]"#));
        }
    }
}

/// Texts that mean something to a format.
const TEXTS: [&str; 13] = [
    "text",
    "image_url",
    "input_text",
    "tool_use",
    "tool_result",
    "thinking",
    "message",
    "function_call",
    "function_call_output",
    "reasoning",
    "assistant",
    "user",
    "tool",
];

/// Names that mean something to a format.
const NAMES: [&str; 38] = [
    "messages",
    "input",
    "prompt",
    "system",
    "instructions",
    "role",
    "content",
    "type",
    "text",
    "tool_calls",
    "function",
    "arguments",
    "name",
    "id",
    "call_id",
    "output",
    "trace",
    "trace_id",
    "parent_span_id",
    "trace_name",
    "generation_name",
    "openrouter.source",
    "provider_responses",
    "choices",
    "message",
    "finish_reason",
    "usage",
    "tools",
    "stop",
    "n",
    "seed",
    "temperature",
    "response_format",
    "format",
    "model",
    "summary",
    "stop_reason",
    "\u{7}\"odd\"",
];

/// JSON as a request or an answer may hold it where something else belongs.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
        prop::sample::select(TEXTS.to_vec()).prop_map(Into::into),
    ];
    let names = prop::sample::select(NAMES.to_vec());
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::hash_map(names.clone().prop_map(String::from), inner, 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

const ENDPOINTS: [Endpoint; 5] = [
    Endpoint::ChatCompletions,
    Endpoint::TextCompletions,
    Endpoint::Embeddings,
    Endpoint::Responses,
    Endpoint::Messages,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn law_whatever_the_bodies_are_the_trace_is_one_that_otlp_reads(
        request in any_json(),
        response in any_json(),
        is_pretty in any::<bool>(),
        endpoint in prop::sample::select(ENDPOINTS.to_vec()),
    ) {
        let bytes = |json: &Value| {
            let text = if is_pretty { format!("{json:#}") } else { json.to_string() };
            Payload::whole(text.into())
        };
        let entry = changed("success", |exchange| {
            exchange.request = bytes(&request);
            exchange.response = bytes(&response);
            Arc::make_mut(&mut exchange.facts.call).endpoint = endpoint;
        });
        for destination in [openrouter(), genai()] {
            let item = rendered(&entry, &destination).remove(0);
            prop_assert!(!item.bytes.contains(&b'\n'));
        }
    }
}
