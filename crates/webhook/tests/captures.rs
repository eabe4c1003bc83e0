//! Our payloads against what LiteLLM sent for the same calls (`captures/README.md`).
//!
//! Each capture is replayed, post by post. Every value must be the same, in kind too, but for the
//! differences listed here with their reasons.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail where its world is odd")]

#[path = "support/compare.rs"]
mod compare;
#[path = "support/destinations.rs"]
mod destinations;
#[path = "support/replay.rs"]
mod replay;

use compare::{differences, is_within, ordered_keys};
use domain::{
    budget::{BudgetReached, BudgetScope},
    destination::{Destination, Format, LogFormat},
    event::{Detail, Event, EventType},
    failure::{Failure, FailureKind},
    id::EventId,
    note::{News, Note},
    record::{Entry, Sequence},
};
use provider::{derive::derive, price::Prices};
use replay::{capture, entry_of, folder};
use serde_json::Value;
use webhook::format::{Item, content_type, items, join};

/// A path of a value or of what it is part of, and why it differs.
type Listed = (&'static str, &'static str);

/// Differences of any payload.
const ALWAYS: [Listed; 7] = [
    ("/usage", "LiteLLM's documentation shows it, its payload lacks it"),
    ("/cost", "LiteLLM's documentation shows it, its payload lacks it"),
    ("/trace_id", "LiteLLM makes a random one where the caller named none"),
    ("/response_time", "LiteLLM measures it apart from the times that it tells"),
    ("/model_map_information/model_map_value", "compared below, by the keys that we write"),
    ("/error_information/traceback", "there is none"),
    (
        "/hidden_params/litellm_overhead_time_ms",
        "measured, and differently: LiteLLM's includes its waiting for the client",
    ),
];

/// What its own mock of a stream tells that a provider's stream does not.
const STREAMED: [Listed; 2] = [
    ("/response/usage/completion_tokens_details", "LiteLLM counts by itself, and splits the count"),
    ("/metadata/usage_object/completion_tokens_details", "the same numbers"),
];

const OURS: &str = "our own words";
const CACHE: &str = "needs a response cache";
const STAYED: &str = "LiteLLM lets the provider finish for a caller who left; we stop it";

/// What is special about one call of one capture.
struct Case {
    name: &'static str,
    call: usize,
    differs: Vec<Listed>,
    /// How it ended with us, where that is not what LiteLLM tells.
    failure: Option<Failure>,
}

fn special() -> Vec<Case> {
    let case = |name, call, differs: &[Listed]| Case {
        name,
        call,
        differs: differs.to_vec(),
        failure: None,
    };
    let own_words = [("/error_str", OURS), ("/error_information/error_message", OURS)];
    let retired = ["/response_cost", "/hidden_params/response_cost", "/cost_breakdown"]
        .map(|path| (path, "LiteLLM forgets the price of a retired model; our price data do not"));
    let unready = "LiteLLM's time-out mock answers before it knows";
    let mocked = [
        ("/error_information/error_class", "the class of LiteLLM's mock"),
        ("/error_information/llm_provider", "LiteLLM's mock says `anthropic` of an openai model"),
    ];
    vec![
        case("b_success_stream", 0, &STREAMED),
        case("c3_failure_unknown_model_name", 0, &own_words),
        case("j_anthropic_model", 0, &retired),
        case("q4_midstream_error", 0, &mocked),
        case("q5_content_filter", 0, &own_words),
        case(
            "q6_timeout",
            0,
            &[("/custom_llm_provider", unready), ("/model_parameters/stream", unready)],
        ),
        case("q3_cache_hit", 1, &cached()),
        Case {
            failure: Some(Failure::new(FailureKind::ClientDisconnected, 499, "left".into())),
            ..case("r_client_disconnect", 0, &left())
        },
    ]
}

