//! Our payloads against what LiteLLM sent for the same calls (`captures/README.md`).
//!
//! Every value must be the same, but for the differences listed here with their reasons.

#![expect(clippy::unwrap_used, reason = "a test may fail where its world is odd")]

#[path = "support/destinations.rs"]
mod destinations;

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use domain::{
    call::{Call, Caller},
    deployment::{DeploymentFacts, Dialect},
    destination::{Format, LogFormat},
    exchange::{Exchange, Facts, Outcome, Payload, ProviderAttempt},
    failure::{Failure, FailureKind},
    record::{Entry, Record, Sequence},
    time::Timestamp,
};
use provider::{derive::derive, price::Prices};
use serde_json::{Value, json};

/// Differences of every payload: the path of a value or of what it is part of, and why.
const ALWAYS: [(&str, &str); 8] = [
    ("/usage", "LiteLLM's documentation shows it, its payload lacks it"),
    ("/cost", "LiteLLM's documentation shows it, its payload lacks it"),
    ("/trace_id", "LiteLLM makes a random one where the caller named none"),
    ("/response_time", "LiteLLM measures it apart from the times that it tells"),
    ("/metadata/user_api_key_spend", "spend is not counted by key yet"),
    ("/model_map_information/model_map_value", "compared below, by the keys that we write"),
    ("/error_information/traceback", "there is none"),
    (
        "/hidden_params/litellm_overhead_time_ms",
        "measured, and differently: LiteLLM's includes its waiting for the client",
    ),
];

/// What is special about one capture.
struct Case {
    name: &'static str,
    failure: Option<Failure>,
    differs: &'static [(&'static str, &'static str)],
}

#[test]
fn payloads_say_what_litellms_say() {
    let prices = Prices::new();
    for case in cases() {
        let capture = capture(case.name);
        let post = &capture["post"];
        let entry = entry_of(&capture, case.failure.clone());
        let events = derive(&entry, &prices);
        let [event] = events.as_slice() else { panic!("{}: one outcome, one event", case.name) };
        let items = webhook::format::items(
            event,
            &destinations::of(Format::GenericApi(LogFormat::JsonArray)),
        );
        let [item] = items.as_slice() else { panic!("{}: one outcome, one post", case.name) };
        let ours: Value = serde_json::from_slice(&item.bytes).unwrap();

        let mut found = Vec::new();
        differences("", post, &ours, &mut found);
        let allowed = |path: &str| {
            let mut listed = ALWAYS.iter().chain(case.differs);
            listed.any(|(begin, _)| is_within(path, begin))
        };
        found.retain(|difference| !allowed(difference.split(' ').next().unwrap()));
        assert!(found.is_empty(), "{}:\n{}", case.name, found.join("\n"));
        compare_costs(case.name, post, &ours);
        assert_eq!(
            ordered_keys(&item.bytes)[..46],
            ordered_keys(&std::fs::read(path(case.name)).unwrap())[..46],
            "{}: the order of keys",
            case.name
        );
    }
}

#[test]
fn each_listed_difference_is_one() {
    let prices = Prices::new();
    for case in cases() {
        let capture = capture(case.name);
        let entry = entry_of(&capture, case.failure.clone());
        let events = derive(&entry, &prices);
        let items = webhook::format::items(
            &events[0],
            &destinations::of(Format::GenericApi(LogFormat::JsonArray)),
        );
        let ours: Value = serde_json::from_slice(&items[0].bytes).unwrap();
        let mut found = Vec::new();
        differences("", &capture["post"], &ours, &mut found);
        for (path, reason) in case.differs {
            let is_there = found
                .iter()
                .any(|difference| is_within(difference.split(' ').next().unwrap(), path));
            assert!(is_there, "{}: {path} is the same after all ({reason})", case.name);
        }
    }
}

fn cases() -> Vec<Case> {
    let mut cases = answered();
    cases.extend(failed());
    cases
}

fn answered() -> Vec<Case> {
    let plain = |name| Case { name, failure: None, differs: &[] };
    vec![
        plain("a_success_nonstream"),
        plain("g_metadata_tags_user"),
        plain("i_unmapped_model"),
        plain("o_image_content"),
        Case {
            name: "b_success_stream",
            failure: None,
            differs: &[
                ("/hidden_params/additional_headers", "our streams tell what plain calls tell"),
                ("/response/system_fingerprint", "LiteLLM adds a null that nobody sent"),
                ("/response/usage/completion_tokens_details", "nulls that nobody sent"),
                ("/metadata/usage_object/completion_tokens_details", "nulls that nobody sent"),
            ],
        },
        Case {
            name: "u_upstream_nonstream",
            failure: None,
            differs: &[
                ("/metadata/usage_object/completion_tokens_details", "nulls that nobody sent"),
                ("/metadata/usage_object/prompt_tokens_details", "nulls that nobody sent"),
            ],
        },
    ]
}

