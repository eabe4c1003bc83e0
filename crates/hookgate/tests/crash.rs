//! `kill -9` at random moments: every call that a caller saw accepted has exactly one outcome at the
//! receiver, and every call that a caller saw succeed arrives as a completion.
//!
//! `KILLS=500` runs longer than the suite does, `SEED=…` repeats a run's choices, `GATEWAY=…` kills
//! another build of the binary.

#![expect(
    clippy::disallowed_methods,
    reason = "the length and the seed of a run come from outside"
)]
#![expect(clippy::print_stdout, reason = "a run says its seed, and what it saw")]

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    env,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use testkit::{Client, Gateway, Receiver, Upstream, client::Seen, receiver::Arrival};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

#[path = "crash/failing.rs"]
mod failing;

const CALLERS: usize = 6;
/// Some calls have a text that a receiver may refuse to take.
const POISON: &str = "poison";
const POISON_EVERY: usize = 13;
const DESTINATIONS: [&str; 2] = ["single", "batched"];
/// How long the last life may take for each [`STRIDE`] deliveries that are still owed. In short lives
/// lanes fall behind, so how much is left depends on how many there were.
const PATIENCE: Duration = Duration::from_secs(20);
const STRIDE: usize = 500;

/// What one caller saw of one call.
#[derive(Debug)]
struct Call {
    text: String,
    request_id: String,
    saw_success: bool,
}

/// Everything that callers saw over all lives of the gateway.
type Ledger = Arc<Mutex<Vec<Call>>>;

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The gateway's binary.
fn binary() -> String {
    env::var("GATEWAY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_hookgate").to_owned())
}