fn cached() -> Vec<Listed> {
    [
        "/id",
        "/cache_hit",
        "/cache_key",
        "/saved_cache_cost",
        "/response_cost",
        "/cost_breakdown",
        "/model_parameters/stream",
        "/hidden_params/cache_key",
        "/hidden_params/response_cost",
        "/hidden_params/litellm_model_name",
    ]
    .map(|path| (path, CACHE))
    .to_vec()
}

fn left() -> Vec<Listed> {
    [
        "/id",
        "/cache_hit",
        "/status",
        "/status_fields/llm_api_status",
        "/cost_finalized",
        "/response_cost",
        "/cost_breakdown",
        "/total_tokens",
        "/prompt_tokens",
        "/completion_tokens",
        "/metadata/usage_object",
        "/response",
        "/hidden_params",
        "/error_str",
        "/error_information",
    ]
    .map(|path| (path, STAYED))
    .to_vec()
}

/// A call that LiteLLM makes by itself for `/health/services`, and nobody else.
fn is_replayed(post: &Value) -> bool {
    post["model"] != "litellm-mock-response-model"
}

/// One post of theirs and ours.
struct Pair {
    what: String,
    theirs: Value,
    ours: Item,
    case: Option<usize>,
}

/// Every post of every capture, with what our gateway makes of the same call.
fn pairs(cases: &[Case]) -> Vec<Pair> {
    let prices = Prices::new();
    let mut pairs = Vec::new();
    for name in names() {
        for (at, call) in capture(&name)["calls"].as_array().unwrap().iter().enumerate() {
            let posts = call["posts"].as_array().unwrap();
            if !posts.iter().all(is_replayed) || posts.is_empty() {
                continue;
            }
            let case = cases.iter().position(|case| case.name == name && case.call == at);
            let entry = entry_of(call, case.and_then(|at| cases[at].failure.clone()));
            let ours = told(&entry, &prices, &destinations::of(JSON_ARRAY));
            assert_eq!(ours.len(), posts.len(), "{name}: as many posts as there");
            for (theirs, ours) in posts.iter().zip(ours) {
                let what = format!("{name}, call {at}");
                pairs.push(Pair { what, theirs: theirs.clone(), ours, case });
            }
        }
    }
    pairs
}

const JSON_ARRAY: Format = Format::GenericApi(LogFormat::JsonArray);

