//! Runs the plan: round by round, the systems taking turns, so that what the machine does besides
//! meets all of them alike.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::task::LocalSet;

use crate::{
    load::{self, Pattern, Target},
    plan::{Measurement, Plan},
    process, report,
    samples::{Samples, quantile},
    system::{KEY, Kind, System},
    upstream::{self, STREAM_EVENTS, Shape},
};

/// CPU of others, in cores, under which the machine counts as idle.
pub(crate) const IDLE_CORES: f64 = 0.35;
/// How long deliveries may pause before what is missing is given up.
const SETTLE_PATIENCE: Duration = Duration::from_secs(15);
/// After the load: for what a system still does that nobody sees.
const AFTERMATH: Duration = Duration::from_millis(200);
/// Before the first round: fills pools and caches.
const WARM_UP: Duration = Duration::from_millis(500);

/// What one round of one load on one system has shown.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pub(crate) calls: usize,
    pub(crate) errors: usize,
    pub(crate) calls_per_s: f64,
    /// Of the system's processes, from the first call until all it caused is done; per call.
    pub(crate) cpu_us: Option<f64>,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) first_p50: Duration,
    pub(crate) first_p99: Duration,
    pub(crate) events_lost: Option<i64>,
    /// CPU that neither the system nor this program has used, in cores.
    pub(crate) foreign_cores: f64,
    pub(crate) rss_bytes: Option<u64>,
    pub(crate) data_bytes_per_call: Option<f64>,
    pub(crate) delivered: Option<Delivered>,
}

/// What one round has brought to the receiver.
#[derive(Debug)]
pub(crate) struct Delivered {
    /// Calls whose outcome did not come.
    pub(crate) missing: usize,
    /// Calls whose outcome came more than once.
    pub(crate) repeated: usize,
    /// Outcomes a second, until 99 of 100 had come: the last batch waits to fill.
    pub(crate) per_s: f64,
    /// From a call's start to its outcome's arrival.
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// All rounds of a load, by system.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) measurement: Measurement,
    pub(crate) rounds: BTreeMap<Kind, Vec<Round>>,
}

/// Runs the plan and returns its tables.
pub(crate) fn run(plan: &Plan, gateway: &Path) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, run_plan(plan, gateway))
}

async fn run_plan(plan: &Plan, gateway: &Path) -> Result<String> {
    let provider = upstream::start()?;
    let wanted = plan.measurements.iter().flat_map(|m| m.kinds.iter().copied());
    let mut systems = BTreeMap::new();
    for kind in wanted.collect::<BTreeSet<Kind>>() {
        match System::start(kind, provider, gateway) {
            Ok(system) => {
                if let Some(pid) = system.pid() {
                    say(&format!("{kind} runs as process {pid}"));
                }
                systems.insert(kind, system);
            }
            // The others can still be compared.
            Err(error) => say(&format!("left out: {error:#}")),
        }
    }
    if systems.is_empty() {
        bail!("nothing to measure");
    }
    for system in systems.values() {
        let target = target(system, Shape::Plain);
        let samples = load::run(&target, Pattern::Closed(16), WARM_UP).await?;
        settle(system, &samples).await;
        if let Some(error) = samples.first_error {
            say(&format!("{}: {error}", system.kind));
        }
    }
    let mut all = Vec::new();
    for measurement in &plan.measurements {
        let mut rounds = BTreeMap::<Kind, Vec<Round>>::new();
        for number in 0..plan.rounds {
            let mut order: Vec<Kind> = measurement.kinds.clone();
            order.retain(|kind| systems.contains_key(kind));
            let turn = number % order.len().max(1);
            order.rotate_left(turn);
            for kind in order {
                let round = quiet_round(plan, measurement, &systems[&kind]).await?;
                rounds.entry(kind).or_default().push(round);
            }
        }
        all.push(Measured { measurement: measurement.clone(), rounds });
    }
    Ok(report::tables(plan, &all))
}

fn target(system: &System, shape: Shape) -> Target {
    let request = shape.request(system.address, KEY);
    Target { address: system.address, request: Rc::from(request), counts_events: shape.is_stream() }
}

/// The first round that nobody disturbed, or the least disturbed of all tries.
async fn quiet_round(plan: &Plan, measurement: &Measurement, system: &System) -> Result<Round> {
    let mut quietest: Option<Round> = None;
    for _ in 0..=plan.retries {
        wait_until_idle(plan.patience).await;
        let round = one_round(system, measurement, plan.length).await?;
        say(&report::progress(measurement, system.kind, &round));
        if quietest.as_ref().is_none_or(|kept| round.foreign_cores < kept.foreign_cores) {
            quietest = Some(round);
        }
        if quietest.as_ref().is_some_and(|kept| kept.foreign_cores <= IDLE_CORES) {
            break;
        }
    }
    quietest.context("at least one try was made")
}

