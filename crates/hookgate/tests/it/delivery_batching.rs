//! How events gather into bodies, and that a body stays the same in every attempt.

use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::{Receiver, Reply, Upstream, receiver::Arrival};

use crate::delivery_world::{
    QUICK, call, callbacks, calls, expect_told_once, of, start, told, wait_told, webhook, webhooks,
};

fn sizes(arrivals: &[Arrival]) -> Vec<usize> {
    arrivals.iter().map(|arrival| arrival.items().len()).collect()
}

#[tokio::test]
async fn a_batch_goes_when_it_is_full_and_what_is_left_at_the_end() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let settings = [("posts", ", batch_size: 3, flush_interval: 60")];
    let gateway = start(&upstream, &callbacks(&receiver, &settings)).await;
    let ids = calls(&gateway, 7).await;
    receiver.wait_for_items(6).await;
    assert_eq!(sizes(&receiver.arrivals()), [3, 3]);
    let stopped = gateway.terminate().await;
    assert_eq!(stopped.status.code(), Some(0), "{:#?}", stopped.log());
    let arrivals = receiver.arrivals();
    assert_eq!(sizes(&arrivals), [3, 3, 1]);
    let kind = |arrival: &Arrival| arrival.header("webhook-id").map(|id| id[..4].to_owned());
    let kinds: Vec<_> = arrivals.iter().filter_map(kind).collect();
    assert_eq!(kinds, ["bat_", "bat_", "evt_"]);
    expect_told_once(&receiver, "posts", &ids);
}

#[tokio::test]
async fn a_batch_that_is_not_full_goes_when_its_first_event_has_waited_long_enough() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let settings = [("posts", ", batch_size: 100, flush_interval: 1.5")];
    let gateway = start(&upstream, &callbacks(&receiver, &settings)).await;
    let began = Instant::now();
    let ids = calls(&gateway, 3).await;
    let ended = Instant::now();
    receiver.wait_for_items(3).await;
    let arrivals = receiver.arrivals();
    assert_eq!(sizes(&arrivals), [3], "three calls took {:?}", ended - began);
    let waited = arrivals[0].at - began;
    assert!(waited >= Duration::from_millis(1500), "it waited {waited:?} only");
    // Far less than the default of 60 s, on whatever machine.
    assert!(arrivals[0].at - ended < Duration::from_secs(20));
    expect_told_once(&receiver, "posts", &ids);
}

#[tokio::test]
async fn sigterm_at_once_after_thirty_calls_sends_all_thirty_before_the_end() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let sections = callbacks(&receiver, &[("posts", ", batch_size: 100, flush_interval: 60")]);
    let gateway = start(&upstream, &sections).await;
    let ids = calls(&gateway, 30).await;
    assert_eq!(receiver.arrivals().len(), 0, "the batch was to wait for a minute");
    let signalled = Instant::now();
    let stopped = gateway.terminate().await;
    assert_eq!(stopped.status.code(), Some(0), "{:#?}", stopped.log());
    assert!(signalled.elapsed() < Duration::from_secs(9), "it waited for no time-out");
    expect_told_once(&receiver, "posts", &ids);
    assert_eq!(sizes(&receiver.arrivals()), [30]);

    // What was sent is settled: nothing comes again.
    let gateway = stopped.start().await;
    let more = calls(&gateway, 1).await;
    gateway.terminate().await;
    expect_told_once(&receiver, "posts", &(&ids | &more));
}

