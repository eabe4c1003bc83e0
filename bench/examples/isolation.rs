//! What one bad receiver of a hundred costs the other 99:
//! `cargo build --release && cargo run --release -p bench --example isolation`; the number of rounds
//! and another binary may follow.
//!
//! Rounds with and without the bad one take turns; each starts the release binary anew, calls it at
//! a steady rate, and takes the time from a call's beginning to its event's arrival at each of the
//! 99. The medians over the rounds of the p99 are compared. The simulation says the same exactly;
//! this is the machine's word.

use std::{
    collections::HashMap,
    env,
    fmt::Write as _,
    time::{Duration, Instant},
};

use testkit::{Client, Gateway, Receiver, Reply, zoo::Beast};
use tokio::task::JoinSet;

const BINARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/hookgate");
const GOOD: usize = 99;
/// Calls a second; each makes a hundred deliveries.
const RATE: u32 = 15;
const CALLS: usize = 75;
/// How long the slow one takes to answer.
const SLOW: Duration = Duration::from_secs(3);
const BEASTS: [Beast; 5] =
    [Beast::NeverReads, Beast::DripsHead, Beast::DripsBody, Beast::Resets, Beast::Fails];

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a command line tool")]
async fn main() {
    let mut args = env::args().skip(1);
    let rounds: usize = args.next().and_then(|text| text.parse().ok()).unwrap_or(5);
    let binary = args.next().unwrap_or_else(|| BINARY.to_owned());
    println!(
        "| the hundredth | p99 beside it, ms | p99 without it, ms | ratio |\n|---|---|---|---|"
    );
    let slow = Receiver::start().await;
    slow.set_default(Reply::status(200).after(SLOW));
    compare(&binary, rounds, "Slow", &slow.url()).await;
    for beast in BEASTS {
        let cage = beast.start().await;
        compare(&binary, rounds, &format!("{beast:?}"), &cage.url("http")).await;
    }
}

#[expect(clippy::print_stdout, reason = "a command line tool")]
async fn compare(binary: &str, rounds: usize, name: &str, bad: &str) {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        without.push(p99(binary, None).await);
        with.push(p99(binary, Some(bad)).await);
    }
    let (with, without) = (median(with), median(without));
    println!("| {name} | {with:.2} | {without:.2} | {:.3} |", with / without);
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// The p99 of one round, in milliseconds.
async fn p99(binary: &str, bad: Option<&str>) -> f64 {
    let good = Receiver::start().await;
    let mut config = "model_list: [{model_name: echo, litellm_params: {model: openai/gpt-4o, \
                      mock_response: hello}}]\nevents: {subscribe: [completion]}\n\
                      hookgate: {ballast_bytes: 0}\ndelivery: {settle_ms: 100}\nwebhooks:\n"
        .to_owned();
    for number in 0..=GOOD {
        let url = match bad {
            Some(url) if number == GOOD => url.to_owned(),
            _ => format!("{}?{number}", good.url()),
        };
        writeln!(config, "  d{number}: {{url: '{url}'}}").expect("a text takes all");
    }
    let gateway = Gateway::start(binary, &config).await;
    let began = calls(&gateway).await;
    let last = format!("?{GOOD}");
    let count = CALLS * (GOOD + usize::from(bad.is_none()));
    let arrivals = good.wait_for(count).await;
    let mut waits: Vec<f64> = Vec::with_capacity(arrivals.len());
    for arrival in arrivals.iter().filter(|arrival| !arrival.path.ends_with(&last)) {
        let id = arrival.json()["request_id"].as_str().unwrap_or_default().to_owned();
        waits.extend(began.get(&id).map(|at| (arrival.at - *at).as_secs_f64() * 1e3));
    }
    gateway.kill().await;
    waits.sort_by(f64::total_cmp);
    waits[waits.len() * 99 / 100]
}

/// Calls at the rate; returns when each began, by its request id.
async fn calls(gateway: &Gateway) -> HashMap<String, Instant> {
    let mut calls = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    for _ in 0..CALLS {
        ticks.tick().await;
        let client = Client::new(gateway.address());
        calls.spawn(async move {
            let at = Instant::now();
            let seen = client.chat("echo", "hi").await;
            let id = seen.header("x-hookgate-request-id").expect("every call is named");
            (id.to_owned(), at)
        });
    }
    calls.join_all().await.into_iter().collect()
}