async fn one_round(system: &System, measurement: &Measurement, length: Duration) -> Result<Round> {
    let target = target(system, measurement.shape);
    if let Some(inbox) = &system.inbox {
        inbox.take();
    }
    let data_before = system.data_bytes();
    let account = Account::open(system);
    let start = Instant::now();
    let samples = load::run(&target, measurement.pattern, length).await?;
    let loaded = start.elapsed();
    settle(system, &samples).await;
    let (cpu, foreign_cores) = account.close(system);
    if let Some(error) = &samples.first_error {
        say(&format!("{}: {} errors; the first: {error}", system.kind, samples.errors));
    }
    let calls = samples.latencies.len();
    let per_call = |total: f64| total / calls.max(1) as f64;
    let data_after = system.data_bytes();
    let expected = (calls * STREAM_EVENTS) as i64;
    Ok(Round {
        calls,
        errors: samples.errors,
        calls_per_s: calls as f64 / loaded.as_secs_f64(),
        cpu_us: cpu.map(|cpu| per_call(cpu.as_secs_f64() * 1e6)),
        p50: quantile(&samples.latencies, 0.5),
        p99: quantile(&samples.latencies, 0.99),
        first_p50: quantile(&samples.firsts, 0.5),
        first_p99: quantile(&samples.firsts, 0.99),
        events_lost: target.counts_events.then(|| expected - samples.events as i64),
        foreign_cores,
        rss_bytes: system.tree().map(process::Tree::rss_bytes),
        data_bytes_per_call: data_before
            .zip(data_after)
            .map(|(before, after)| per_call(after as f64 - before as f64)),
        delivered: delivered(system, &samples, start),
    })
}

/// CPU time at the start of a round.
struct Account {
    system: Option<Duration>,
    own: Duration,
    machine: Duration,
    start: Instant,
}

impl Account {
    fn open(system: &System) -> Self {
        Self {
            system: system.tree().map(process::Tree::cpu),
            own: process::own_cpu(),
            machine: process::machine_cpu(),
            start: Instant::now(),
        }
    }

    /// CPU time of the system, and cores that others kept busy.
    fn close(self, system: &System) -> (Option<Duration>, f64) {
        let now = Self::open(system);
        let cpu = now.system.zip(self.system).map(|(now, before)| now.saturating_sub(before));
        let ours = now.own.saturating_sub(self.own) + cpu.unwrap_or_default();
        let foreign = now.machine.saturating_sub(self.machine).saturating_sub(ours);
        (cpu, foreign.as_secs_f64() / (now.start - self.start).as_secs_f64())
    }
}

/// Waits until all that the load has caused is done.
async fn settle(system: &System, samples: &Samples) {
    if let Some(inbox) = &system.inbox {
        inbox.wait_for(samples.calls.len(), SETTLE_PATIENCE).await;
    }
    tokio::time::sleep(AFTERMATH).await;
}

fn delivered(system: &System, samples: &Samples, start: Instant) -> Option<Delivered> {
    let arrivals = system.inbox.as_ref()?.take();
    let mut first = HashMap::with_capacity(arrivals.len());
    for arrival in &arrivals {
        first.entry(arrival.call).or_insert(arrival.at);
    }
    let waits: Vec<Duration> = samples
        .calls
        .iter()
        .filter_map(|(call, start)| Some(first.get(call)?.duration_since(*start)))
        .collect();
    let since_start: Vec<Duration> =
        arrivals.iter().map(|arrival| arrival.at.duration_since(start)).collect();
    let most = quantile(&since_start, 0.99).as_secs_f64().max(1e-9);
    Some(Delivered {
        missing: samples.calls.len() - waits.len(),
        repeated: arrivals.len() - first.len(),
        per_s: 0.99 * arrivals.len() as f64 / most,
        p50: quantile(&waits, 0.5),
        p99: quantile(&waits, 0.99),
    })
}

/// Waits, up to `patience`, for half a second in which nobody else needs the machine.
async fn wait_until_idle(patience: Duration) {
    let end = Instant::now() + patience;
    while Instant::now() < end {
        let (machine, own, start) = (process::machine_cpu(), process::own_cpu(), Instant::now());
        tokio::time::sleep(Duration::from_millis(500)).await;
        let ours = process::own_cpu().saturating_sub(own);
        let busy = process::machine_cpu().saturating_sub(machine).saturating_sub(ours);
        if busy.as_secs_f64() / start.elapsed().as_secs_f64() < IDLE_CORES {
            return;
        }
    }
}

#[expect(clippy::print_stderr, reason = "the progress of a command line tool")]
fn say(line: &str) {
    eprintln!("{line}");
}