#[tokio::test]
async fn a_body_keeps_to_the_bytes_that_it_may_have_unless_one_event_has_more() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let settings = [("posts", ", batch_size: 100, flush_interval: 60")];
    let sections =
        format!("{}delivery: {{batch_bytes_max: 50000}}\n", callbacks(&receiver, &settings));
    let gateway = start(&upstream, &sections).await;
    let client = gateway.client();
    let mut ids = std::collections::BTreeSet::new();
    for chars in [4_000, 4_000, 4_000, 4_000, 4_000, 40_000, 4_000, 4_000] {
        ids.insert(call(&client, &"x".repeat(chars)).await);
    }
    gateway.terminate().await;
    let arrivals = receiver.arrivals();
    for arrival in &arrivals {
        let (items, bytes) = (arrival.items().len(), arrival.body.len());
        assert!(bytes <= 50_000 || items == 1, "{items} items have {bytes} bytes");
    }
    let sizes = sizes(&arrivals);
    assert!(sizes.iter().any(|size| *size > 1), "what fits goes together: {sizes:?}");
    assert!(arrivals.iter().any(|arrival| arrival.body.len() > 50_000), "a large event goes, too");
    expect_told_once(&receiver, "posts", &ids);
}

#[tokio::test]
async fn each_log_format_writes_bodies_of_its_own_form() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let settings = [
        ("array", ", batch_size: 2, flush_interval: 60"),
        ("lines", ", log_format: ndjson, batch_size: 2, flush_interval: 60"),
        ("bare", ", log_format: single, batch_size: 2, flush_interval: 60"),
    ];
    let gateway = start(&upstream, &callbacks(&receiver, &settings)).await;
    let ids = calls(&gateway, 3).await;
    gateway.terminate().await;
    let arrivals = receiver.arrivals();
    for (name, bodies) in [("array", 2), ("lines", 2), ("bare", 3)] {
        expect_told_once(&receiver, name, &ids);
        let own = of(&arrivals, name);
        assert_eq!(own.len(), bodies, "{name}");
        for arrival in own {
            assert_eq!(arrival.header("content-type"), Some("application/json"), "{name}");
            let text = std::str::from_utf8(&arrival.body).expect("JSON is UTF-8");
            let items = arrival.items().len();
            let is_formed = match name {
                "array" => arrival.json().as_array().is_some_and(|array| array.len() == items),
                "lines" => text.split('\n').count() == items && text.lines().all(is_object),
                _ => is_object(text) && items == 1,
            };
            assert!(is_formed, "{name}: {text}");
        }
    }
}

fn is_object(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object())
}

#[tokio::test]
async fn the_event_format_sends_one_event_a_body_and_at_once() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let gateway = start(&upstream, &webhooks(&[webhook("primary", &receiver, "")])).await;
    let ids = calls(&gateway, 5).await;
    wait_told(&receiver, "primary", &ids).await;
    assert_eq!(sizes(&receiver.arrivals()), [1; 5]);
    expect_told_once(&receiver, "primary", &ids);
}

#[tokio::test]
async fn a_batch_comes_again_with_the_same_id_and_bytes_even_after_a_crash() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let settings = [("posts", ", batch_size: 3, flush_interval: 60")];
    let sections = format!("{}{QUICK}", callbacks(&receiver, &settings));
    let mut gateway = start(&upstream, &sections).await;
    for crash in [false, true] {
        receiver.clear();
        receiver.set_default(Reply::status(503));
        let ids = calls(&gateway, 3).await;
        receiver.wait_for(2).await;
        if crash {
            gateway = gateway.kill_and_restart().await;
        }
        receiver.set_default(Reply::status(200));
        wait_told(&receiver, "posts", &ids).await;
        let of_these = |arrival: &Arrival| {
            let told: Vec<_> =
                arrival.items().iter().map(crate::delivery_world::request_id).collect();
            told.iter().all(|id| ids.contains(id))
        };
        // After the crash the batch before may come once more.
        let own: Vec<_> = receiver.arrivals().into_iter().filter(of_these).collect();
        assert!(own.len() >= 3, "{own:#?}");
        let (first, last) = (&own[0], &own[own.len() - 1]);
        assert!(first.status == 503 && last.is_accepted());
        assert!(first.header("webhook-id").is_some_and(|id| id.starts_with("bat_")));
        for again in &own {
            assert_eq!(again.header("webhook-id"), first.header("webhook-id"), "crash: {crash}");
            assert_eq!(again.body, first.body, "crash: {crash}");
        }
        let told = told(&own, "posts");
        assert_eq!(told.len(), 3, "accepted once: {told:?}");
    }
}