fn failed() -> Vec<Case> {
    const LONGER: &[(&str, &str)] = &[
        ("/error_str", "LiteLLM adds the name of its client, or the class once more"),
        ("/error_information/error_message", "the same text"),
    ];
    let case = |name, differs, kind, status, message: &str, code: Option<&str>| Case {
        name,
        differs,
        failure: Some(Failure {
            code: code.map(Into::into),
            ..Failure::new(kind, status, message.into())
        }),
    };
    let mocked = "litellm.RateLimitError: this is a mock rate limit error";
    let limited = "Rate limit reached for gpt-4o";
    let exceeded = Some("rate_limit_exceeded");
    let invalid = Some("invalid_value");
    let own_words: &[_] =
        &[("/error_str", "our own words"), ("/error_information/error_message", "our own words")];
    let unready: &[_] = &[
        ("/custom_llm_provider", "LiteLLM's time-out mock answers before it knows"),
        ("/model_parameters/stream", "LiteLLM's time-out mock answers before it knows"),
    ];
    let late = "litellm.Timeout: This is a mock timeout error";
    let unknown = "unknown model `does-not-exist`";
    vec![
        case("c_failure_ratelimit", &[], FailureKind::RateLimit, 429, mocked, None),
        case("u3_upstream_429", LONGER, FailureKind::RateLimit, 429, limited, exceeded),
        case(
            "u4_upstream_400",
            LONGER,
            FailureKind::BadRequest,
            400,
            "Invalid 'temperature'",
            invalid,
        ),
        case(
            "c4_failure_conn_refused",
            LONGER,
            FailureKind::Connection,
            500,
            "Connection error.",
            None,
        ),
        case("q6_timeout", unready, FailureKind::Timeout, 408, late, None),
        case(
            "c3_failure_unknown_model_name",
            own_words,
            FailureKind::UnknownModel,
            400,
            unknown,
            None,
        ),
    ]
}

fn is_within(path: &str, whole: &str) -> bool {
    path.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Paths at which two values differ, each with both values.
fn differences(path: &str, theirs: &Value, ours: &Value, found: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(left), Value::Object(right)) => {
            for (key, value) in left {
                let path = format!("{path}/{key}");
                match right.get(key) {
                    Some(other) => differences(&path, value, other, found),
                    None => found.push(format!("{path} is missing; there it is {value}")),
                }
            }
            for (key, value) in right.iter().filter(|(key, _)| !left.contains_key(*key)) {
                found.push(format!("{path}/{key} is not there; here it is {value}"));
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (at, (left, right)) in left.iter().zip(right).enumerate() {
                differences(&format!("{path}/{at}"), left, right, found);
            }
        }
        (Value::Number(left), Value::Number(right)) => {
            let (left, right) = (left.as_f64().unwrap(), right.as_f64().unwrap());
            let is_time = left > 1e9;
            if (left - right).abs() > if is_time { 1e-6 } else { 1e-15 } {
                found.push(format!("{path} is {right}; there it is {left}"));
            }
        }
        _ if theirs == ours => {}
        _ => found.push(format!("{path} is {ours}; there it is {theirs}")),
    }
}

/// Costs, and the prices that they follow from, within a billionth of a dollar.
fn compare_costs(name: &str, theirs: &Value, ours: &Value) {
    let value = "/model_map_information/model_map_value";
    let paths = [
        "/response_cost".to_owned(),
        "/hidden_params/response_cost".to_owned(),
        "/cost_breakdown/input_cost".to_owned(),
        "/cost_breakdown/cache_read_cost".to_owned(),
        "/cost_breakdown/output_cost".to_owned(),
        "/cost_breakdown/reasoning_cost".to_owned(),
        "/cost_breakdown/total_cost".to_owned(),
        format!("{value}/input_cost_per_token"),
        format!("{value}/output_cost_per_token"),
    ];
    // LiteLLM knows nothing of the models that are named after their errors; the price data take
    // them for variants of what they begin with.
    let is_priced = !theirs["model"].as_str().unwrap().contains("-err");
    for path in paths.iter().filter(|path| is_priced || !path.starts_with(value)) {
        let number = |json: &Value| json.pointer(path).map(Value::as_f64);
        match (number(theirs), number(ours)) {
            (Some(Some(there)), Some(Some(here))) => {
                assert!((there - here).abs() < 1e-12, "{name}: {path} is {here}, not {there}");
            }
            (there, here) => assert_eq!(there, here, "{name}: {path}"),
        }
    }
}

