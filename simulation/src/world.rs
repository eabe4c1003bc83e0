//! A run: the scenario's actions in order, lives of the gateway between crashes, and at the end a
//! time in which everything is well.

mod life;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use delivery::control::LaneStatus;
use domain::{
    call::Call,
    id::DestinationName,
    record::{Record, Sequence},
    sample,
    time::Clock as _,
};
use provider::price::Prices;
use store::journal::Journal as _;
use tokio::time::Instant;

pub use self::life::Life;
use crate::{
    calls,
    clock::SimClock,
    engine::{Disks, disk::Disk, lock},
    mutation::Mutation,
    network::Receivers,
    oracle::{Counts, Given, Oracle, Rule, Violation},
    panics,
    scenario::{Action, Scenario},
    trace::Trace,
};

/// How often the end looks whether everything is settled, how often at most, and how often at most
/// while what is behind gets no further.
const ROUND: Duration = Duration::from_mins(1);
const ROUNDS_MAX: u32 = 3_000;
const ROUNDS_STILL_MAX: u32 = 300;

/// How long a stop may take beside what is allowed to it, and operations of the disk that it may wait
/// for: a lane that has only begun looks at some deliveries one by one.
const STOP_SLACK: Duration = Duration::from_secs(10);
const STOP_OPERATIONS: u32 = 40;

/// Starts after which somebody mends the disk.
const STARTS_MAX: u32 = 20;

/// How a run is to be made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// A mistake to make on purpose.
    pub mutation: Option<Mutation>,
    /// Whether every line of the trace is kept.
    pub whole_trace: bool,
}

/// How a run went.
#[derive(Debug, Clone)]
pub struct Report {
    /// Of its trace.
    pub hash: u64,
    /// The first promise that was broken.
    pub violation: Option<Violation>,
    /// How much virtual time went by.
    pub simulated: Duration,
    /// What the oracle counted.
    pub counts: Counts,
    /// Lives of the gateway that ended in a crash.
    pub crashes: u32,
    /// The last lines of the trace, or all.
    pub trace: Vec<String>,
}

/// Runs a seed's world, on this thread.
pub fn run(seed: u64, options: Options) -> Report {
    fastrand::seed(seed);
    run_scenario(Scenario::of(seed), options)
}

/// Runs a world, on this thread.
pub fn run_scenario(scenario: Scenario, options: Options) -> Report {
    in_virtual_time(async {
        let mut world = World::new(scenario, options).await;
        world.play().await;
        world.end().await
    })
}

/// Runs something on this thread, in time that stands while nobody works.
pub fn in_virtual_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O asks nothing of the system");
    runtime.block_on(work)
}

/// Price data, decoded once.
fn prices() -> Arc<Prices> {
    static PRICES: OnceLock<Arc<Prices>> = OnceLock::new();
    Arc::clone(PRICES.get_or_init(|| Arc::new(Prices::new())))
}

/// Everything that outlives the gateway.
pub struct World {
    /// Who is to be told, as asked for.
    pub scenario: Scenario,
    /// The time.
    pub clock: Arc<SimClock>,
    /// What is durable.
    pub disk: Arc<Mutex<Disk>>,
    /// How it behaves.
    pub disks: Arc<Disks>,
    /// Receivers.
    pub receivers: Receivers,
    /// Who looks on.
    pub oracle: Arc<Oracle>,
    /// What happened.
    pub trace: Arc<Trace>,
    /// The gateway, while it runs.
    pub life: Option<Life>,
    options: Options,
    begun: Instant,
    crashes: u32,
    /// Calls that run, by number; a crash ends them all.
    calls: HashMap<u32, Arc<Call>>,
    /// What is still to happen.
    agenda: BTreeMap<(Duration, u64), Action>,
    scheduled: u64,
    /// How long the gateway stays down after the crash that is to come.
    down_for: Duration,
}