fn names() -> Vec<String> {
    let paths = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
    let mut names: Vec<_> =
        paths.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn told(entry: &Entry, prices: &Prices, destination: &Destination) -> Vec<Item> {
    derive(entry, prices).iter().flat_map(|event| items(event, destination)).collect()
}

fn json(item: &Item) -> Value {
    serde_json::from_slice(&item.bytes).unwrap()
}

#[test]
fn payloads_say_what_litellms_say() {
    let cases = special();
    let pairs = pairs(&cases);
    assert_eq!((names().len(), pairs.len()), (26, 37), "every post of every capture");
    for Pair { what, theirs, ours, case } in &pairs {
        let own = case.map(|at| cases[at].differs.as_slice()).unwrap_or_default();
        let is_listed = |path: &str| {
            let mut listed = ALWAYS.iter().chain(own);
            listed.any(|(begin, _)| is_within(path, begin))
        };
        let found = differences(theirs, &json(ours));
        let found: Vec<_> = found.iter().filter(|(path, _)| !is_listed(path)).collect();
        assert!(found.is_empty(), "{what}:\n{found:#?}");
        compare_costs(what, theirs, &json(ours), own);
    }
}

#[test]
fn keys_stand_in_litellms_order() {
    let theirs = raw_posts("a_success_nonstream").remove(0);
    let ours = pairs(&special()).remove(0).ours;
    let (theirs, ours) = (theirs.get().as_bytes(), ours.bytes.as_ref());
    assert_eq!(ordered_keys(theirs).len(), 46);
    assert_eq!(ordered_keys(ours)[..46], ordered_keys(theirs));
    for (part, count) in [("metadata", 36), ("hidden_params", 11), ("error_information", 14)] {
        let keys = |json| ordered_keys(part_of(json, part).get().as_bytes());
        assert_eq!(keys(theirs).len(), count);
        assert_eq!(keys(ours), keys(theirs), "{part}");
    }
}

type Raw = Box<serde_json::value::RawValue>;

fn part_of(json: &[u8], name: &str) -> Raw {
    let mut parts: std::collections::BTreeMap<String, Raw> = serde_json::from_slice(json).unwrap();
    parts.remove(name).unwrap()
}

/// The posts of a capture's first call as they are written, keys in order.
fn raw_posts(name: &str) -> Vec<Raw> {
    let file = std::fs::read(folder().join(format!("{name}.json"))).unwrap();
    let calls: Vec<Raw> = serde_json::from_str(part_of(&file, "calls").get()).unwrap();
    serde_json::from_str(part_of(calls[0].get().as_bytes(), "posts").get()).unwrap()
}

#[test]
fn each_listed_difference_is_one() {
    let cases = special();
    let pairs = pairs(&cases);
    let is_other = |pair: &Pair, path: &str| {
        let found = differences(&pair.theirs, &json(&pair.ours));
        found.iter().any(|(at, _)| is_within(at, path))
    };
    for (path, reason) in ALWAYS {
        let is_there = pairs.iter().any(|pair| is_other(pair, path));
        assert!(is_there, "{path} is the same after all ({reason})");
    }
    for (at, case) in cases.iter().enumerate() {
        for (path, reason) in &case.differs {
            let mut own = pairs.iter().filter(|pair| pair.case == Some(at));
            let is_there = own.any(|pair| is_other(pair, path));
            assert!(is_there, "{}: {path} is the same after all ({reason})", case.name);
        }
    }
}

/// Costs, and the prices that they follow from, within a billionth of a dollar; and of the price
/// map no key that LiteLLM does not have.
fn compare_costs(what: &str, theirs: &Value, ours: &Value, differs: &[Listed]) {
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
        format!("{value}/mode"),
    ];
    // LiteLLM knows nothing of the models that are named after their errors, and no longer of one
    // that its provider retired.
    let model = theirs["model"].as_str().unwrap();
    let is_priced = !model.contains("-err") && !model.contains("20241022");
    let is_same = |path: &str| !differs.iter().any(|(begin, _)| is_within(path, begin));
    for path in paths.iter().filter(|path| is_priced || !path.starts_with(value)) {
        // The captures lack the price map's nulls.
        let known = |json: &Value| json.pointer(path).filter(|at| !at.is_null()).cloned();
        let number = |json: &Value| known(json).map(|at| at.as_f64().ok_or(at));
        match (number(theirs), number(ours)) {
            (Some(Ok(there)), Some(Ok(here))) if is_same(path) => {
                assert!((there - here).abs() < 1e-12, "{what}: {path} is {here}, not {there}");
            }
            (there, here) => assert!(there == here || !is_same(path), "{what}: {path}"),
        }
    }
}

#[test]
fn each_sink_gets_what_it_got_from_litellm() {
    let prices = Prices::new();
    let (mut bodies, mut singles) = (0, 0);
    for name in names() {
        let capture = capture(&name);
        for sink in capture["sinks"].as_array().unwrap() {
            let log_format = match sink["log_format"].as_str().unwrap() {
                "json_array" => LogFormat::JsonArray,
                "ndjson" => LogFormat::Ndjson,
                "single" => LogFormat::Single,
                other => panic!("no such log format: {other}"),
            };
            let event_types = match sink["name"].as_str().unwrap() {
                "fail_only" => vec![EventType::Error],
                "ok_only" | "sonly" => vec![EventType::Completion],
                _ => vec![EventType::Completion, EventType::Error],
            };
            let format = Format::GenericApi(log_format);
            let destination = Destination { event_types, ..destinations::of(format) };
            let theirs: Vec<&Value> = sink["told"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|told| is_known(&capture, told))
                .collect();
            let mut ours: Vec<Item> = capture["calls"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|call| call["posts"].as_array().unwrap().iter().all(is_replayed))
                .filter(|call| call["posts"][0].is_object())
                .flat_map(|call| told(&entry_of(call, None), &prices, &destination))
                .collect();
            if log_format == LogFormat::Single {
                ours.retain(|item| json(item)["litellm_call_id"] == theirs[0][0]);
                singles += 1;
            }
            let body = join(&destination, &ours).to_bytes();
            let posts: Vec<Value> = match log_format {
                LogFormat::JsonArray => serde_json::from_slice(&body).unwrap(),
                LogFormat::Ndjson | LogFormat::Single => body
                    .split(|byte| *byte == b'\n')
                    .map(|line| serde_json::from_slice(line).unwrap())
                    .collect(),
            };
            let said: Vec<Value> = posts
                .iter()
                .map(|post| serde_json::json!([post["litellm_call_id"], post["status"]]))
                .collect();
            assert_eq!(said.iter().collect::<Vec<_>>(), theirs, "{name}, {}", sink["name"]);
            assert_eq!(content_type(format), "application/json");
            bodies += 1;
        }
    }
    assert_eq!((bodies, singles), (39, 3));
}