/// The call of a capture, as the journal would hold it.
fn entry_of(capture: &Value, failure: Option<Failure>) -> Entry {
    let post = &capture["post"];
    let text = |path: &str| post.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let time = |path: &str| {
        let seconds = post.pointer(path).and_then(Value::as_f64).unwrap();
        Timestamp::from_nanos((seconds * 1e6).round() as i64 * 1_000)
    };
    let body = &capture["request"]["body"];
    let stream = body["stream"] == true;
    let answered = capture["response"]["body"].as_str().unwrap_or_default();
    let response = match failure {
        Some(_) => String::new(),
        None if stream => with_usage_chunk(answered, post),
        None => answered.to_owned(),
    };
    let attempt = deployment_of(post).map(|deployment| ProviderAttempt {
        headers: provider_headers(post),
        deployment: Arc::new(deployment),
        started_at: time("/startTime"),
        finished_at: time("/endTime"),
        status: None,
        failure: failure.clone(),
    });
    let call = Call {
        id: serde_json::from_value(post["litellm_call_id"].clone()).unwrap(),
        arrived_at: time("/startTime"),
        path: text("/metadata/user_api_key_request_route").into(),
        model: body["model"].as_str().unwrap().into(),
        stream,
        caller: Caller::Master,
        client_ip: text("/requester_ip_address").parse().ok(),
        end_user: body["user"].as_str().map(Into::into),
        tags: caller_tags(post),
        trace_id: body["metadata"]["trace_id"].as_str().map(Into::into),
        session_id: body["metadata"]["session_id"].as_str().map(Into::into),
        headers: strings(&post["metadata"]["requester_metadata"]["headers"]),
        ..domain::sample::call()
    };
    let facts = Facts {
        call: Arc::new(call),
        attempts: attempt.into_iter().collect(),
        outcome: failure.map_or(Outcome::Completed, Outcome::Failed),
        first_byte_at: stream.then(|| time("/completionStartTime")),
        finished_at: time("/endTime"),
        response_is_stream: stream,
        retries: 0,
        fallbacks: 0,
    };
    let exchange = Exchange {
        facts,
        request: Payload::whole(serde_json::to_vec(body).unwrap().into()),
        response: Payload::whole(Bytes::from(response)),
    };
    Entry { sequence: Sequence(1), record: Record::Sealed(Arc::new(exchange)) }
}

fn deployment_of(post: &Value) -> Option<DeploymentFacts> {
    let (provider, model) = post["model"].as_str().unwrap().split_once('/')?;
    Some(DeploymentFacts {
        id: post["model_id"].as_str().unwrap().into(),
        model_name: post["model_group"].as_str().unwrap().into(),
        provider: provider.into(),
        model: model.into(),
        api_base: post["api_base"].as_str().unwrap().into(),
        dialect: Dialect::OpenAi,
        prices: None,
    })
}

/// LiteLLM counts the tokens of a mocked stream by itself; a provider sends this chunk.
fn with_usage_chunk(stream: &str, post: &Value) -> String {
    let usage = json!({
        "prompt_tokens": post["prompt_tokens"],
        "completion_tokens": post["completion_tokens"],
        "total_tokens": post["total_tokens"],
    });
    let chunk = json!({"id": post["id"], "choices": [], "usage": usage});
    stream.replace("data: [DONE]", &format!("data: {chunk}\n\ndata: [DONE]"))
}

/// The headers that the upstream sent, as far as LiteLLM tells of them.
fn provider_headers(post: &Value) -> Vec<(String, String)> {
    let told = strings(&post["hidden_params"]["additional_headers"]);
    let is_failure = post["status"] == "failure";
    let mut headers: Vec<_> = told
        .iter()
        .filter_map(|(name, value)| match name.strip_prefix("llm_provider-") {
            Some(name) => Some((name.to_owned(), value.clone())),
            None if name.starts_with("x_ratelimit_") && is_failure => {
                Some((name.replace('_', "-"), value.clone()))
            }
            None if is_failure => Some((name.clone(), value.clone())),
            None => None,
        })
        .collect();
    headers.sort();
    headers
}

fn caller_tags(post: &Value) -> Vec<String> {
    let tags = post["request_tags"].as_array().unwrap().iter().filter_map(Value::as_str);
    tags.filter(|tag| !tag.starts_with("User-Agent: ")).map(Into::into).collect()
}

fn strings(object: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), Into::into);
    let members = object.as_object().into_iter().flatten();
    members.map(|(name, value)| (name.clone(), text(value))).collect()
}

fn path(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/captures/{name}.json"))
}

fn capture(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(path(name)).unwrap()).unwrap()
}

/// The names of a payload's members, or of a capture's `post`, in order.
fn ordered_keys(json: &[u8]) -> Vec<String> {
    struct Keys(Vec<(String, Box<serde_json::value::RawValue>)>);
    impl<'de> serde::Deserialize<'de> for Keys {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Object;
            impl<'de> serde::de::Visitor<'de> for Object {
                type Value = Keys;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> Result<Keys, A::Error> {
                    let mut keys = Vec::new();
                    while let Some(entry) = map.next_entry()? {
                        keys.push(entry);
                    }
                    Ok(Keys(keys))
                }
            }
            deserializer.deserialize_map(Object)
        }
    }
    let keys: Keys = serde_json::from_slice(json).unwrap();
    match keys.0.iter().find(|(name, _)| name == "post") {
        Some((_, post)) => ordered_keys(post.get().as_bytes()),
        None => keys.0.into_iter().map(|(name, _)| name).collect(),
    }
}
