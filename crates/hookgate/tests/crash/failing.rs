//! Kills while receivers fail, hang, are slow and refuse: rows that wait, dead letters, open
//! breakers and half-made batches are in play.
//!
//! The receivers' books are kept by the receivers; what the gateway had stored at each kill is read
//! from a copy of its state.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use testkit::{Gate, Gateway, Receiver, Reply, Upstream, gateway::Setup, receiver::Arrival};
use tokio_util::sync::CancellationToken;

use crate::{Call, Ledger, POISON, binary, callers, event, number, payload};

/// Takes everything at once.
const PLAIN: &str = "plain";
/// Has moods, and refuses what is poisoned.
const CHOOSY: &str = "choosy";
/// Has moods, and gets batches.
const BATCHES: &str = "batches";
const LANES: [&str; 3] = [PLAIN, CHOOSY, BATCHES];

const CONCURRENT: usize = 4;
const BATCH: usize = 7;
const TIMEOUT: Duration = Duration::from_millis(500);
/// An answer that took so long may have come as the gateway gave up waiting for it.
const TOO_LATE: Duration = TIMEOUT.saturating_sub(Duration::from_millis(100));
/// How long the last life may go without progress.
const PATIENCE: Duration = Duration::from_secs(20);

fn config(upstream: &Upstream, receivers: &[Receiver; 3]) -> String {
    let [plain, choosy, batches] = receivers.each_ref().map(Receiver::url);
    format!(
        "
model_list:
  - model_name: echo
    litellm_params: {{model: openai/echo, api_base: '{}', api_key: sk-upstream}}
litellm_settings: {{num_retries: 0}}
webhooks:
  {PLAIN}: {{url: '{plain}?{PLAIN}'}}
  {CHOOSY}: {{url: '{choosy}?{CHOOSY}'}}
  {BATCHES}:
    {{url: '{batches}?{BATCHES}', format: generic_api, batch_size: {BATCH}, flush_interval: 0.05}}
events: {{subscribe: [completion, error]}}
delivery: {{timeout_ms: {timeout}, concurrent_deliveries: {CONCURRENT}}}
retry: {{max_attempts: 4, initial_delay_ms: 20, max_delay_ms: 200}}
hookgate: {{ballast_bytes: 0}}
",
        upstream.openai_url(),
        timeout = TIMEOUT.as_millis(),
    )
}

/// How a receiver answers what it is not asked to refuse.
fn set_mood(receiver: &Receiver, dice: &mut fastrand::Rng) -> Gate {
    let gate = Gate::new();
    // A lane that only probes would find a mood's failures long after the mood.
    receiver.drop_script();
    // As often well as not: a kill is to find deliveries under way, not only a backlog.
    match dice.u8(0..10) {
        0 => receiver.set_default(Reply::status(*dice.choice(&[500, 503, 429]).expect("three"))),
        // Until the gate opens, which is when the mood changes; the kill may come first.
        1 => receiver.set_default(Reply::status(200).held_at(&gate)),
        // For as long as the gateway waits.
        2 => receiver.set_default(Reply::status(200).held_at(&Gate::new())),
        3 => receiver.set_default(Reply::reset()),
        4 => {
            receiver.set_default(Reply::status(200));
            receiver.fail(dice.usize(1..5), 503);
        }
        _ => receiver.set_default(Reply::status(200)),
    }
    gate
}

/// A kill, and what was known then.
struct Kill {
    /// What arrived later came from the next gateway.
    over_at: Instant,
    /// Deliveries with rows: those that wait, and dead letters, each with its lane.
    parked: Letters,
    dead: Letters,
}

/// Lanes, and ids of their deliveries.
type Letters = BTreeSet<(String, String)>;

impl Kill {
    /// How many of these kills were over by then.
    fn count(kills: &[Self], at: Instant) -> usize {
        kills.partition_point(|kill| kill.over_at < at)
    }
}