/// Whether a told call is one of those that are replayed.
fn is_known(capture: &Value, told: &Value) -> bool {
    let calls = capture["calls"].as_array().unwrap().iter();
    let mut posts = calls.flat_map(|call| call["posts"].as_array().unwrap());
    posts.any(|post| post["litellm_call_id"] == told[0] && is_replayed(post))
}

#[test]
fn a_call_that_must_not_be_logged_makes_no_post() {
    let capture = capture("p_no_log");
    let [silent, told_of] = capture["calls"].as_array().unwrap().as_slice() else {
        panic!("two calls")
    };
    assert_eq!(
        (&silent["request"]["body"]["no-log"], silent["posts"].as_array().unwrap().len()),
        (&Value::Bool(true), 0)
    );
    let mut call = silent.clone();
    call["posts"] = told_of["posts"].clone();
    let ours = told(&entry_of(&call, None), &Prices::new(), &destinations::of(JSON_ARRAY));
    assert!(ours.is_empty());
}

#[test]
fn an_alert_says_what_litellms_says() {
    const DIFFERS: [Listed; 4] = [
        ("/token", "a key's hash is not at hand where its budget is counted"),
        ("/user_id", "keys have no users yet"),
        ("/key_alias", "LiteLLM's master key has no name; our budgets of keys go by their names"),
        ("/event_message", OURS),
    ];
    let capture = capture("s_alerting_webhook");
    let alerts = capture["others"].as_array().unwrap();
    let alert = alerts.iter().find(|other| other["name"] == "alert").unwrap();
    let reached = BudgetReached {
        scope: BudgetScope::Key,
        matched: "alice".into(),
        org_id: "default".into(),
        threshold: 100.0,
        spent: 1.0,
        max_budget: 0.0,
        limit_type: "monthly".into(),
        period_started_at: domain::sample::NOW,
        resets_at: None,
    };
    let id = EventId::from_stored("evt_budget");
    let note = Note { id: id.clone(), at: domain::sample::NOW, news: News::BudgetReached(reached) };
    let event = Event {
        id,
        sequence: Sequence(1),
        occurred_at: note.at,
        detail: Detail::Noted(note.into()),
    };
    let ours = items(&event, &destinations::of(Format::LitellmAlert));
    let theirs = &alert["body"];
    let found = differences(theirs, &json(&ours[0]));
    let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    let mut listed = DIFFERS.map(|(path, _)| path);
    listed.sort_unstable();
    assert_eq!(paths, listed, "{found:#?}");
    let keys = "spend max_budget soft_budget token customer_id user_id team_id team_alias \
        organization_id user_email key_alias projected_exceeded_date projected_spend event_group \
        alert_emails max_budget_alert_emails event event_message";
    assert_eq!(ordered_keys(&ours[0].bytes), keys.split_whitespace().collect::<Vec<_>>());
    assert_eq!(content_type(Format::LitellmAlert), alert["content_type"].as_str().unwrap());
}
