//! Helicone's payloads, case by case: the cases are the folders of `provider/tests/golden/derive`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail where its world is odd")]

#[path = "../../provider/tests/support/cases.rs"]
mod cases;
#[path = "support/destinations.rs"]
mod destinations;
#[path = "support/lines.rs"]
mod lines;

use std::{fmt::Write as _, path::Path, sync::Arc};

use bytes::Bytes;
use domain::{
    call::Call,
    destination::{Compat, Destination, Format, Helicone, HeliconeBodies},
    exchange::{Exchange, Payload},
    record::{Entry, Record, Sequence},
};
use proptest::prelude::*;
use provider::{derive::derive, price::Prices};
use serde_json::Value;
use webhook::{
    format::{events_per_body_max, helicone::test_payload, items, join},
    javascript::stringify,
};

const TOO_LARGE: &str =
    "Body too large for webhook, please fetch the full request and response from Helicone";

fn destination() -> Destination {
    helicone(true, HeliconeBodies::Object)
}

fn helicone(include_data: bool, bodies: HeliconeBodies) -> Destination {
    destinations::of(Format::Helicone(Helicone { include_data, bodies }))
}

/// Decoded once: a law has many cases.
fn prices() -> &'static Prices {
    static PRICES: std::sync::OnceLock<Prices> = std::sync::OnceLock::new();
    PRICES.get_or_init(Prices::new)
}

