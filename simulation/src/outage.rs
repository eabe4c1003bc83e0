//! A long outage under full traffic: what it costs beyond the journal itself. Nothing, but for a few
//! deliveries to probe with.
//!
//! The journal makes its records when they are asked for, from their sequence, so that a day of them
//! needs no room. The lane that reads it is the real one.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use delivery::{
    Control, Service, Stores,
    config::Config,
    send::{SendLimits, Sent, Transport},
};
use domain::{
    call::Call,
    delivery::Timings,
    destination::{Batch, CloudEventsMode, Destination, Format, RetryPolicy},
    event::EventType,
    note::Note,
    record::{Entry, Record, Sequence},
    sample,
    time::{Clock as _, Timestamp},
};
use store::journal::{BoxFuture, Commit, Health, Journal, ReadError, ReadLimit};
use tokio::{sync::watch, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use webhook::{
    request::Request,
    verdict::{Answer, Phase, SendError, SendErrorKind},
};

use crate::{
    calls::{self, End},
    clock::SimClock,
    engine::{Disks, Engine, NoWitness, Parts, disk::Disk, lock},
    network::events,
    oracle::waiting_max,
    process::Process,
    world::in_virtual_time,
};

const SECOND: Duration = Duration::from_secs(1);
/// Before the outage, for everything to be warm.
const WELL_FOR: u64 = 60;
/// Seconds after the outage in which the backlog must be gone.
const RECOVERY_MAX: u64 = 7_200;
/// Rows of attempts that the model keeps of a lane; the store's bound is a setting.
const ATTEMPT_ROWS_MAX: usize = 200;
/// What the process may grow by from the outage's beginning to the end.
const GROWTH_MAX: u64 = 48 << 20;

/// How long, and how much traffic.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Whole seconds for which the receiver does not answer.
    pub outage_secs: u64,
    /// Calls that end in each second, before, meanwhile and after.
    pub calls_per_second: u64,
}

/// What it came to.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Calls that ended in all.
    pub calls: u64,
    /// Calls behind the cursor when the receiver was back.
    pub backlog: u64,
    /// Attempts while it was down.
    pub probes: u64,
    /// The most deliveries that the lane held in memory, and how many it may.
    pub waiting: (usize, usize),
    /// The most rows of parked deliveries at once.
    pub parked_rows: usize,
    /// The most dead letters at once.
    pub dead_rows: usize,
    /// The most rows of attempts at once.
    pub attempt_rows: usize,
    /// Until the lane had caught up, in virtual time.
    pub recovered_in: Option<Duration>,
    /// Calls that were told of more than once.
    pub repeated: u64,
    /// Calls that were not told of.
    pub missing: u64,
    /// Bytes of the process when the outage began, and the most from then on; where the system says.
    pub resident: Option<(u64, u64)>,
}

impl Figures {
    /// What is not as promised.
    pub fn problems(&self) -> Vec<String> {
        let (waiting, waiting_most) = self.waiting;
        let growth = self.resident.map_or(0, |(before, most)| most.saturating_sub(before));
        let rules = [
            (waiting <= waiting_most, "it held more deliveries than it may"),
            (self.parked_rows <= waiting_most, "deliveries were parked"),
            (self.dead_rows == 0, "deliveries were given up"),
            (self.attempt_rows <= ATTEMPT_ROWS_MAX, "rows of attempts piled up"),
            (self.recovered_in.is_some(), "the backlog did not go in time"),
            (self.missing == 0, "calls were not told of"),
            (self.repeated == 0, "calls were told of twice"),
            (growth <= GROWTH_MAX, "the process grew"),
        ];
        let broken = rules.iter().filter(|(is_kept, _)| !is_kept);
        broken.map(|(_, what)| (*what).to_owned()).collect()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, backlog, probes, waiting: (waiting, most), .. } = self;
        let Self { parked_rows, dead_rows, attempt_rows, recovered_in, .. } = self;
        let Self { repeated, missing, resident, .. } = self;
        writeln!(f, "calls              {calls}, of them {backlog} behind the cursor at the end")?;
        writeln!(f, "attempts meanwhile {probes}")?;
        writeln!(f, "held in memory     {waiting} deliveries at most, of {most} allowed")?;
        writeln!(
            f,
            "rows               {parked_rows} parked, {dead_rows} dead, {attempt_rows} attempts at most"
        )?;
        if let Some((before, most)) = resident {
            let [before, most] = [before, most].map(|bytes| bytes >> 20);
            writeln!(
                f,
                "resident           {before} MiB at its beginning, {most} MiB at most after"
            )?;
        }
        match recovered_in {
            Some(took) => writeln!(f, "caught up          {took:?} after its end")?,
            None => writeln!(f, "caught up          not at all")?,
        }
        write!(f, "told               all but {missing}; {repeated} more than once")
    }
}