fn config(upstream: &Upstream, receiver: &Receiver) -> String {
    format!(
        "
model_list:
  - model_name: echo
    litellm_params: {{model: openai/echo, api_base: '{}', api_key: sk-upstream}}
litellm_settings:
  callbacks: [batched]
  num_retries: 0
callback_settings:
  batched:
    callback_type: generic_api
    endpoint: {url}?batched
    batch_size: 7
    flush_interval: 0.05
webhooks:
  single:
    url: {url}?single
events:
  subscribe: [completion, error]
retry:
  initial_delay_ms: 20
  max_delay_ms: 200
",
        upstream.openai_url(),
        url = receiver.url(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_at_random_moments_loses_no_outcome() {
    let kills = number("KILLS", 50);
    let seed = number("SEED", fastrand::u64(..));
    println!("KILLS={kills} SEED={seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let upstream = Upstream::start().await;
    let receiver = Receiver::start().await;
    let mut gateway = Gateway::start(&binary(), &config(&upstream, &receiver)).await;
    let ledger = Ledger::default();
    for life in 0..kills {
        let stop = CancellationToken::new();
        let callers = callers(&gateway, &ledger, life, &stop);
        // The moment of the kill is what the test chooses; it waits for nothing.
        tokio::time::sleep(Duration::from_micros(dice.u64(0..60_000))).await;
        // On a new port: callers that still knock at the old one may occupy it themselves.
        gateway = gateway.kill().await.setup.start().await;
        stop.cancel();
        callers.join_all().await;
    }
    let calls = std::mem::take(&mut *ledger.lock().expect("no caller panicked"));
    assert!(calls.len() as u64 > kills, "the callers were busy: {} calls", calls.len());
    account(&calls, &receiver).await;
    drop(gateway);
}

/// Calls one after another until told to stop, plain and streamed by turns.
fn callers(gateway: &Gateway, ledger: &Ledger, life: u64, stop: &CancellationToken) -> JoinSet<()> {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let client = Client::new(gateway.address());
        let (ledger, stop) = (Arc::clone(ledger), stop.clone());
        callers.spawn(async move {
            let mut number = 0;
            while !stop.is_cancelled() {
                number += 1;
                let kind = if number % POISON_EVERY == 0 { POISON } else { "call" };
                let text = format!("life {life} caller {caller} {kind} {number}");
                let streamed = (caller + number) % 2 == 0;
                let seen = if streamed {
                    client.chat_stream("echo", &text).await
                } else {
                    client.chat("echo", &text).await
                };
                match call(&seen, text, streamed) {
                    Some(call) => ledger.lock().expect("no caller panicked").push(call),
                    // The gateway is gone; a new one comes after the kill.
                    None => tokio::task::yield_now().await,
                }
            }
        });
    }
    callers
}

/// What was seen, if the call was accepted at all.
fn call(seen: &Seen, text: String, streamed: bool) -> Option<Call> {
    seen.status?;
    let request_id = seen.header("x-hookgate-request-id").map(str::to_owned);
    if seen.code() == 503 && request_id.is_none() {
        return None;
    }
    let ended = !streamed || seen.data().last().is_some_and(|data| data == "[DONE]");
    let saw_success = seen.code() == 200 && seen.is_whole && ended;
    if saw_success {
        assert_eq!(seen.content(), text, "the answer is the provider's");
    }
    let request_id = request_id.expect("every accepted call is named");
    Some(Call { text, request_id, saw_success })
}

/// Outcomes by request id: each time that one came, its kind and its text.
type Outcomes = BTreeMap<String, Vec<(String, String)>>;

/// What arrived at each destination.
#[derive(Default)]
struct Arrived {
    arrivals: usize,
    outcomes: BTreeMap<&'static str, Outcomes>,
}

impl Arrived {
    /// Takes note of what has come since the last time.
    fn look(&mut self, arrivals: &[Arrival]) {
        for arrival in &arrivals[self.arrivals..] {
            let destination =
                DESTINATIONS.into_iter().find(|name| arrival.path.ends_with(name)).expect("one");
            let outcomes = self.outcomes.entry(destination).or_default();
            for item in arrival.items() {
                let (id, outcome) =
                    if destination == "single" { event(&item) } else { payload(&item) };
                outcomes.entry(id).or_default().push(outcome);
            }
        }
        self.arrivals = arrivals.len();
    }

    fn misses(&self, destination: &str, call: &Call) -> bool {
        let outcomes = self.outcomes.get(destination);
        !outcomes.is_some_and(|outcomes| outcomes.contains_key(&call.request_id))
    }
}

/// Waits until every accepted call has its outcome at both destinations, then looks at all that
/// arrived.
async fn account(calls: &[Call], receiver: &Receiver) {
    let ids: BTreeSet<&str> = calls.iter().map(|call| call.request_id.as_str()).collect();
    assert_eq!(ids.len(), calls.len(), "no two calls share an id");
    let arrived = RefCell::new(Arrived::default());
    let (mut in_time, has_all) = (true, Cell::new(false));
    while in_time && !has_all.get() {
        let before = arrived.borrow().arrivals;
        let more = receiver.wait_until("every accepted call at both destinations", |arrivals| {
            arrived.borrow_mut().look(arrivals);
            let arrived = arrived.borrow();
            let misses = |call| DESTINATIONS.iter().any(|name| arrived.misses(name, call));
            has_all.set(!calls.iter().any(misses));
            has_all.get() || arrivals.len() >= before + STRIDE
        });
        in_time = tokio::time::timeout(PATIENCE, more).await.is_ok();
    }
    let arrived = arrived.into_inner();
    for destination in DESTINATIONS {
        let missing: Vec<_> = calls.iter().filter(|c| arrived.misses(destination, c)).collect();
        assert!(in_time && missing.is_empty(), "{destination} misses {missing:#?}");
        check(calls, destination, &arrived.outcomes[destination]);
    }
    let outcomes = arrived.outcomes.values().flat_map(BTreeMap::values);
    let repeated: usize = outcomes.map(|outcomes| outcomes.len() - 1).sum();
    let succeeded = calls.iter().filter(|call| call.saw_success).count();
    println!(
        "{} calls accepted, {succeeded} seen to succeed, {repeated} outcomes came more than once",
        calls.len(),
    );
}

/// Every outcome is one outcome, however often it came; what a caller saw succeed is a completion.
fn check(calls: &[Call], destination: &str, outcomes: &BTreeMap<String, Vec<(String, String)>>) {
    // Calls that were admitted just before a kill and whose caller saw nothing count too.
    for (id, seen) in outcomes {
        let distinct: BTreeSet<&(String, String)> = seen.iter().collect();
        assert_eq!(distinct.len(), 1, "{destination}: one outcome of {id}: {seen:?}");
    }
    for call in calls.iter().filter(|call| call.saw_success) {
        let (kind, text) = &outcomes[&call.request_id][0];
        assert_eq!((kind.as_str(), text), ("success", &call.text), "{destination}: {call:?}");
    }
}

fn event(item: &Value) -> (String, (String, String)) {
    let text = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
    let kind = if item["event"] == "completion" { "success" } else { "failure" };
    (text("request_id"), (kind.to_owned(), text("content")))
}

fn payload(item: &Value) -> (String, (String, String)) {
    let id = item["litellm_call_id"].as_str().unwrap_or_default().replace('-', "");
    let content = &item["response"]["choices"][0]["message"]["content"];
    let status = item["status"].as_str().unwrap_or_default().to_owned();
    (format!("req_{id}"), (status, content.as_str().unwrap_or_default().to_owned()))
}