/// What the gateways had stored.
#[derive(Default)]
struct Stored {
    kills: Vec<Kill>,
    attempts_read: i64,
    /// Lanes' deliveries that a kill found stored as delivered in the life that it ended: an earlier
    /// life may have delivered what this one had not settled yet.
    delivered: BTreeSet<(usize, String, String)>,
}

/// What a lane's receiver saw of one life of the gateway.
#[derive(Default)]
struct Life<'a> {
    /// In order of arrival.
    arrivals: Vec<&'a Arrival>,
    /// Outcomes accepted in this life that were accepted in a later one again.
    repeats: usize,
}

impl Stored {
    /// Reads what a gateway left behind. A copy is read: the next gateway is to find the data as
    /// the kill left them.
    fn read(&mut self, setup: &Setup) {
        let copy = tempfile::tempdir().expect("the system has room for a directory");
        for name in ["state.db", "state.db-wal"] {
            let from = setup.data_dir().join(name);
            if from.exists() {
                std::fs::copy(from, copy.path().join(name)).expect("a new directory is writable");
            }
        }
        let state = rusqlite::Connection::open(copy.path().join("state.db")).expect("it is there");
        let rows_of = |table: &str| {
            let sql = format!("SELECT lane, id FROM {table}");
            let mut statement = state.prepare(&sql).expect("the schema's");
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
            rows.expect("no parameter").collect::<Result<Letters, _>>().expect("the file is whole")
        };
        let mut attempts = state
            .prepare("SELECT lane, delivery, number, result FROM attempts WHERE number > ?")
            .expect("the schema's");
        let mut rows = attempts.query([self.attempts_read]).expect("one parameter");
        while let Some(row) = rows.next().expect("the file is whole") {
            let text = |index| row.get::<_, String>(index).expect("text");
            self.attempts_read = self.attempts_read.max(row.get(2).expect("a number"));
            if text(3).starts_with("delivered") {
                self.delivered.insert((self.kills.len(), text(0), text(1)));
            }
        }
        let (parked, dead) = (rows_of("parked"), rows_of("dead_letters"));
        self.kills.push(Kill { over_at: Instant::now(), parked, dead });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_amid_failing_receivers_loses_nothing_and_repeats_little() {
    let kills = number("KILLS", 40);
    let seed = number("SEED", fastrand::u64(..));
    println!("KILLS={kills} SEED={seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let upstream = Upstream::start().await;
    let receivers = [Receiver::start().await, Receiver::start().await, Receiver::start().await];
    receivers[1].answer_to(POISON, Reply::status(422));
    let mut gateway = Gateway::start(&binary(), &config(&upstream, &receivers)).await;
    let (ledger, mut stored) = (Ledger::default(), Stored::default());
    for life in 0..kills {
        let stop = CancellationToken::new();
        let callers = callers(&gateway, &ledger, life, &stop);
        // Mostly short; some are long enough for attempts to time out.
        let life_us = if dice.u8(0..4) == 0 { dice.u64(0..900_000) } else { dice.u64(0..60_000) };
        let moods = dice.u32(1..4);
        for _ in 0..moods {
            let gates = [&receivers[1], &receivers[2]].map(|at| set_mood(at, &mut dice));
            // The moments are what the test chooses; it waits for nothing.
            tokio::time::sleep(Duration::from_micros(life_us) / moods).await;
            gates.iter().for_each(Gate::open);
        }
        let killed = gateway.kill().await;
        stored.read(&killed.setup);
        gateway = killed.setup.start().await;
        stop.cancel();
        callers.join_all().await;
    }
    for receiver in &receivers {
        receiver.drop_script();
        receiver.set_default(Reply::status(200));
    }
    let dead = recover(&gateway, &ledger, &receivers).await;
    let stopped = gateway.terminate().await;
    assert!(stopped.status.success(), "{:?}", stopped.status);
    stored.read(&stopped.setup);
    let end = stored.kills.pop().expect("read just now");
    assert_eq!((end.parked.len(), end.dead.len()), (0, dead), "nothing waits any more");
    let parked = stored.kills.iter().filter(|kill| !kill.parked.is_empty()).count();
    println!("{parked} kills found deliveries waiting; {dead} are dead letters at the end");
    assert!(kills < 20 || parked > 0 && dead > 0, "the receivers were bad enough");
    for (lane, receiver) in LANES.into_iter().zip(&receivers) {
        check_ids(lane, &receiver.arrivals());
        check_repeats(lane, &receiver.arrivals(), &stored);
    }
}

/// The calls whose outcomes a body carries.
fn told(lane: &str, arrival: &Arrival) -> Vec<String> {
    let id = |item| if lane == BATCHES { payload(item).0 } else { event(item).0 };
    arrival.items().iter().map(id).collect()
}

fn delivery_id(arrival: &Arrival) -> &str {
    arrival.header("webhook-id").expect("every delivery has one")
}

/// Waits, in the last life, until each accepted call is told or a dead letter at each lane. Returns
/// how many dead letters there are.
async fn recover(gateway: &Gateway, ledger: &Ledger, receivers: &[Receiver; 3]) -> usize {
    let mut progress = (Instant::now(), usize::MAX);
    // What each arrival tells, read once: a slow look would leave the lanes without calls.
    let mut bodies: [Vec<Vec<String>>; 3] = Default::default();
    loop {
        // What was refused is given up while others pass.
        let seen = gateway.client().chat("echo", "after all kills").await;
        let call = crate::call(&seen, "after all kills".to_owned(), false);
        let calls = {
            let mut calls = ledger.lock().expect("no caller panicked");
            calls.push(call.expect("the gateway runs"));
            calls.iter().map(|call: &Call| call.request_id.clone()).collect::<BTreeSet<_>>()
        };
        let dead = dead_letters(&gateway.setup).await;
        let mut missing = Vec::new();
        for ((lane, receiver), bodies) in LANES.into_iter().zip(receivers).zip(&mut bodies) {
            let is_settled = |arrival: &Arrival| {
                let letter = (lane.to_owned(), delivery_id(arrival).to_owned());
                arrival.is_accepted() || dead.contains(&letter)
            };
            let arrivals = receiver.arrivals();
            bodies.extend(arrivals[bodies.len()..].iter().map(|arrival| told(lane, arrival)));
            let settled = arrivals.iter().zip(bodies).filter(|(arrival, _)| is_settled(arrival));
            let settled: BTreeSet<&String> = settled.flat_map(|(_, calls)| calls.iter()).collect();
            let is_missing = |call: &&String| !settled.contains(call);
            missing.extend(calls.iter().filter(is_missing).map(|call| (lane, call.clone())));
        }
        if missing.is_empty() && dead_letters(&gateway.setup).await == dead {
            println!("{} calls accepted", calls.len());
            return dead.len();
        }
        if missing.len() < progress.1 {
            progress = (Instant::now(), missing.len());
        }
        if progress.0.elapsed() > PATIENCE {
            let known = explain(gateway, &missing).await;
            assert!(missing.is_empty(), "neither told nor dead letters: {known:#?}");
        }
        // Dead letters are asked for by a command; not more often than this.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What the gateway says of deliveries that should have been settled.
async fn explain(gateway: &Gateway, missing: &[(&str, String)]) -> Vec<String> {
    let mut said = Vec::new();
    for (lane, call) in missing {
        for outcome in ["completion", "error"] {
            let event = format!("evt_{}_{outcome}", call.trim_start_matches("req_"));
            let seen = gateway.client().get(&format!("/api/deliveries/{lane}/{event}")).await;
            said.push(format!("{event} at {lane}: {} {}", seen.code(), seen.text()));
        }
    }
    let lanes = gateway.client().get("/api/destinations").await;
    said.push(lanes.text());
    said
}

/// Lanes and ids of all dead letters.
async fn dead_letters(setup: &Setup) -> Letters {
    let data = setup.data_dir();
    let data = data.to_str().expect("its name is text");
    let args = ["dead-letters", "--data-dir", data, "list", "--limit", "1000000"];
    let output = setup.command(&args).output().await.expect("the binary was built for this test");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let pair = |row: &str| {
        let mut words = row.split_whitespace().map(str::to_owned);
        let id = words.next()?;
        Some((words.next()?, id))
    };
    said.lines().skip(1).filter_map(pair).collect()
}

/// One id carries the same outcomes in every attempt of every life; and where a delivery is one
/// event, an outcome has one id.
fn check_ids(lane: &str, arrivals: &[Arrival]) {
    let mut carried: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut ids: BTreeMap<String, &str> = BTreeMap::new();
    for arrival in arrivals {
        let (id, told) = (delivery_id(arrival), told(lane, arrival));
        if lane != BATCHES {
            for call in &told {
                let first = *ids.entry(call.clone()).or_insert(id);
                assert_eq!(first, id, "{lane}: the outcome of {call} under two ids");
            }
        }
        let first = carried.entry(id).or_insert_with(|| told.clone());
        assert_eq!(*first, told, "{lane}: {id} carries the same each time");
    }
}

/// A crash repeats only what was not stored, and what was delivered while an older delivery was not
/// settled: never what was told before the oldest unsettled one set out.
fn check_repeats(lane: &str, arrivals: &[Arrival], stored: &Stored) {
    let mut lives: Vec<Life<'_>> = stored.kills.iter().map(|_| Life::default()).collect();
    lives.push(Life::default());
    let mut told_in: BTreeMap<String, (usize, &Arrival)> = BTreeMap::new();
    let mut too_late = 0;
    for arrival in arrivals {
        let life = Kill::count(&stored.kills, arrival.at);
        lives[life].arrivals.push(arrival);
        for call in arrival.is_accepted().then(|| told(lane, arrival)).into_iter().flatten() {
            let Some((before, first)) = told_in.insert(call.clone(), (life, arrival)) else {
                continue;
            };
            if before < life {
                lives[before].repeats += 1;
                continue;
            }
            let took = first.answered_at.map(|at| at - first.at).unwrap_or_default();
            assert!(took > TOO_LATE, "{lane}: {call} was told twice in one life; it took {took:?}");
            too_late += 1;
        }
    }
    let mut unstored_most = 0;
    for (number, (kill, life)) in stored.kills.iter().zip(&lives).enumerate() {
        let accepted = |arrivals: &[&Arrival]| -> usize {
            let accepted = arrivals.iter().filter(|arrival| arrival.is_accepted());
            accepted.map(|arrival| told(lane, arrival).len()).sum()
        };
        let is_open = |arrival: &&Arrival| {
            let key = (lane.to_owned(), delivery_id(arrival).to_owned());
            let is_stored = stored.delivered.contains(&(number, key.0.clone(), key.1.clone()));
            !is_stored && !kill.parked.contains(&key) && !kill.dead.contains(&key)
        };
        let open: Vec<_> = life.arrivals.iter().copied().filter(is_open).collect();
        unstored_most = unstored_most.max(accepted(&open));
        let oldest = life.arrivals.iter().position(is_open);
        let since = oldest.map_or(0, |oldest| accepted(&life.arrivals[oldest..]));
        // Those that set out together arrive in any order.
        let together = CONCURRENT * if lane == BATCHES { BATCH } else { 1 };
        assert!(
            life.repeats <= since + together,
            "{lane}: after kill {number} {} outcomes came again; {since} were told since the \
             oldest unsettled one set out",
            life.repeats,
        );
    }
    println!(
        "{lane}: {} POSTs for {} calls; {} outcomes came again, at most {} after one kill, and \
         {too_late} whose answer came too late; at most {unstored_most} accepted ones were not \
         stored at a kill",
        arrivals.len(),
        told_in.len(),
        lives.iter().map(|life| life.repeats).sum::<usize>(),
        lives.iter().map(|life| life.repeats).max().unwrap_or_default(),
    );
}