/// Lets a receiver be down for so long, then be well until the lane has caught up.
pub fn run(plan: Plan) -> Figures {
    fastrand::seed(plan.outage_secs);
    in_virtual_time(async {
        let mut outage = Outage::begin(plan).await;
        outage.pass(WELL_FOR).await;
        let resident = resident();
        outage.figures.resident = resident.zip(resident);
        outage.receiver.is_down.store(true, Ordering::Relaxed);
        let before = outage.receiver.attempts.load(Ordering::Relaxed);
        outage.pass(plan.outage_secs).await;
        outage.figures.probes = outage.receiver.attempts.load(Ordering::Relaxed) - before;
        outage.figures.backlog = outage.lag();
        outage.receiver.is_down.store(false, Ordering::Relaxed);
        outage.recover().await;
        outage.end().await
    })
}

struct Outage {
    plan: Plan,
    journal: Arc<Generated>,
    receiver: Arc<Receiver>,
    disk: Arc<Mutex<Disk>>,
    control: Control,
    stop: CancellationToken,
    running: JoinSet<()>,
    figures: Figures,
}

impl Outage {
    async fn begin(plan: Plan) -> Self {
        let clock = Arc::new(SimClock::showing(sample::NOW));
        let seconds = WELL_FOR + plan.outage_secs + RECOVERY_MAX;
        let journal = Generated::new(clock.now(), plan.calls_per_second);
        let receiver = Arc::new(Receiver::owed(seconds * plan.calls_per_second));
        let disk = Arc::new(Mutex::new(Disk::default()));
        let engine = Engine::open(Parts {
            disk: Arc::clone(&disk),
            disks: Arc::new(Disks::default()),
            process: Arc::new(Process::default()),
            clock: Arc::clone(&clock) as _,
            witness: Arc::new(NoWitness),
            dice: fastrand::Rng::with_seed(0),
            is_instant: true,
        });
        let opened = engine.opened();
        let stores = Stores {
            journal: Arc::clone(&journal) as _,
            lanes: opened.lanes,
            switches: opened.switches,
            destinations: opened.destinations,
        };
        let config = Config {
            settle_timeout: 10 * SECOND,
            unstored_max: 1_000,
            events_cached_max: 1_000,
            disable_after: None,
        };
        let transport = Arc::clone(&receiver);
        let service =
            Service::new(config, vec![destination()], stores, Line(transport), clock as _);
        service.register().await.expect("an instant store does not fail");
        let (control, stop) = (service.control(), CancellationToken::new());
        let figures = Figures { waiting: (0, waiting_max(&destination())), ..Figures::default() };
        let mut running = JoinSet::new();
        running.spawn(service.run(stop.clone()));
        Self { plan, journal, receiver, disk, control, stop, running, figures }
    }

    /// Lets so many seconds pass, with their calls.
    async fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.journal.grow(self.plan.calls_per_second);
            sleep(SECOND).await;
            self.look();
        }
    }

    fn look(&mut self) {
        let figures = &mut self.figures;
        for status in self.control.destinations() {
            figures.waiting.0 = figures.waiting.0.max(status.waiting);
        }
        for rows in lock(&self.disk).lanes.values() {
            figures.parked_rows = figures.parked_rows.max(rows.parked.len());
            figures.dead_rows = figures.dead_rows.max(rows.dead.len());
            figures.attempt_rows = figures.attempt_rows.max(rows.attempts.len());
        }
        if let (Some((_, most)), Some(now)) = (&mut figures.resident, resident()) {
            *most = now.max(*most);
        }
    }

    /// Records behind the cursor.
    fn lag(&self) -> u64 {
        self.control.destinations().iter().map(|status| status.lag).max().unwrap_or_default()
    }

    async fn recover(&mut self) {
        for second in 1..=RECOVERY_MAX {
            self.pass(1).await;
            // What gathers for a batch is behind the cursor, too.
            if self.lag() <= 3 * self.plan.calls_per_second {
                self.figures.recovered_in = Some(second as u32 * SECOND);
                return;
            }
        }
    }

    async fn end(mut self) -> Figures {
        // What came last gathers in a batch that is not full.
        sleep(10 * SECOND).await;
        self.stop.cancel();
        // A panic of the service is a bug, and shows as calls that were not told of.
        let _ = self.running.join_next().await;
        let last = *self.journal.head.borrow();
        let notes = lock(&self.journal.notes).clone();
        let owed = lock(&self.receiver.owed);
        self.figures.calls = last.0 - notes.len() as u64;
        let calls = (1..=last.0).map(Sequence).filter(|at| !notes.contains_key(at));
        self.figures.missing = calls.filter(|at| owed.is_owed(*at)).count() as u64;
        self.figures.repeated = owed.repeated;
        self.figures
    }
}

fn destination() -> Destination {
    Destination {
        format: Format::CloudEvents(CloudEventsMode::Batch),
        event_types: vec![EventType::Completion, EventType::Error],
        batch: Batch { events_max: 100, bytes_max: 1 << 20, flush_interval: SECOND },
        retry: RetryPolicy {
            max_attempts: 5,
            initial_delay: SECOND,
            multiplier: 2.0,
            max_delay: Duration::from_mins(1),
            retry_after_max: Duration::from_hours(1),
            retryable_status_codes: vec![500, 503],
        },
        concurrent_deliveries: 10,
        queue_size: 2_000,
        ..sample::destination()
    }
}

