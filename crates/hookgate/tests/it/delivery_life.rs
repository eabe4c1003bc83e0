//! A destination's life: receivers that want no more, operators who pause, order, and where
//! deliveries may go.

use std::collections::BTreeSet;

use serde_json::json;
use testkit::{Gateway, Receiver, Reply, Upstream, receiver::Arrival};

use crate::delivery_world::{
    NO_LETTERS, OUTCOMES, QUICK, call, calls, dead_letters, expect_told_once, of, request_id,
    start, told, wait_told, webhook, webhooks,
};

/// A destination that is told of deliveries themselves.
fn watcher(receiver: &Receiver) -> String {
    let types = "[destination.disabled, destination.recovered, delivery.exhausted]";
    webhook("watcher", receiver, &format!(", event_types: {types}"))
}

async fn command(gateway: &Gateway, path: &str) {
    let seen = gateway.client().post(path, &json!({"reason": "maintenance"})).await;
    assert!((200..300).contains(&seen.code()), "{path}: {} {}", seen.code(), seen.text());
}

#[tokio::test]
async fn a_receiver_that_answers_410_gets_nothing_more_until_it_is_resumed() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let other = Receiver::start().await;
    let entries = [webhook("gone", &receiver, ""), webhook("other", &other, ""), watcher(&other)];
    let sections = format!("{}{OUTCOMES}{QUICK}", webhooks(&entries));
    let gateway = start(&upstream, &sections).await;
    receiver.push(Reply::status(410));
    let first = calls(&gateway, 1).await;
    gateway.wait_for_log("The destination is disabled. destination=gone").await;
    let told_of = |seen: &[Arrival]| !of(seen, "watcher").is_empty();
    let news = other.wait_until("the news", told_of).await;
    let news = of(&news, "watcher").remove(0).json();
    assert_eq!(news["event"], "destination.disabled", "{news}");
    assert_eq!(news["destination"], "gone", "{news}");

    let gateway = gateway.kill_and_restart().await;
    let later = calls(&gateway, 3).await;
    let all = &first | &later;
    wait_told(&other, "other", &all).await;
    assert_eq!(receiver.arrivals().len(), 1, "also after a crash");

    command(&gateway, "/api/destinations/gone/resume").await;
    wait_told(&receiver, "gone", &all).await;
    expect_told_once(&receiver, "gone", &all);
    // The crash may have sent it twice, under the same id.
    let news = of(&other.arrivals(), "watcher");
    let ids: BTreeSet<_> = news.iter().map(|arrival| arrival.header("webhook-id")).collect();
    assert_eq!(ids.len(), 1, "{news:#?}");
    assert_eq!(dead_letters(&gateway.setup, &[]).await, NO_LETTERS);
}

#[tokio::test]
async fn a_destination_that_is_paused_gets_what_it_missed_once_it_is_resumed() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let other = Receiver::start().await;
    let entries = [webhook("paused", &receiver, ""), webhook("other", &other, "")];
    let gateway = start(&upstream, &format!("{}{OUTCOMES}", webhooks(&entries))).await;
    let before = calls(&gateway, 2).await;
    wait_told(&receiver, "paused", &before).await;
    command(&gateway, "/api/destinations/paused/pause").await;
    let meanwhile = calls(&gateway, 3).await;
    wait_told(&other, "other", &meanwhile).await;
    let stopped = gateway.terminate().await;
    let gateway = stopped.start().await;
    let more = calls(&gateway, 2).await;
    wait_told(&other, "other", &more).await;
    assert_eq!(receiver.arrivals().len(), 2);
    command(&gateway, "/api/destinations/paused/resume").await;
    let all = &(&before | &meanwhile) | &more;
    wait_told(&receiver, "paused", &all).await;
    expect_told_once(&receiver, "paused", &all);
}

#[tokio::test]
async fn a_delivery_that_is_given_up_is_news_for_who_asked_for_it() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let other = Receiver::start().await;
    let entries = [webhook("refusing", &receiver, ""), watcher(&other)];
    let gateway = start(&upstream, &format!("{}{OUTCOMES}{QUICK}", webhooks(&entries))).await;
    let client = gateway.client();
    let secret = Reply::status(400).header("webhook-delivery", "abort-message").body("<b>no</b>");
    receiver.push(secret);
    call(&client, "unwanted").await;
    let news = other.wait_for(1).await.remove(0).json();
    assert_eq!(news["event"], "delivery.exhausted", "{news}");
    assert_eq!(news["destination"], "refusing", "{news}");
    let refused = receiver.arrivals().remove(0);
    assert_eq!(news["delivery_id"].as_str(), refused.header("webhook-id"), "{news}");
}

