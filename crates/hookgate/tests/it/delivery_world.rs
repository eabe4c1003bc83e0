//! What journeys on the receiver's side share: configurations, calls, and who was told of which.

use std::{collections::BTreeSet, time::Instant};

use domain::time::{Clock, SystemClock, Timestamp};
use serde_json::Value;
use testkit::{
    Client, DEADLINE, Gateway, Receiver, Upstream,
    gateway::Setup,
    receiver::{Arrival, accepted_items},
};

use crate::{
    support::BINARY,
    world::{deployment, models},
};

/// Retries that a test need not wait for.
pub(crate) const QUICK: &str = "retry: {initial_delay_ms: 20, max_delay_ms: 100}\n";

/// What is logged.
pub(crate) const DEBUG: &str = "info,delivery=debug";

/// Completions and errors only.
pub(crate) const OUTCOMES: &str = "events: {subscribe: [completion, error]}\n";

/// A deployment of `echo`, and these sections. Further `litellm_settings` may come first, indented.
pub(crate) fn config(upstream: &Upstream, sections: &str) -> String {
    let echo = deployment("echo", "openai/echo-1", &upstream.openai_url(), "");
    format!("{}{sections}hookgate: {{ballast_bytes: 0}}\n", models(&[echo]))
}

/// A gateway with that configuration, and a log that tells of each attempt that failed.
pub(crate) async fn start(upstream: &Upstream, sections: &str) -> Gateway {
    Setup::new(BINARY, &config(upstream, sections)).env("RUST_LOG", DEBUG).start().await
}

/// Returns once the lane knows that a delivery failed so many times: what passes from now on passes
/// after that.
pub(crate) async fn wait_failed(gateway: &Gateway, refused: &Arrival, times: usize) {
    let id = refused.header("webhook-id").expect("every delivery has one");
    let name = refused.path.split_once('?').map(|(_, name)| name).unwrap_or_default();
    let line = format!("An attempt failed. destination={name} delivery.id={id} ");
    gateway.wait_for_log_lines(&line, times).await;
}

/// An entry of `webhooks`, told apart by its name in the query; `more` settings, comma first.
pub(crate) fn webhook(name: &str, receiver: &Receiver, more: &str) -> String {
    format!("  {name}: {{url: '{}?{name}'{more}}}\n", receiver.url())
}

/// A section `webhooks` of these entries.
pub(crate) fn webhooks(entries: &[String]) -> String {
    format!("webhooks:\n{}", entries.concat())
}

/// Destinations of `callback_settings`, by name and with more settings, comma first; likewise told
/// apart by their names.
pub(crate) fn callbacks(receiver: &Receiver, entries: &[(&str, &str)]) -> String {
    let names: Vec<_> = entries.iter().map(|(name, _)| *name).collect();
    let entry = |(name, more): &(&str, &str)| {
        let url = receiver.url();
        format!("  {name}: {{callback_type: generic_api, endpoint: '{url}?{name}'{more}}}\n")
    };
    let entries: String = entries.iter().map(entry).collect();
    format!("  callbacks: [{}]\ncallback_settings:\n{entries}", names.join(", "))
}

/// A call that succeeds; returns its request id.
pub(crate) async fn call(client: &Client, text: &str) -> String {
    let seen = client.chat("echo", text).await;
    assert_eq!((seen.code(), seen.content().as_str()), (200, text), "{}", seen.text());
    seen.header("x-hookgate-request-id").expect("every admitted call is named").to_owned()
}

/// So many calls, one after another.
pub(crate) async fn calls(gateway: &Gateway, count: usize) -> BTreeSet<String> {
    let client = gateway.client();
    let mut ids = BTreeSet::new();
    for number in 0..count {
        ids.insert(call(&client, &format!("call {number}")).await);
    }
    assert_eq!(ids.len(), count, "no two calls share an id");
    ids
}

/// Whose outcome an item tells, in either format.
pub(crate) fn request_id(item: &Value) -> String {
    match item["litellm_call_id"].as_str() {
        Some(id) => format!("req_{}", id.replace('-', "")),
        None => item["request_id"].as_str().unwrap_or_default().to_owned(),
    }
}

/// What came for one destination.
pub(crate) fn of(arrivals: &[Arrival], name: &str) -> Vec<Arrival> {
    let query = format!("?{name}");
    arrivals.iter().filter(|arrival| arrival.path.ends_with(&query)).cloned().collect()
}

/// The calls whose outcomes one destination accepted, in order, as often as it did.
pub(crate) fn told(arrivals: &[Arrival], name: &str) -> Vec<String> {
    let items = accepted_items(&of(arrivals, name));
    items.iter().filter(|item| item["event"] != "streaming").map(request_id).collect()
}

/// Waits until a destination accepted all of these.
pub(crate) async fn wait_told(receiver: &Receiver, name: &str, ids: &BTreeSet<String>) {
    let has_all = |seen: &[Arrival]| {
        let told: BTreeSet<_> = told(seen, name).into_iter().collect();
        ids.is_subset(&told)
    };
    receiver.wait_until(&format!("{name} to be told of {} calls", ids.len()), has_all).await;
}

/// A destination accepted the outcomes of exactly these calls, each once.
#[track_caller]
pub(crate) fn expect_told_once(receiver: &Receiver, name: &str, ids: &BTreeSet<String>) {
    let all = told(&receiver.arrivals(), name);
    let distinct: BTreeSet<_> = all.iter().cloned().collect();
    assert_eq!(distinct, *ids, "{name} is told of all calls, and of no others");
    assert_eq!(all.len(), ids.len(), "{name} is told once of each: {all:#?}");
}

/// What `hookgate dead-letters` says with these arguments.
pub(crate) async fn dead_letters(setup: &Setup, args: &[&str]) -> String {
    let data = setup.data_dir();
    let data = data.to_str().expect("its name is text");
    let args = [&["dead-letters", "--data-dir", data], args].concat();
    let output = setup.command(&args).output().await.expect("the binary was built for this test");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// What it says when there are none.
pub(crate) const NO_LETTERS: &str = "There are no dead letters.\n";

/// The list of dead letters once it has so many rows: what the log tells of is stored some
/// milliseconds later.
pub(crate) async fn wait_letters(setup: &Setup, rows: usize) -> String {
    let until = Instant::now() + DEADLINE;
    loop {
        let said = dead_letters(setup, &[]).await;
        if said.lines().count() == rows + 1 {
            return said;
        }
        assert!(Instant::now() < until, "there should be {rows} dead letters: {said}");
    }
}

/// The machine's time.
pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}
