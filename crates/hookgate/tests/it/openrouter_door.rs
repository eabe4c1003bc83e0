//! `OpenRouter`'s door: destinations that are tested before they are stored, and what they get.

use serde_json::{Value, json};
use testkit::Reply;

use crate::manage::{APP, Managed, hexadecimal, is_for};

const ROOT: &str = "/api/v1/observability/destinations";

impl Managed {
    /// A `webhook` at the receiver, with more fields.
    fn broadcast(&self, name: &str, more: &Value) -> Value {
        let mut body = json!({"type": "webhook", "name": name, "config": {"url": self.url(name)}});
        for (key, value) in more.as_object().cloned().unwrap_or_default() {
            body[key] = value;
        }
        body
    }

    async fn make_broadcast(&self, name: &str, more: Value) -> Value {
        let body = self.broadcast(name, &more);
        self.expect(201, "POST", ROOT, Some(body)).await["data"].clone()
    }
}

#[tokio::test]
async fn a_destination_is_tested_stored_listed_changed_and_removed() {
    let world = Managed::new().await;
    let token = "Bearer of a long token of the receiver";
    let config = json!({"url": world.url("prod"), "method": "POST",
                        "headers": {"Authorization": token}});
    let made = world
        .make_broadcast(
            "prod",
            json!({"config": config, "sampling_rate": 0.5, "privacy_mode": true}),
        )
        .await;
    let test = world.receiver.arrivals();
    let [test] = &test[..] else { panic!("one test: {test:#?}") };
    assert_eq!(test.json(), json!({"resourceSpans": []}));
    assert_eq!(test.header("x-test-connection"), Some("true"));
    assert_eq!(test.header("authorization"), Some(token));
    assert_eq!(made["config"]["headers"]["Authorization"], "Bear...iver");
    assert_eq!((&made["sampling_rate"], &made["enabled"]), (&json!(0.5), &json!(true)));

    let path = format!("{ROOT}/{}", made["id"].as_str().expect("a UUID"));
    assert_eq!(world.expect(200, "GET", &path, None).await["data"], made);
    let list = world.expect(200, "GET", &format!("{ROOT}?limit=1&offset=0"), None).await;
    assert_eq!(list, json!({"data": [made], "total_count": 1}));

    let change = json!({"name": "renamed", "sampling_rate": 1, "config": made["config"]});
    let changed = world.expect(200, "PATCH", &path, Some(change)).await["data"].clone();
    assert_eq!((&changed["name"], &changed["privacy_mode"]), (&json!("renamed"), &json!(true)));
    let arrivals = world.receiver.arrivals();
    let retested = arrivals.last().and_then(|arrival| arrival.header("authorization"));
    assert_eq!(retested, Some(token), "a masked value changes nothing");
    let ours = world.expect(200, "GET", "/api/destinations", None).await;
    let ours = &ours["data"][0];
    assert_eq!((&ours["source"], &ours["label"]), (&json!("openrouter"), &json!("renamed")));
    assert_eq!((&ours["format"], &ours["privacy"]), (&json!("otlp"), &json!(true)));
    world.expect(200, "DELETE", &path, None).await;
    let gone = world.expect(404, "GET", &path, None).await;
    assert_eq!(gone, json!({"error": {"code": 404, "message": "Destination not found"}}));
}

#[tokio::test]
async fn only_what_takes_the_connection_test_is_stored() {
    let world = Managed::new().await;
    world.receiver.set_default(Reply::status(500));
    let body = world.broadcast("down", &json!({}));
    let answer = world.expect(400, "POST", ROOT, Some(body)).await;
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("500"), "{answer}");
    world.receiver.set_default(Reply::status(400));
    let collector = json!({"type": "otel-collector", "name": "collector",
                           "config": {"endpoint": world.url("collector")}});
    world.expect(400, "POST", ROOT, Some(collector.clone())).await;
    world.make_broadcast("strict", json!({})).await;
    world.receiver.set_default(Reply::status(200));
    let made = world.expect(201, "POST", ROOT, Some(collector)).await;
    assert_eq!(made["data"]["config"]["endpoint"], json!(world.url("collector")));
    let arrivals = world.receiver.arrivals();
    let span = arrivals.last().expect("it was tested").json();
    let span = &span["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["name"], "openrouter-connection-test");
    assert_eq!(span["traceId"], "00000000000000000000000000000001");
    let list = world.expect(200, "GET", ROOT, None).await;
    assert_eq!(list["total_count"], 2, "{list}");
}