#[tokio::test]
async fn strict_order_holds_up_what_follows_a_failing_delivery() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let entry = webhook("strict", &receiver, ", strict_order: true");
    let gateway = start(&upstream, &format!("{}{OUTCOMES}{QUICK}", webhooks(&[entry]))).await;
    receiver.fail(3, 503);
    let client = gateway.client();
    let mut ids = Vec::new();
    for number in 0..8 {
        ids.push(call(&client, &format!("call {number}")).await);
    }
    wait_told(&receiver, "strict", &ids.iter().cloned().collect()).await;
    assert_eq!(told(&receiver.arrivals(), "strict"), ids);
    let tried: Vec<_> = receiver.arrivals()[..4].iter().map(|a| request_id(&a.json())).collect();
    assert_eq!(tried, vec![ids[0].clone(); 4]);
}

#[tokio::test]
async fn private_networks_open_to_those_whom_the_operator_lets_in() {
    let private = "allow_private: false";
    for (security, is_open) in [
        ("", false),
        ("security: {allow_private_destinations: [10.0.0.0/8]}\n", false),
        ("security: {allow_private_destinations: [127.0.0.0/8]}\n", true),
    ] {
        let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
        let other = Receiver::start().await;
        // By name: that a name has a private address shows only when it is resolved.
        let url = receiver.url().replace("127.0.0.1", "localhost");
        let entry = format!("  strict: {{url: '{url}?strict', {private}}}\n");
        let entries = [entry, webhook("other", &other, "")];
        let gateway =
            start(&upstream, &format!("{}{OUTCOMES}{security}", webhooks(&entries))).await;
        let ids = calls(&gateway, 1).await;
        wait_told(&other, "other", &ids).await;
        if is_open {
            wait_told(&receiver, "strict", &ids).await;
        } else {
            let line = gateway.wait_for_log("An attempt failed. destination=strict").await;
            assert!(line.contains("must not be a destination"), "{line}");
            assert_eq!(receiver.arrivals().len(), 0, "{security}");
        }
    }
}

#[tokio::test]
async fn a_receiver_that_echoes_its_secrets_teaches_nobody() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let more = ", secret: whsec_Y2FuYXJ5LXNlY3JldC1vZi10ZXN0cw==, \
                headers: {Authorization: 'Bearer canary-token'}";
    let gateway = start(
        &upstream,
        &format!("{}{OUTCOMES}{QUICK}", webhooks(&[webhook("echo", &receiver, more)])),
    )
    .await;
    let echo = "Bearer canary-token; whsec_Y2FuYXJ5LXNlY3JldC1vZi10ZXN0cw==";
    receiver.push(Reply::status(400).body(echo).header("webhook-delivery", "abort-message"));
    calls(&gateway, 1).await;
    let letters = crate::delivery_world::wait_letters(&gateway.setup, 1).await;
    let deliveries = gateway.client().get("/api/deliveries").await;
    let refused = receiver.arrivals().remove(0);
    let id = refused.header("webhook-id").expect("every delivery has one");
    let detail = gateway.client().get(&format!("/api/deliveries/echo/{id}")).await;
    assert_eq!(detail.code(), 200, "{}", detail.text());
    assert!(detail.text().contains("•••"), "{}", detail.text());
    let seen = [letters, deliveries.text(), detail.text(), gateway.log().join("\n")].concat();
    for secret in ["canary", "Y2FuYXJ5"] {
        assert!(!seen.contains(secret), "{seen}");
    }
}

/// 300 calls to a receiver that takes its time: LiteLLM's users know what becomes of some of them.
#[tokio::test]
async fn a_slow_receiver_gets_every_call_once() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let entry = webhook("slow", &receiver, "");
    let gateway = start(&upstream, &format!("{}{OUTCOMES}", webhooks(&[entry]))).await;
    let gate = testkit::Gate::new();
    receiver.set_default(Reply::status(200).held_at(&gate));
    let ids: BTreeSet<_> = calls(&gateway, 300).await;
    gate.reached_by(10).await;
    assert_eq!(receiver.arrivals().len(), 10, "concurrent_deliveries, and no more");
    gate.open();
    wait_told(&receiver, "slow", &ids).await;
    let stopped = gateway.terminate().await;
    drop(stopped);
    expect_told_once(&receiver, "slow", &ids);
}