fn all_cases() -> Vec<cases::Case> {
    cases::cases(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../provider/tests/golden/derive")))
}

fn entry(name: &str) -> Entry {
    all_cases().into_iter().find(|case| case.name == name).unwrap().entry
}

fn rendered(entry: &Entry, destination: &Destination) -> Vec<Bytes> {
    let events = derive(entry, prices());
    let items = events.iter().flat_map(|event| items(event, destination));
    items.map(|item| item.bytes).collect()
}

/// The one payload of an outcome.
fn payload(entry: &Entry, destination: &Destination) -> Value {
    let [bytes] = <[Bytes; 1]>::try_from(rendered(entry, destination)).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn names(payload: &Bytes) -> Vec<String> {
    let text = std::str::from_utf8(payload).unwrap();
    let lines = lines::two_levels(text);
    let members = lines.lines().filter(|line| line.starts_with("  \""));
    members.filter_map(|line| line.split('"').nth(1)).map(ToOwned::to_owned).collect()
}

fn changed(name: &str, change: impl FnOnce(&mut Exchange)) -> Entry {
    let entry = entry(name);
    let Record::Sealed(exchange) = entry.record else { unreachable!("{name} is an outcome") };
    let mut exchange = Arc::unwrap_or_clone(exchange);
    change(&mut exchange);
    Entry { sequence: Sequence(7), record: Record::Sealed(Arc::new(exchange)) }
}

fn with_call(name: &str, change: impl FnOnce(&mut Call)) -> Entry {
    changed(name, |exchange| change(Arc::make_mut(&mut exchange.facts.call)))
}

fn with_bodies(name: &str, request: &[u8], response: &[u8]) -> Entry {
    changed(name, |exchange| {
        exchange.request = Payload::whole(Bytes::copy_from_slice(request));
        exchange.response = Payload::whole(Bytes::copy_from_slice(response));
    })
}

/// Compares what the destination gets of the named cases, or of all, with `golden/<folder>`.
fn check(folder: &str, destination: &Destination, names: Option<&[&str]>) {
    for case in all_cases() {
        if names.is_some_and(|names| !names.contains(&case.name.as_str())) {
            continue;
        }
        let mut shown = String::new();
        for event in derive(&case.entry, prices()) {
            for item in items(&event, destination) {
                let text = std::str::from_utf8(&item.bytes).unwrap();
                assert_eq!(stringify(&item.bytes).unwrap(), item.bytes, "{}: {text}", case.name);
                writeln!(shown, "{}\n{}", item.id, lines::two_levels(text)).unwrap();
            }
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
        insta::with_settings!({
            snapshot_path => path,
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!(case.name.as_str(), shown);
        });
    }
}

#[test]
fn payloads_are_written_as_their_snapshots_say() {
    check("helicone", &destination(), None);
}

#[test]
fn documented_payloads_are_written_as_their_snapshots_say() {
    let documented = Destination { compat: Compat::Document, ..destination() };
    let names = ["success", "stream", "named_caller", "rate_limit", "redacted"];
    check("helicone_document", &documented, Some(&names));
}

#[test]
fn bodies_as_text_are_written_as_their_snapshots_say() {
    let text = helicone(true, HeliconeBodies::String);
    check("helicone_text", &text, Some(&["success", "stream", "connection_refused"]));
}

#[test]
fn without_data_there_are_three_fields_that_the_oldest_receivers_check() {
    let bare = helicone(false, HeliconeBodies::Object);
    let of = |entry: &Entry, destination: &Destination| names(&rendered(entry, destination)[0]);
    let expected = ["request_id", "request_body", "response_body"];
    assert_eq!(of(&entry("success"), &bare), expected);
    let user = with_call("success", |call| call.end_user = Some("u-1".to_owned()));
    assert_eq!(of(&user, &bare)[3..], ["user_id"]);
    assert_eq!(of(&user, &destination())[3..], ["user_id", "model", "provider", "metadata"]);
    let documented = Destination { compat: Compat::Document, ..bare.clone() };
    assert_eq!(of(&user, &documented), ["request_id", "model", "created_at", "properties"]);
}

#[test]
fn the_callers_own_id_user_model_and_properties_are_told() {
    let headers = [
        ("helicone-user-id", "from header"),
        ("helicone-model-override", "mine"),
        ("helicone-property-b", "2"),
        ("helicone-property-10", "ten"),
        ("helicone-property-9", "\u{e9}"),
        ("helicone-session-id", "s"),
    ];
    let entry = with_call("success", |call| {
        call.own_id = Some("6ba7b810-9dad-41d1-80b4-00c04fd430c8".to_owned());
        call.end_user = Some("from body".to_owned());
        call.headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    });
    let told = payload(&entry, &destination());
    assert_eq!(told["request_id"], "6ba7b810-9dad-41d1-80b4-00c04fd430c8");
    assert_eq!((&told["user_id"], &told["model"]), (&"from header".into(), &"mine".into()));
    let documented = Destination { compat: Compat::Document, ..destination() };
    let bytes = rendered(&entry, &documented).remove(0);
    let text = std::str::from_utf8(&bytes).unwrap();
    let expected = r#""properties":{"9":"é","10":"ten","user_id":"from header","b":"2","Helicone-Session-Id":"s"},"#;
    assert!(text.contains(expected), "{text}");
    assert!(text.contains(r#""created_at":"2026-11-21T02:21:58Z""#), "{text}");
}

#[test]
fn what_may_not_be_told_leaves_the_models_names() {
    let hidden = |entry: &Entry, destination: &Destination| {
        let payload = payload(entry, destination);
        [payload["request_body"].to_string(), payload["response_body"].to_string()]
    };
    let (request, response) = (r#"{"model":"gpt-4o"}"#, r#"{"model":"gpt-4o-2024-08-06"}"#);
    let no_request = with_call("success", |call| call.omit_request = true);
    let [told, kept] = hidden(&no_request, &destination());
    assert_eq!(told, request);
    assert!(kept.contains("choices"));
    let no_response = with_call("success", |call| call.omit_response = true);
    let [kept, told] = hidden(&no_response, &destination());
    assert_eq!(told, response);
    assert!(kept.contains("messages"));
    let private = Destination { privacy: true, ..destination() };
    for name in ["success", "stream"] {
        assert_eq!(hidden(&entry(name), &private), [request, response], "{name}");
    }
    assert_eq!(hidden(&entry("redacted"), &destination()), [request, response]);
    let text = hidden(
        &entry("success"),
        &Destination { privacy: true, ..helicone(true, HeliconeBodies::String) },
    );
    assert_eq!(text, [request, response].map(|text| Value::from(text).to_string()));
}

#[test]
fn no_word_of_a_private_call_is_told() {
    let private = Destination { privacy: true, ..destination() };
    for compat in [Compat::Real, Compat::Document] {
        let private = Destination { compat, ..private.clone() };
        for case in all_cases() {
            for bytes in rendered(&case.entry, &private) {
                let text = std::str::from_utf8(&bytes).unwrap();
                for word in ["Hello", "there!", "Kiel", "Once", "Grüße", "a1a2", "hard", "Bon"] {
                    assert!(!text.contains(word), "{}: {word} in {text}", case.name);
                }
            }
        }
    }
}

#[test]
fn metadata_count_the_prompt_without_cache_and_audio_and_the_answer_without_reasoning() {
    let usage = r#"{"model":"gpt-4o","choices":[],"usage":{"prompt_tokens":100,"completion_tokens":50,
        "total_tokens":150,"prompt_tokens_details":{"cached_tokens":30,"audio_tokens":20},
        "completion_tokens_details":{"reasoning_tokens":40}}}"#;
    let told = payload(&with_bodies("success", b"{}", usage.as_bytes()), &destination());
    let metadata = &told["metadata"];
    let counts = ["promptTokens", "completionTokens", "totalTokens"].map(|name| &metadata[name]);
    assert_eq!(counts, [50, 10, 60].map(Value::from).each_ref());
    assert_eq!(metadata["latencyMs"], 500);
    let unknown = payload(&entry("connection_refused"), &destination());
    let names: Vec<&String> = unknown["metadata"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["latencyMs"]);
}

#[test]
fn counts_beyond_what_javascript_holds_are_written_as_it_would() {
    let answer = br#"{"usage":{"prompt_tokens":10000000000000001,"completion_tokens":1}}"#;
    for bytes in rendered(&with_bodies("success", b"{}", answer), &destination()) {
        assert_eq!(stringify(&bytes), Ok(bytes.to_vec()));
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains(r#""promptTokens":10000000000000000,"#), "{text}");
    }
}

#[test]
fn answers_that_are_no_json_are_told_as_helicone_does() {
    let html = with_bodies("success", b"{\"a\":", b" <!DOCTYPE html>\n<h1>502</h1>");
    let told = payload(&html, &destination());
    let expected = "Error parsing request body, SyntaxError: text is not JSON at byte 5, {\"a\":";
    assert_eq!(told["request_body"]["error"], expected);
    assert_eq!(told["response_body"]["error"], "HTML response detected:");
    assert_eq!(told["response_body"]["html_response"], " <!DOCTYPE html>\n<h1>502</h1>");
    let odd = payload(&with_bodies("success", b"", b"oops \xff"), &destination());
    assert_eq!(odd["request_body"], serde_json::json!({}));
    assert_eq!(odd["response_body"]["helicone_error"], "error parsing response");
    assert_eq!(odd["response_body"]["body"], "oops \u{fffd}");
    let none = payload(&with_bodies("success", b"{}", b""), &destination());
    assert_eq!(none["response_body"], serde_json::json!({}));
}

/// A request whose JSON text has this many UTF-16 units: each `é` is one, and two bytes.
fn request_of_units(units: usize) -> String {
    let around = r#"{"model":"gpt-4o","x":""}"#.len();
    format!(r#"{{"model":"gpt-4o","x":"{}"}}"#, "é".repeat(units - around))
}

#[test]
fn text_over_its_limit_is_replaced_and_objects_over_theirs() {
    let request_body = |request: &str, destination: &Destination| {
        payload(&with_bodies("success", request.as_bytes(), b"{}"), destination)["request_body"]
            .clone()
    };
    let text = helicone(true, HeliconeBodies::String);
    let fits = request_of_units(10_240);
    assert_eq!(request_body(&fits, &text), fits.as_str());
    assert_eq!(request_body(&request_of_units(10_241), &text), TOO_LARGE);
    assert!(request_body(&request_of_units(10_241), &destination()).is_object());
    let around = r#"{"x":""}"#.len();
    let of_bytes = |bytes: usize| format!(r#"{{ "x" : "{}" }}"#, "a".repeat(bytes - around));
    assert!(request_body(&of_bytes(1 << 20), &destination()).is_object());
    assert_eq!(request_body(&of_bytes((1 << 20) + 1), &destination()), TOO_LARGE);
}

#[test]
fn a_body_of_which_a_part_is_missing_is_replaced() {
    let cut = changed("stream", |exchange| {
        exchange.request.truncated = true;
        exchange.response.truncated = true;
    });
    let told = payload(&cut, &destination());
    assert_eq!(
        (&told["request_body"], &told["response_body"]),
        (&TOO_LARGE.into(), &TOO_LARGE.into())
    );
    assert_eq!(told["metadata"]["totalTokens"], 12);
}

#[test]
fn a_stream_without_room_for_its_events_keeps_its_answer() {
    let chunk = format!(
        "data: {{\"id\":\"c\",\"model\":\"m\",\"padding\":\"{}\",\"choices\":[{{\"index\":0,\"delta\":\
         {{\"content\":\"a\"}}}}]}}\n\n",
        "x".repeat(1_000)
    );
    let told = |times: usize| {
        let stream = chunk.repeat(times) + "data: [DONE]\n\n";
        payload(&with_bodies("stream", b"{}", stream.as_bytes()), &destination())["response_body"]
            .clone()
    };
    let (few, many) = (told(3), told(2_000));
    assert_eq!(few["streamed_data"].as_array().unwrap().len(), 4);
    assert_eq!(few["choices"][0]["message"]["content"], "aaa");
    assert_eq!(many.get("streamed_data"), None);
    assert_eq!(many["choices"][0]["message"]["content"], "a".repeat(2_000));
    assert_eq!(many["choices"][0]["delta"], many["choices"][0]["message"]);
}

#[test]
fn the_test_event_has_helicones_fields_and_bodies_as_text() {
    let bytes = test_payload("0f0e");
    assert_eq!(stringify(&bytes).unwrap(), bytes);
    let expected = [
        "request_id",
        "request_body",
        "response_body",
        "request_response_url",
        "model",
        "provider",
        "metadata",
    ];
    assert_eq!(names(&bytes), expected);
    let event: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(event["request_id"], "0f0e");
    for body in ["request_body", "response_body"] {
        let inside = event[body].as_str().unwrap();
        assert_eq!(stringify(inside.as_bytes()).unwrap(), inside.as_bytes());
    }
}

#[test]
fn a_body_has_one_payload() {
    let format = destination().format;
    assert_eq!(events_per_body_max(format), 1);
    let events = derive(&entry("success"), prices());
    let items = items(&events[0], &destination());
    assert_eq!(join(&destination(), &items).to_bytes(), items[0].bytes);
}

/// Bytes as a request or an answer may hold them: JSON with odd names, numbers and texts, or none.
fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<f64>().prop_map(|number| number.to_string()),
        "-?[1-9][0-9]{0,22}(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,3})?",
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        Just(r#""\ud800 \u00e9 \/""#.to_owned()),
    ];
    let name = prop::sample::select(vec![
        "10",
        "9",
        "__proto__",
        "model",
        "choices",
        "message",
        "delta",
        "index",
        "usage",
        "user",
        "streamed_data",
        "error",
        "content",
        "\\u0000",
    ]);
    let json = leaf.prop_recursive(4, 40, 6, move |inner| {
        let members = prop::collection::vec((name.clone(), inner.clone()), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|all| format!("[{}]", all.join(", "))),
            members.prop_map(|members| {
                let all: Vec<_> = members.iter().map(|(n, v)| format!("\"{n}\" : {v}")).collect();
                format!("{{{}}}", all.join(",\n"))
            }),
        ]
    });
    let lines = prop::collection::vec(json.clone(), 0..4).prop_map(|chunks| {
        let lines = chunks.iter().map(|chunk| chunk.replace('\n', " "));
        lines.flat_map(|line| ["data: ".to_owned(), line, "\n\n".to_owned()]).collect()
    });
    prop_oneof![
        4 => json.prop_map(String::into_bytes),
        2 => lines.prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn law_whatever_the_bodies_are_javascript_writes_the_same_payload(
        request in any_body(),
        response in any_body(),
        name in prop::sample::select(vec!["success", "stream", "messages_stream", "rate_limit"]),
        is_text in any::<bool>(),
        property in "[0-9a-z]{1,3}",
    ) {
        let bodies = if is_text { HeliconeBodies::String } else { HeliconeBodies::Object };
        let mut entry = with_bodies(name, &request, &response);
        let Record::Sealed(exchange) = &mut entry.record else { unreachable!() };
        let call = &mut Arc::make_mut(exchange).facts.call;
        let header = format!("helicone-property-{property}");
        Arc::make_mut(call).headers.push((header, "x".to_owned()));
        for compat in [Compat::Real, Compat::Document] {
            let destination = Destination { compat, ..helicone(true, bodies) };
            for bytes in rendered(&entry, &destination) {
                prop_assert_eq!(stringify(&bytes), Ok(bytes.to_vec()));
                let once: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                prop_assert!(once.is_object() || bytes.windows(2).any(|pair| pair == b"\\u"));
            }
        }
    }
}
