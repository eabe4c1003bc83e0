//! Our own door: events and deliveries found, looked at and sent again.

use serde_json::{Value, json};
use testkit::Reply;

use crate::manage::Managed;

/// The request ids of a list of events, newest first.
fn ids(list: &Value) -> Vec<String> {
    let data = list["data"].as_array().cloned().unwrap_or_default();
    data.iter().filter_map(|event| event["request_id"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn events_are_found_by_type_model_key_time_and_destination_page_by_page() {
    let world = Managed::new().await;
    let mut calls = Vec::new();
    for model in ["echo", "other", "echo", "other", "echo"] {
        calls.push(world.call(model).await);
    }
    world.make("late", json!({"filters": {"completion": {"models": ["other"]}}})).await;
    let refused = world.app().post("/v1/chat/completions", &json!({"model": "nobody"})).await;
    assert!(refused.code() >= 400);
    calls.reverse();
    let list = async |query: &str| {
        let path = format!("/api/events?{query}");
        world.expect(200, "GET", &path, None).await
    };
    assert_eq!(ids(&list("type=completion").await), calls);
    let of = |model: usize| -> Vec<_> { calls.iter().skip(model).step_by(2).cloned().collect() };
    assert_eq!(ids(&list("type=completion&model=ech*").await), of(0));
    assert_eq!(ids(&list("model=other&key=app").await), of(1));
    assert_eq!(ids(&list("destination=late&type=completion").await), of(1));
    assert_eq!(ids(&list("key=master").await), Vec::<String>::new());
    assert_eq!(ids(&list("until=2020-01-01T00:00:00Z").await), Vec::<String>::new());
    assert_eq!(ids(&list("since=4000000000").await), Vec::<String>::new());
    assert_eq!(ids(&list("type=completion&since=2020-01-01T00:00:00Z").await), calls);
    let errors = list("type=error").await;
    assert_eq!(errors["data"][0]["key"], "app", "a refused call is an event, too: {errors}");

    let (mut cursor, mut paged) = (String::new(), Vec::new());
    loop {
        let page = list(&format!("type=completion&limit=2{cursor}")).await;
        paged.extend(ids(&page));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(paged, calls);
    for query in
        ["type=x", "limit=0", "limit=201", "since=noon", "cursor=1", "destination=no", "q=1"]
    {
        let path = format!("/api/events?{query}");
        let answer = world.expect(422, "GET", &path, None).await;
        let (field, _) = query.split_once('=').expect("a parameter");
        assert_eq!(answer["error"]["problems"][0]["field"], field, "{answer}");
    }
}

#[tokio::test]
async fn a_dead_letter_is_seen_with_its_attempts_and_sent_again() {
    let world = Managed::new().await;
    world.make("picky", json!({})).await;
    world.make("paused", json!({})).await;
    world.expect(200, "POST", "/api/destinations/paused/pause", None).await;
    world.receiver.answer_to("\"model\":\"other\"", Reply::status(400).body("no such model"));
    let refused = world.call("other").await;
    let event = format!("evt_{}_completion", refused.trim_start_matches("req_"));
    let path = format!("/api/deliveries/picky/{event}");
    // It is buried once others pass.
    let dead = loop {
        let passed = world.call("echo").await;
        world.told("picky", &passed).await;
        let seen = world.ask("GET", &path, None).await;
        if seen.json()["state"] == "dead" {
            break seen.json();
        }
    };
    let attempt = &dead["history"][0];
    assert_eq!(
        (&attempt["status"], &attempt["answer_start"]),
        (&json!(400), &json!("no such model"))
    );
    assert!(attempt["address"].as_str().is_some_and(|a| a.starts_with("127.0.0.1:")), "{attempt}");
    assert!(attempt["timings"]["answer_ms"].is_number(), "{attempt}");
    assert_eq!(dead["events"], json!([event]));

    let list = world.expect(200, "GET", "/api/deliveries?state=dead", None).await;
    assert_eq!(list["data"][0]["id"], event, "{list}");
    for (query, finds) in [
        ("model=other&key=app&state=dead", true),
        ("model=oth*&destination=picky", true),
        ("model=gpt-4o-mini", true),
        ("model=other&key=master", false),
        ("model=other&type=error", false),
        ("model=nobody's", false),
    ] {
        let found = world.expect(200, "GET", &format!("/api/deliveries?{query}"), None).await;
        let found = found["data"].as_array().cloned().unwrap_or_default();
        assert_eq!(found.iter().any(|row| row["id"] == event), finds, "{query}: {found:?}");
        assert!(found.iter().all(|row| row["id"] == event), "{query}: {found:?}");
    }
    let found = world.expect(200, "GET", "/api/events?state=dead", None).await;
    assert_eq!(ids(&found), [refused.as_str()]);
    let shown = world.expect(200, "GET", &format!("/api/events/{event}"), None).await;
    assert_eq!(
        (&shown["event"]["request_id"], &shown["event"]["content"]),
        (&json!(refused), &json!("hello"))
    );
    let states: Vec<_> = shown["deliveries"].as_array().cloned().unwrap_or_default();
    let state =
        |name: &str| states.iter().find(|d| d["destination"] == name).map(|d| d["state"].clone());
    assert_eq!((state("picky"), state("paused")), (Some(json!("dead")), Some(json!("pending"))));

    world.receiver.answer_alike();
    let retry = format!("{path}/retry");
    let again = world.expect(202, "POST", &retry, None).await;
    assert_ne!(again["state"], "dead");
    let arrival = world.told("picky", &refused).await;
    assert_eq!(arrival.header("webhook-id"), Some(event.as_str()), "the same id");
    loop {
        let seen = world.expect(200, "GET", &path, None).await;
        if seen["state"] == "delivered" {
            break;
        }
        tokio::task::yield_now().await;
    }
    let answer = world.expect(409, "POST", &retry, None).await;
    assert_eq!(answer["error"]["type"], "conflict", "{answer}");
    world.expect(404, "POST", "/api/deliveries/picky/evt_x/retry", None).await;
    world.expect(404, "GET", "/api/events/evt_0123456789abcdef0123456789abcdef_error", None).await;
}

#[tokio::test]
async fn a_range_is_counted_and_then_replayed_under_the_same_ids() {
    let world = Managed::new().await;
    world.make("audit", json!({})).await;
    let mut calls = Vec::new();
    for model in ["echo", "other", "echo"] {
        let call = world.call(model).await;
        world.told("audit", &call).await;
        calls.push(call);
    }
    let first: Vec<_> = world.receiver.arrivals();
    let spec = |more: Value| {
        let mut spec = json!({"destination": "audit", "from": 1});
        for (key, value) in more.as_object().cloned().unwrap_or_default() {
            spec[key] = value;
        }
        Some(spec)
    };
    let dry = spec(json!({"dry_run": true, "from": "2020-01-01T00:00:00Z"}));
    let counted = world.expect(200, "POST", "/api/replays", dry).await;
    assert_eq!(counted["matched"], json!({"completion": 3}), "{counted}");
    assert_eq!(counted["bodies"], 3, "{counted}");
    let body = counted["first"]["body"].as_str().unwrap_or_default();
    assert_eq!(body.as_bytes(), first[0].body, "{counted}");
    assert_eq!(world.expect(200, "GET", "/api/replays", None).await, json!({"data": []}));

    let only = spec(json!({"filter": {"models": ["other"]}, "rate": 100}));
    let begun = world.expect(201, "POST", "/api/replays", only).await;
    let path = format!("/api/replays/{}", begun["id"].as_str().expect("it has an id"));
    let done = loop {
        let seen = world.expect(200, "GET", &path, None).await;
        if seen["state"] == "finished" {
            break seen;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((&done["delivered"], &done["given_up"]), (&json!(1), &json!(0)));
    let again = world.receiver.wait_for(first.len() + 1).await;
    let again = again.last().expect("waited for it");
    let before = first.iter().find(|arrival| arrival.body == again.body);
    let ids = [before, Some(again)].map(|a| a.and_then(|a| a.header("webhook-id")));
    assert!(ids[0].is_some() && ids[0] == ids[1], "{ids:?}");
    assert!(String::from_utf8_lossy(&again.body).contains(&calls[1]));

    world.expect(204, "DELETE", &path, None).await;
    world.expect(404, "GET", &path, None).await;
    let wrong = json!({"destination": "nobody", "rate": 0, "form": 1, "to": "noon"});
    let answer = world.expect(422, "POST", "/api/replays", Some(wrong)).await;
    let problems = answer["error"]["problems"].as_array().cloned().unwrap_or_default();
    let mut fields: Vec<_> = problems.iter().filter_map(|p| p["field"].as_str()).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["destination", "form", "from", "rate", "to"], "{answer}");
}

#[tokio::test]
async fn all_dead_letters_of_a_destination_are_sent_again_at_once() {
    let world = Managed::new().await;
    world.make("picky", json!({})).await;
    world.receiver.answer_to("\"model\":\"other\"", Reply::status(400));
    let refused = [world.call("other").await, world.call("other").await];
    let list = "/api/deliveries?state=dead&destination=picky";
    loop {
        let passed = world.call("echo").await;
        world.told("picky", &passed).await;
        let dead = world.expect(200, "GET", list, None).await;
        if dead["data"].as_array().is_some_and(|dead| dead.len() == 2) {
            break;
        }
    }
    world.receiver.answer_alike();
    let path = "/api/deliveries/retry";
    let answer = world.expect(422, "POST", path, Some(json!({}))).await;
    assert_eq!(answer["error"]["problems"][0]["field"], "destination", "{answer}");
    let of = json!({"destination": "picky", "since": "2020-01-01T00:00:00Z"});
    let retried = world.expect(202, "POST", path, Some(of)).await;
    assert_eq!(retried, json!({"matched": 2, "retried": 2, "skipped": 0}));
    for call in refused {
        world.told("picky", &call).await;
    }
    let none = world.expect(202, "POST", path, Some(json!({"all": true}))).await;
    assert_eq!(none, json!({"matched": 0, "retried": 0, "skipped": 0}));
}
