//! What LiteLLM's users have seen their logs go through, with the configuration that they have.
//!
//! Its own figures: 100 of 100 lost while the receiver answered 503; 18 to 30 of 30 lost at
//! SIGTERM; up to 92 of 300 lost at a receiver that takes 3 s, and 1,398 copies made of 200 at one
//! that takes 2 s; 100 of 100 lost at SIGTERM when the receiver hangs. Here seconds are tenths of
//! seconds, for the receiver and for `flush_interval` alike, so that as much meets as much.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use testkit::{Gate, Gateway, Receiver, Reply, Upstream, gateway::Setup};

use crate::{
    delivery_world::{call, calls, expect_told_once, of, told, wait_told},
    support::BINARY,
};

const NAME: &str = "custom_api_name";
const TENTH: Duration = Duration::from_millis(100);

/// The quick start of LiteLLM's page on generic API callbacks, with further settings of the
/// callback, a line each, and further sections.
async fn start(
    upstream: &Upstream,
    receiver: &Receiver,
    settings: &str,
    sections: &str,
) -> Gateway {
    let config = format!(
        "
model_list:
  - model_name: echo
    litellm_params:
      model: openai/gpt-3.5-turbo
      api_key: os.environ/OPENAI_API_KEY
      api_base: {}

litellm_settings:
  callbacks: [\"{NAME}\"]

callback_settings:
  {NAME}:
    callback_type: generic_api
    endpoint: {}?{NAME}
    headers:
      Authorization: Bearer sk-1234
{settings}
hookgate: {{ballast_bytes: 0}}
{sections}",
        upstream.openai_url(),
        receiver.url(),
    );
    Setup::new(BINARY, &config).env("OPENAI_API_KEY", "sk-upstream").start().await
}

/// So many calls, one after another, 15 in a tenth of a second at most: so fast that some end
/// while a POST is under way, and not so fast that all end before the first.
async fn steady_calls(gateway: &Gateway, count: usize) -> BTreeSet<String> {
    let mut ticks = tokio::time::interval(TENTH / 15);
    let (client, mut ids) = (gateway.client(), BTreeSet::new());
    for number in 0..count {
        ticks.tick().await;
        ids.insert(call(&client, &format!("call {number}")).await);
    }
    ids
}

/// Ends the gateway; the receiver then has the outcome of exactly these calls, each once.
async fn expect_all_once(gateway: Gateway, receiver: &Receiver, ids: &BTreeSet<String>) {
    let stopped = gateway.terminate().await;
    assert!(stopped.status.success(), "{:#?}", stopped.log());
    expect_told_once(receiver, NAME, ids);
    for arrival in receiver.arrivals() {
        assert_eq!(arrival.header("authorization"), Some("Bearer sk-1234"));
    }
}

#[tokio::test]
async fn a_receiver_that_answers_503_for_a_hundred_calls_gets_all_hundred_once_it_recovers() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    receiver.set_default(Reply::status(503));
    let settings = "    batch_size: 10\n    flush_interval: 0.5\n";
    let sections = "retry: {initial_delay_ms: 100, max_delay_ms: 1000}\n";
    let gateway = start(&upstream, &receiver, settings, sections).await;
    let ids = calls(&gateway, 100).await;
    // It has refused enough to be taken for down.
    receiver.wait_for(6).await;
    receiver.set_default(Reply::status(200));
    wait_told(&receiver, NAME, &ids).await;
    expect_all_once(gateway, &receiver, &ids).await;
}

#[tokio::test]
async fn what_waits_for_its_batch_is_sent_at_sigterm() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    // As it stands on LiteLLM's page: 100 events or a minute, and neither is reached.
    let gateway = start(&upstream, &receiver, "", "").await;
    let ids = calls(&gateway, 30).await;
    assert_eq!(receiver.arrivals().len(), 0, "nothing is due yet");
    let begun = Instant::now();
    expect_all_once(gateway, &receiver, &ids).await;
    assert_eq!(receiver.arrivals().len(), 1, "in one body");
    assert!(begun.elapsed() < Duration::from_secs(20), "it did not wait for the minute's end");
}

#[tokio::test]
async fn calls_that_end_while_a_slow_receiver_works_are_told_once_each() {
    for (count, batch_size, answers_after) in [(300, 512, 3 * TENTH), (200, 10, 2 * TENTH)] {
        let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
        receiver.set_default(Reply::status(200).after(answers_after));
        let settings = format!("    batch_size: {batch_size}\n    flush_interval: 0.5\n");
        let gateway = start(&upstream, &receiver, &settings, "").await;
        let ids = steady_calls(&gateway, count).await;
        wait_told(&receiver, NAME, &ids).await;
        assert!(receiver.arrivals().len() > 1, "calls ended while a POST was under way");
        expect_all_once(gateway, &receiver, &ids).await;
    }
}

#[tokio::test]
async fn a_receiver_that_hangs_at_shutdown_is_told_by_the_next_start() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let hang = Gate::new();
    receiver.set_default(Reply::status(200).held_at(&hang));
    let settings = "    batch_size: 10\n    flush_interval: 0.5\n";
    let gateway = start(&upstream, &receiver, settings, "delivery: {settle_ms: 500}\n").await;
    let ids = calls(&gateway, 100).await;
    hang.reached_by(1).await;
    let begun = Instant::now();
    let stopped = gateway.terminate().await;
    assert!(stopped.status.success(), "{:#?}", stopped.log());
    assert!(begun.elapsed() < Duration::from_secs(20), "a receiver does not hold up the end");
    assert_eq!(told(&receiver.arrivals(), NAME), Vec::<String>::new(), "it accepted nothing");
    let is_named = |line: &String| line.contains(NAME) && line.contains("next start");
    assert!(stopped.log().iter().any(is_named), "what is late is named: {:#?}", stopped.log());

    receiver.set_default(Reply::status(200));
    let cut_off = receiver.arrivals();
    let gateway = stopped.start().await;
    wait_told(&receiver, NAME, &ids).await;
    // What hung comes again as it was: the receiver knows it by its id.
    let again: Vec<_> = of(&receiver.arrivals(), NAME).split_off(cut_off.len());
    for arrival in &cut_off {
        let id = arrival.header("webhook-id");
        let same = again.iter().find(|again| again.header("webhook-id") == id);
        assert!(same.is_none_or(|same| same.body == arrival.body));
    }
    expect_all_once(gateway, &receiver, &ids).await;
}