/// A journal that holds nothing: a record follows from its sequence.
struct Generated {
    began: Timestamp,
    per_second: u64,
    head: watch::Sender<Sequence>,
    /// News of lanes; each takes the place of a call.
    notes: Mutex<BTreeMap<Sequence, Arc<Note>>>,
}

impl Generated {
    fn new(began: Timestamp, per_second: u64) -> Arc<Self> {
        let head = watch::Sender::new(Sequence(0));
        Arc::new(Self { began, per_second, head, notes: Mutex::default() })
    }

    fn grow(&self, count: u64) {
        self.head.send_modify(|head| head.0 += count);
    }

    fn entry(&self, sequence: Sequence) -> Arc<Entry> {
        let note = lock(&self.notes).get(&sequence).cloned();
        let record = note.map_or_else(|| self.outcome(sequence), Record::Noted);
        Arc::new(Entry { sequence, record })
    }

    fn outcome(&self, sequence: Sequence) -> Record {
        let at = self.began.plus(SECOND * (sequence.0 / self.per_second) as u32);
        calls::outcome(&calls::arrive(at, sequence.0, false), at, End::Completed(10))
    }
}

impl Journal for Generated {
    fn append(&self, record: Record) -> Commit {
        let (done, commit) = Commit::pair();
        if let Record::Noted(note) = record {
            let mut notes = lock(&self.notes);
            self.head.send_modify(|head| *head = head.next());
            let at = *self.head.borrow();
            notes.insert(at, note);
            // Whoever waited may have left.
            let _ = done.send(Ok(at));
        }
        commit
    }

    fn append_soon(&self, record: Record) -> Commit {
        self.append(record)
    }

    fn hurry(&self) {}

    fn head(&self) -> watch::Receiver<Sequence> {
        self.head.subscribe()
    }

    fn oldest(&self) -> Sequence {
        Sequence(1)
    }

    fn read_after(
        &self,
        cursor: Sequence,
        limit: ReadLimit,
    ) -> BoxFuture<'_, Result<Vec<Arc<Entry>>, ReadError>> {
        let last = self.head.borrow().0.min(cursor.0 + limit.entries_max as u64);
        let read = (cursor.0 + 1..=last).map(|number| self.entry(Sequence(number))).collect();
        Box::pin(std::future::ready(Ok(read)))
    }

    fn unsettled(&self) -> BoxFuture<'_, Result<Vec<Arc<Call>>, ReadError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn health(&self) -> Health {
        Health::Ready
    }
}

/// A receiver that notes in a bit for each call whether it was told.
struct Receiver {
    is_down: AtomicBool,
    attempts: AtomicU64,
    owed: Mutex<Owed>,
}

struct Owed {
    /// All set at first, so that the room is taken before anything is measured.
    bits: Vec<u64>,
    repeated: u64,
}

impl Owed {
    fn is_owed(&self, at: Sequence) -> bool {
        self.bits[at.0 as usize / 64] & (1 << (at.0 % 64)) != 0
    }

    fn tell(&mut self, at: Sequence) {
        self.repeated += u64::from(!self.is_owed(at));
        self.bits[at.0 as usize / 64] &= !(1 << (at.0 % 64));
    }
}

impl Receiver {
    fn owed(calls_max: u64) -> Self {
        let bits = vec![u64::MAX; calls_max as usize / 64 + 1];
        Self {
            is_down: AtomicBool::new(false),
            attempts: AtomicU64::new(0),
            owed: Mutex::new(Owed { bits, repeated: 0 }),
        }
    }
}

struct Line(Arc<Receiver>);

impl Transport for Line {
    fn send<'a>(&'a self, request: Request, limits: SendLimits<'a>) -> BoxFuture<'a, Sent> {
        let timeout = limits.timeout;
        Box::pin(async move {
            let Self(receiver) = self;
            receiver.attempts.fetch_add(1, Ordering::Relaxed);
            let is_down = receiver.is_down.load(Ordering::Relaxed);
            let duration = if is_down { timeout } else { Duration::from_millis(5) };
            sleep(duration).await;
            let answer = if is_down {
                let kind = SendErrorKind::Timeout(Phase::Answer);
                Err(SendError { kind, message: "it does not answer".to_owned() })
            } else {
                let body = request.body.to_bytes();
                let mut owed = lock(&receiver.owed);
                events(&body).into_iter().filter_map(calls::number).for_each(|at| {
                    owed.tell(Sequence(at));
                });
                Ok(Answer { status: 200, ..Answer::default() })
            };
            Sent { duration, timings: Timings::default(), address: None, answer }
        })
    }
}

/// Bytes of this process that are in memory, as Linux tells them.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}