#[tokio::test]
async fn calls_of_the_keys_that_pass_the_rules_are_told() {
    use sha2::{Digest, Sha256};
    let world = Managed::new().await;
    let hash = hexadecimal(&Sha256::digest(APP.1));
    let rules = json!({"groups": [{"logic": "or", "rules": [
        {"field": "model", "operator": "equals", "value": "other"},
        {"field": "total_tokens", "operator": "gt", "value": 1_000_000},
    ]}]});
    world.make_broadcast("ruled", json!({"filter_rules": rules, "api_key_hashes": [hash]})).await;
    world.make_broadcast("stranger", json!({"api_key_hashes": ["0".repeat(64)]})).await;
    world.make("witness", json!({})).await;
    world.receiver.clear();
    let (echo, other) = (world.call("echo").await, world.call("other").await);
    world.told("witness", &echo).await;
    world.told("witness", &other).await;
    let arrivals = world
        .receiver
        .wait_until("a trace of `other`", |seen| seen.iter().any(|a| is_for(a, "ruled")))
        .await;
    let traces: Vec<_> = arrivals.iter().filter(|a| is_for(a, "ruled")).collect();
    let [trace] = traces[..] else { panic!("one call passes: {traces:#?}") };
    let text = String::from_utf8_lossy(&trace.body).into_owned();
    assert!(text.contains("resourceSpans") && text.contains("other"), "{text}");
    assert!(!arrivals.iter().any(|arrival| is_for(arrival, "stranger")));
}

#[tokio::test]
async fn numbers_come_back_as_they_were_given() {
    let world = Managed::new().await;
    for value in [json!(5), json!(0.5), json!(1e-7), json!(-3), json!("5")] {
        let rule = json!({"field": "total_tokens", "operator": "gt", "value": value});
        let rules = json!({"enabled": true, "groups": [{"logic": "and", "rules": [rule]}]});
        let given = json!({"filter_rules": rules, "sampling_rate": 1});
        let made = world.make_broadcast("numbers", given).await;
        assert_eq!((&made["filter_rules"], &made["sampling_rate"]), (&rules, &json!(1)));
        let path = format!("{ROOT}/{}", made["id"].as_str().expect("a UUID"));
        assert_eq!(world.expect(200, "GET", &path, None).await["data"], made);
        let half = world.expect(200, "PATCH", &path, Some(json!({"sampling_rate": 0.25}))).await;
        let half = &half["data"];
        assert_eq!((&half["filter_rules"], &half["sampling_rate"]), (&rules, &json!(0.25)));
        world.expect(200, "DELETE", &path, None).await;
    }
}

#[tokio::test]
async fn further_facts_of_a_generation_are_told_where_a_destination_asks_for_them() {
    let world = Managed::new().await;
    let asked = ["cost", "identity", "request_context"];
    let flags = |groups: &[&str]| -> Value {
        let flag = |group| (format!("broadcast_generation_{group}"), json!(groups.contains(group)));
        Value::Object(asked.iter().map(flag).collect())
    };
    let made = world.make_broadcast("facts", flags(&["cost", "request_context"])).await;
    let path = format!("{ROOT}/{}", made["id"].as_str().expect("a UUID"));
    for (groups, expected) in [
        (&["cost", "request_context"][..], [true, false, true]),
        (&["identity"], [false, true, false]),
        (&[], [false, false, false]),
    ] {
        let changed = world.expect(200, "PATCH", &path, Some(flags(groups))).await["data"].clone();
        let shown = asked.map(|group| changed[&format!("broadcast_generation_{group}")].clone());
        assert_eq!(shown, expected.map(Value::Bool));
        world.receiver.clear();
        world.call("echo").await;
        let arrivals = world
            .receiver
            .wait_until("a trace", |seen| seen.iter().any(|a| is_for(a, "facts")))
            .await;
        let trace = arrivals.iter().find(|arrival| is_for(arrival, "facts")).expect("it came");
        let text = String::from_utf8_lossy(&trace.body).into_owned();
        let told = ["tokens_prompt", "upstream_id", "streamed"].map(|name| {
            ["trace", "span"].map(|what| format!("{what}.metadata.openrouter_generation.{name}"))
        });
        let told = told.map(|keys| keys.iter().all(|key| text.contains(key)));
        assert_eq!(told, expected, "{text}");
    }
}

#[tokio::test]
async fn bad_requests_are_told_in_openrouter_s_shape_and_make_nothing() {
    let world = Managed::new().await;
    let url = "https://receiver.example/";
    for (body, expected) in [
        (json!({"type": "datadog", "name": "x", "config": {}}), "`datadog` is not available here"),
        (json!({"name": "x", "config": {"url": url}}), "type is required"),
        (json!({"type": "webhook", "config": {}}), "name is required; config.url is required"),
        (json!({"type": "webhook", "name": "x", "config": {"url": "nowhere"}}), "config.url must"),
        (
            json!({"type": "webhook", "name": "x", "config": {"url": url}, "sampling_rate": 0}),
            "sampling_rate must be from 0.0001 to 1",
        ),
        (
            json!({"type": "webhook", "name": "x", "config": {"url": url}, "api_key_hashes": []}),
            "api_key_hashes must name a key",
        ),
        (
            json!({"type": "webhook", "name": "x", "config": {"url": url},
                   "filter_rules": {"groups": [{"rules": [{"field": "size"}]}]}}),
            "filter_rules.groups[0].rules[0].field must be one of",
        ),
    ] {
        let answer = world.expect(400, "POST", ROOT, Some(body)).await;
        assert_eq!(answer["error"]["code"], 400);
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(expected), "{message}");
    }
    for query in ["limit=0", "limit=101", "offset=-1"] {
        world.expect(400, "GET", &format!("{ROOT}?{query}"), None).await;
    }
    let list = world.expect(200, "GET", ROOT, None).await;
    assert_eq!(list, json!({"data": [], "total_count": 0}));
}