impl World {
    /// Makes the world, and starts the gateway in it.
    pub async fn new(mut scenario: Scenario, options: Options) -> Self {
        // What panicked before is of another run.
        panics::take();
        let clock = Arc::new(SimClock::showing(sample::NOW));
        let trace = Arc::new(Trace::new(options.whole_trace));
        let asked = &scenario.destinations;
        // Each event of a batch is read by itself.
        let reads = asked.iter().map(|asked| asked.batch.events_max).max().unwrap_or(1) as u32;
        let read_time = Duration::from_millis((*scenario.commit_ms.end() + 1).into()) * reads;
        let (its_clock, its_trace) = (Arc::clone(&clock), Arc::clone(&trace));
        let given = Given { read_time, unstored_max: scenario.config.unstored_max };
        let oracle = Oracle::new(asked, given, its_clock, its_trace, prices());
        let disks = Arc::new(Disks::default());
        disks.set_commit_ms(&scenario.commit_ms);
        let receivers = std::mem::take(&mut scenario.receivers).into_iter().collect();
        let mut world = Self {
            clock,
            disk: Arc::default(),
            disks,
            receivers: Arc::new(Mutex::new(receivers)),
            oracle: Arc::new(oracle),
            trace,
            life: None,
            options,
            begun: Instant::now(),
            crashes: 0,
            calls: HashMap::new(),
            agenda: BTreeMap::new(),
            scheduled: 0,
            down_for: Duration::ZERO,
            scenario,
        };
        for (at, action) in std::mem::take(&mut world.scenario.actions) {
            world.schedule(at, action);
        }
        world.start().await;
        world
    }

    /// Lets something happen at a time.
    pub fn schedule(&mut self, at: Duration, action: Action) {
        self.agenda.insert((at, self.scheduled), action);
        self.scheduled += 1;
    }

