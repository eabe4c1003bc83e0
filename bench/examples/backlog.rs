//! How a backlog drains into receivers that take 200 requests a second, and answer 429 beyond:
//! `cargo build --release && cargo run --release -p bench --example backlog`; the number of events and
//! another binary may follow.
//!
//! Two destinations, one with `rate_limit: 200` and one without, are down while the calls are made.
//! Then both come up. With 100,000 events this takes some nine minutes.

use std::{
    collections::{HashMap, HashSet},
    env,
    time::{Duration, Instant},
};

use testkit::{Client, Gateway, Receiver, receiver::Arrival};
use tokio::task::JoinSet;

const BINARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/hookgate");
const PER_SECOND: u32 = 200;
const BURST: u32 = 20;
const CALLERS: usize = 16;
/// Longer than the aim: what does not come is seen by its absence.
const PATIENCE: u32 = 3;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a command line tool")]
async fn main() {
    let mut args = env::args().skip(1);
    let events: usize = args.next().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let binary = args.next().unwrap_or_else(|| BINARY.to_owned());
    let (mut limited, mut free) = (Receiver::start().await, Receiver::start().await);
    let config = format!(
        "model_list: [{{model_name: echo, litellm_params: {{model: openai/gpt-4o, mock_response: \
         hello}}}}]\nevents: {{subscribe: [completion]}}\nwebhooks:\n  limited: {{url: '{}', \
         rate_limit: {PER_SECOND}}}\n  free: {{url: '{}'}}\n",
        limited.url(),
        free.url(),
    );
    limited.go_down().await;
    free.go_down().await;
    let gateway = Gateway::start(&binary, &config).await;
    let began = Instant::now();
    let called = calls(&gateway, events).await;
    println!("{events} calls in {:.1} s, both receivers down", began.elapsed().as_secs_f64());
    for receiver in [&mut limited, &mut free] {
        receiver.cap(PER_SECOND, BURST);
        receiver.come_up().await;
    }
    let aim = Duration::from_secs(1) * events as u32 / PER_SECOND;
    let until = Instant::now() + aim * PATIENCE + Duration::from_mins(2);
    println!("| destination | delivered | missing | twice | 429s | seconds | a second |");
    println!("|---|---|---|---|---|---|---|");
    for (name, receiver) in [("limited", &limited), ("free", &free)] {
        while accepted(&receiver.arrivals()).len() < events && Instant::now() < until {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        println!("| {name} | {} |", row(&receiver.arrivals(), &called));
    }
    let log = gateway.log();
    gateway.kill().await;
    let said: Vec<_> = log.iter().filter(|line| line.contains("dead letter")).collect();
    println!("log lines of dead letters: {}", said.len());
}

fn accepted(arrivals: &[Arrival]) -> Vec<&Arrival> {
    arrivals.iter().filter(|arrival| arrival.is_accepted()).collect()
}

fn row(arrivals: &[Arrival], called: &HashSet<String>) -> String {
    let taken = accepted(arrivals);
    let mut times: HashMap<String, usize> = HashMap::new();
    for arrival in &taken {
        let id = arrival.json()["request_id"].as_str().unwrap_or_default().to_owned();
        *times.entry(id).or_default() += 1;
    }
    let missing = called.iter().filter(|id| !times.contains_key(*id)).count();
    let twice = times.values().filter(|times| **times > 1).count();
    let refused = arrivals.iter().filter(|arrival| arrival.status == 429).count();
    let ends = taken.first().zip(taken.last());
    let took = ends.map_or(0.0, |(first, last)| (last.at - first.at).as_secs_f64());
    let rate = taken.len() as f64 / took.max(1e-9);
    format!("{} | {missing} | {twice} | {refused} | {took:.1} | {rate:.0}", times.len())
}

/// Makes the calls; returns their request ids.
async fn calls(gateway: &Gateway, events: usize) -> HashSet<String> {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let client = Client::new(gateway.address());
        let share = events / CALLERS + usize::from(caller < events % CALLERS);
        callers.spawn(async move {
            let mut ids = Vec::with_capacity(share);
            for _ in 0..share {
                let seen = client.chat("echo", "hi").await;
                let id = seen.header("x-hookgate-request-id").expect("every call is named");
                ids.push(id.to_owned());
            }
            ids
        });
    }
    callers.join_all().await.into_iter().flatten().collect()
}