    /// Starts the gateway, and waits until it is up or dead.
    pub async fn start(&mut self) {
        for attempt in 0.. {
            if attempt == STARTS_MAX {
                // Somebody sees to the disk.
                self.disks.set_failing(0);
            }
            let mut life = Life::start(self);
            self.oracle.restarted(&lock(&self.disk));
            let is_up = life.is_up().await;
            if is_up {
                self.life = Some(life);
                return;
            }
            self.trace.note(self.clock.elapsed(), format_args!("did not start"));
            self.crashes += u32::from(life.process.is_dead());
            life.crash().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Lets everything happen that is scheduled.
    pub async fn play(&mut self) {
        while let Some((&(at, number), _)) = self.agenda.first_key_value() {
            self.pass_until(at).await;
            if self.oracle.violation().is_some() {
                return;
            }
            if let Some(action) = self.agenda.remove(&(at, number)) {
                self.act(action).await;
            }
            self.look();
        }
        self.pass_until(self.scenario.horizon).await;
    }

    /// Lets time pass. If the gateway dies meanwhile, it is started again.
    pub async fn pass_until(&mut self, at: Duration) {
        loop {
            let Some(life) = &mut self.life else { return };
            let is_over = tokio::select! {
                biased;
                () = self.oracle.violated() => return,
                () = life.ended() => false,
                () = tokio::time::sleep_until(self.begun + at) => true,
            };
            if is_over {
                return;
            }
            self.crash().await;
        }
    }

    /// The gateway is dead: nothing is left of it but what is durable.
    async fn crash(&mut self) {
        self.trace.note(self.clock.elapsed(), format_args!("crash"));
        self.crashes += 1;
        self.calls.clear();
        if let Some(life) = self.life.take() {
            life.crash().await;
        }
        tokio::time::sleep(std::mem::take(&mut self.down_for)).await;
        self.start().await;
    }

    async fn act(&mut self, action: Action) {
        self.trace.note(self.clock.elapsed(), format_args!("{action:?}"));
        let Some(life) = &mut self.life else { return };
        match action {
            Action::Arrive(..) | Action::Piece(..) | Action::End(..) => self.act_on_call(&action),
            Action::Crash(steps, down_for) => {
                self.down_for = down_for;
                life.process.die_after(steps);
            }
            Action::Restart => self.restart().await,
            Action::Jump(nanos) => {
                self.clock.jump(nanos);
                self.oracle.jumped(self.clock.elapsed());
            }
            Action::Trouble(permille) => self.disks.set_failing(permille),
            Action::Stall(ms) => self.disks.set_stall_ms(ms),
            Action::Pause(name) => {
                let oracle = Arc::clone(&self.oracle);
                let is_kept = self.options.mutation != Some(Mutation::IgnoresPause);
                let order = oracle.ordered(&name);
                life.operate(move |control| async move {
                    if is_kept {
                        control.pause(&name, "by hand").await;
                    }
                    oracle.paused(&name, order, true);
                });
            }
            Action::Resume(name) => self.resume(name),
            Action::Retry(name) => life.operate(move |control| async move {
                // What could not be read is retried by hand again, or not at all.
                let _ = control.retry(&name, None).await;
            }),
            Action::Revive => life.engine.revive_from_outside(),
            Action::Damage => {
                let mut disk = lock(&self.disk);
                let next = disk.last.next();
                disk.corrupt.insert(next);
                self.oracle.damages(next);
            }
        }
    }

    fn resume(&mut self, name: DestinationName) {
        let order = self.oracle.ordered(&name);
        self.oracle.paused(&name, order, false);
        if let Some(life) = &mut self.life {
            let oracle = Arc::clone(&self.oracle);
            life.operate(move |control| async move {
                control.resume(&name).await;
                oracle.paused(&name, order, false);
            });
        }
    }

    fn act_on_call(&mut self, action: &Action) {
        let Some(life) = &self.life else { return };
        let now = self.clock.now();
        match *action {
            Action::Arrive(number, stream) => {
                let random = self.scenario.dice.u64(..);
                let call = calls::arrive(now, random, stream);
                drop(life.engine.append_soon(Record::Admitted(Arc::clone(&call))));
                self.calls.insert(number, call);
            }
            Action::Piece(number, first, count) => {
                if let Some(call) = self.calls.get(&number) {
                    drop(life.engine.append(calls::piece(call, now, first, count)));
                }
            }
            Action::End(number, end) => {
                if let Some(call) = self.calls.remove(&number) {
                    drop(life.engine.append(calls::outcome(&call, now, end)));
                }
            }
            _ => {}
        }
    }

    /// Looks whether lanes keep within their bounds, and whether anything panicked.
    pub fn look(&self) {
        if let Some(what) = panics::take() {
            self.oracle.accuse(Rule::Panicked, what);
        }
        let Some(life) = &self.life else { return };
        for status in life.control.destinations() {
            let name = &status.destination.name;
            let most = self.oracle.waiting_max(name);
            if status.waiting > most {
                let what = format!("{name} holds {} deliveries, at most {most}", status.waiting);
                self.oracle.accuse(Rule::Unbounded, what);
            }
        }
    }

    /// Stops the gateway as a signal does, and starts it again.
    pub async fn restart(&mut self) {
        self.calls.clear();
        self.stop().await;
        self.start().await;
    }

    /// Stops the gateway as a signal does.
    pub async fn stop(&mut self) {
        let Some(life) = self.life.take() else { return };
        let begun = self.clock.elapsed();
        let is_dead = !life.stop().await;
        self.crashes += u32::from(is_dead);
        let took = self.clock.elapsed().saturating_sub(begun);
        let slowest = self.scenario.config.settle_timeout
            + STOP_SLACK
            + STOP_OPERATIONS * self.disks.slowest();
        if took > slowest && !is_dead {
            self.oracle.accuse(Rule::SlowStop, format!("it took {took:?}"));
        }
        self.trace.note(self.clock.elapsed(), format_args!("stopped"));
    }

    /// Everything is well from now on; returns once everything is settled.
    pub async fn settle(&mut self) {
        self.disks.set_failing(0);
        self.disks.set_stall_ms(0);
        for receiver in lock(&self.receivers).values_mut() {
            receiver.recover();
        }
        // A call whose end the disk did not take gets one from the next start, not before.
        let has_open = lock(&self.disk).calls.values().any(Option::is_some);
        if has_open {
            self.restart().await;
        }
        let (mut behind, mut still) = (Vec::new(), 0);
        for round in 0..ROUNDS_MAX {
            if self.oracle.violation().is_some() || self.is_settled() {
                return;
            }
            self.resume_all();
            // Something must pass for what never passes to be given up.
            let number = u32::MAX - round;
            self.act_on_call(&Action::Arrive(number, false));
            self.act_on_call(&Action::End(number, calls::End::Completed(1)));
            let until = self.clock.elapsed() + ROUND;
            self.pass_until(until).await;
            self.look();
            let before = std::mem::replace(&mut behind, self.behind());
            still = if before == behind { still + 1 } else { 0 };
            if still == ROUNDS_STILL_MAX {
                break;
            }
        }
        let what = self.unsettled().join("; ");
        self.oracle.accuse(Rule::Stuck, what);
    }

    fn resume_all(&mut self) {
        let Some(life) = &self.life else { return };
        let stored: Vec<_> = lock(&self.disk).switches.keys().cloned().collect();
        let mut disabled = Vec::new();
        for LaneStatus { destination, disabled: why, .. } in life.control.destinations() {
            // A switch that a failing disk did not take holds as long as the process lives.
            disabled.extend(why.is_some().then(|| destination.name.clone()));
            let backup = destination.backup.iter().map(|backup| backup.name.clone());
            disabled.extend(backup.filter(|name| stored.contains(name)));
        }
        for name in disabled {
            self.resume(name);
        }
    }

    fn is_settled(&self) -> bool {
        // A lane that could not read its rows holds none of them, and says so.
        let has_rows = lock(&self.disk).lanes.values().any(|rows| !rows.parked.is_empty());
        self.life.as_ref().is_some_and(|life| life.engine.is_quiet())
            && !has_rows
            && self.unsettled().is_empty()
    }

    /// How far the lanes are that are not at the journal's end.
    fn behind(&self) -> Vec<Sequence> {
        let last = lock(&self.disk).last;
        let lanes = self.life.as_ref().map(|life| life.control.destinations());
        let cursors = lanes.into_iter().flatten().map(|lane| lane.cursor);
        cursors.filter(|cursor| *cursor < last).collect()
    }

    /// How the lanes stand that have something left to do.
    fn unsettled(&self) -> Vec<String> {
        let last = lock(&self.disk).last;
        let lanes = self.life.as_ref().map(|life| life.control.destinations());
        let stands = lanes.into_iter().flatten().filter_map(|status| {
            let LaneStatus { destination, disabled, breaker, cursor, waiting, in_flight, .. } =
                status;
            let is_still = waiting == 0 && in_flight == 0 && disabled.is_none();
            let name = &destination.name;
            (!is_still || cursor != last).then(|| {
                format!(
                    "{name} at {cursor} of {last}, {waiting} wait, {in_flight} in flight, \
                     {disabled:?}, {breaker:?}"
                )
            })
        });
        stands.collect()
    }

    /// Waits until everything is settled, stops the gateway and looks whether nothing is missing.
    pub async fn end(mut self) -> Report {
        self.settle().await;
        if self.oracle.violation().is_none() {
            self.stop().await;
        }
        self.look();
        if self.oracle.violation().is_none() {
            self.oracle.finish(&lock(&self.disk));
        }
        if let Some(life) = self.life.take() {
            life.crash().await;
        }
        Report {
            hash: self.trace.hash(),
            violation: self.oracle.violation(),
            simulated: self.clock.elapsed(),
            counts: self.oracle.counts(),
            crashes: self.crashes,
            trace: self.trace.lines(),
        }
    }

    pub(crate) fn mutation(&self) -> Option<Mutation> {
        self.options.mutation
    }
}
