//! `Lanes` on `state.db`: a handle, and the one thread that owns the connection.
//!
//! What queued up while a transaction ran is the next transaction, whatever lanes it is from.
//!
//! Invariant: a settlement is answered only once it is committed, and committed whole.

mod rows;

use std::{
    io,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use domain::{
    delivery::{DeadLetter, Parked},
    id::{DeliveryId, DestinationName},
    record::Sequence,
    time::Clock,
};
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use crate::{
    journal::BoxFuture,
    lanes::{Lanes, LanesError, Settlement},
    sqlite::{
        Durability, OpenError,
        files::{self, engine},
        migrate,
        queue::Queue,
    },
};

/// How often the thread looks for changes by other processes.
const POLL: Duration = Duration::from_secs(1);
/// How often attempts past retention are deleted.
const SWEEP: Duration = Duration::from_mins(1);
/// Attempts written after which their number is bounded again.
const THIN_EVERY: u64 = 1000;
/// How long a transaction waits for one of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A handle to the lanes' state. It outlives the store as a closed one.
#[derive(Debug)]
pub(super) struct SqliteLanes {
    queue: Arc<Queue<Job>>,
    changed: watch::Sender<u64>,
    /// Without a store, the handle owns the thread.
    _thread: Option<LanesThread>,
}

/// The thread. Dropping it commits what is queued.
#[derive(Debug)]
pub(super) struct LanesThread {
    queue: Arc<Queue<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is asked for.
#[derive(Debug)]
enum Job {
    Change(ChangeJob),
    Cursor(DestinationName, Answer<Option<Sequence>>),
    Cursors(Answer<Vec<(DestinationName, Sequence)>>),
    Parked(DestinationName, Answer<Vec<Parked>>),
    DeadLetters(Option<DestinationName>, usize, Answer<Vec<DeadLetter>>),
}

type Answer<T> = oneshot::Sender<Result<T, LanesError>>;

#[derive(Debug)]
struct ChangeJob {
    change: Change,
    /// Gets the number of deliveries that changed.
    done: Answer<usize>,
}

#[derive(Debug)]
enum Change {
    Settle(DestinationName, Settlement),
    Revive(Option<DestinationName>, Option<Vec<DeliveryId>>),
}

/// What the thread works by.
pub(super) struct Setup {
    pub(super) attempts_max: u64,
    pub(super) retention: Option<Duration>,
    pub(super) clock: Arc<dyn Clock>,
    /// Called when a transaction found the disk full.
    pub(super) on_full: Box<dyn Fn() + Send>,
}

/// Opens or makes `state.db`. Also says how far the furthest lane settled.
pub(super) fn open(
    path: &Path,
    durability: Durability,
) -> Result<(Connection, Sequence), OpenError> {
    files::private(path).map_err(engine(path))?;
    let mut db = files::database(path).map_err(engine(path))?;
    configure(&db, durability).map_err(engine(path))?;
    migrate::migrate(&mut db, path, migrate::STATE)?;
    let cursors = rows::cursors(&db).map_err(engine(path))?;
    Ok((db, cursors.into_iter().map(|(_, cursor)| cursor).max().unwrap_or_default()))
}

/// Starts the thread.
pub(super) fn start(db: Connection, setup: Setup) -> io::Result<(SqliteLanes, LanesThread)> {
    let queue = Arc::new(Queue::new());
    let changed = watch::Sender::new(0);
    let state = State {
        db,
        queue: Arc::clone(&queue),
        changed: changed.clone(),
        setup,
        attempts_since_thinning: 0,
    };
    let thread = thread::Builder::new().name("store-lanes".to_owned());
    let thread = thread.spawn(move || state.run())?;
    let thread = LanesThread { queue: Arc::clone(&queue), thread: Some(thread) };
    Ok((SqliteLanes { queue, changed, _thread: None }, thread))
}

fn configure(db: &Connection, durability: Durability) -> rusqlite::Result<()> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.pragma_update(None, "journal_mode", "wal")?;
    let synchronous = match durability {
        Durability::Process => "NORMAL",
        Durability::Power => "FULL",
    };
    db.pragma_update(None, "synchronous", synchronous)
}

impl SqliteLanes {
    /// Makes the handle the thread's owner.
    pub(super) fn owning(self, thread: LanesThread) -> Self {
        Self { _thread: Some(thread), ..self }
    }

    /// Another handle to the same thread.
    pub(super) fn another(&self) -> Self {
        Self { queue: Arc::clone(&self.queue), changed: self.changed.clone(), _thread: None }
    }

    /// All cursors. Blocks; not for a runtime's thread.
    pub(super) fn cursors_blocking(&self) -> Result<Vec<(DestinationName, Sequence)>, LanesError> {
        let (done, answer) = oneshot::channel();
        drop(self.queue.push(Job::Cursors(done), 0));
        answer.blocking_recv().unwrap_or(Err(LanesError::Closed))
    }

    /// Queues a job at once; a closed queue gives it back, and dropping it tells the future.
    fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(Answer<T>) -> Job,
    ) -> BoxFuture<'_, Result<T, LanesError>> {
        let (done, answer) = oneshot::channel();
        drop(self.queue.push(job(done), 0));
        Box::pin(async { answer.await.unwrap_or(Err(LanesError::Closed)) })
    }
}

impl Lanes for SqliteLanes {
    fn cursor(
        &self,
        lane: &DestinationName,
    ) -> BoxFuture<'_, Result<Option<Sequence>, LanesError>> {
        let lane = lane.clone();
        self.ask(|done| Job::Cursor(lane, done))
    }

    fn settle(
        &self,
        lane: &DestinationName,
        settlement: Settlement,
    ) -> BoxFuture<'_, Result<(), LanesError>> {
        let change = Change::Settle(lane.clone(), settlement);
        let settled = self.ask(|done| Job::Change(ChangeJob { change, done }));
        Box::pin(async { settled.await.map(|_| ()) })
    }

    fn parked(&self, lane: &DestinationName) -> BoxFuture<'_, Result<Vec<Parked>, LanesError>> {
        let lane = lane.clone();
        self.ask(|done| Job::Parked(lane, done))
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn dead_letters(
        &self,
        lane: Option<&DestinationName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DeadLetter>, LanesError>> {
        let lane = lane.cloned();
        self.ask(|done| Job::DeadLetters(lane, limit, done))
    }

    fn revive(
        &self,
        lane: Option<&DestinationName>,
        ids: Option<&[DeliveryId]>,
    ) -> BoxFuture<'_, Result<usize, LanesError>> {
        let change = Change::Revive(lane.cloned(), ids.map(<[_]>::to_vec));
        self.ask(|done| Job::Change(ChangeJob { change, done }))
    }
}

impl Drop for LanesThread {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("The thread of the lanes' state panicked.");
        }
    }
}

/// The thread's state.
struct State {
    db: Connection,
    queue: Arc<Queue<Job>>,
    changed: watch::Sender<u64>,
    setup: Setup,
    attempts_since_thinning: u64,
}

impl State {
    fn run(mut self) {
        let queue = Arc::clone(&self.queue);
        let _closing = queue.close_on_drop();
        let mut jobs = Vec::new();
        let mut polled = Instant::now();
        let mut swept = Instant::now();
        let mut version = rows::data_version(&self.db).unwrap_or_default();
        while self.queue.take(&mut jobs, POLL) {
            self.perform(&mut jobs);
            if polled.elapsed() >= POLL {
                polled = Instant::now();
                self.look_for_changes(&mut version);
            }
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                self.sweep();
            }
        }
    }

    /// Changes in a row are one transaction; a read sees all changes before it.
    fn perform(&mut self, jobs: &mut Vec<Job>) {
        let mut changes = Vec::new();
        for job in jobs.drain(..) {
            if let Job::Change(change) = job {
                changes.push(change);
                continue;
            }
            self.commit(&mut changes);
            self.read(job);
        }
        self.commit(&mut changes);
    }

    fn read(&self, job: Job) {
        let db = &self.db;
        // Whoever asked may have left meanwhile.
        match job {
            Job::Cursor(lane, done) => drop(done.send(answer(rows::cursor(db, &lane)))),
            Job::Cursors(done) => drop(done.send(answer(rows::cursors(db)))),
            Job::Parked(lane, done) => drop(done.send(answer(rows::parked(db, &lane)))),
            Job::DeadLetters(lane, limit, done) => {
                drop(done.send(answer(rows::dead_letters(db, lane.as_ref(), limit))));
            }
            Job::Change(_) => unreachable!("changes are committed"),
        }
    }

    fn commit(&mut self, jobs: &mut Vec<ChangeJob>) {
        if jobs.is_empty() {
            return;
        }
        match self.try_commit(jobs.iter().map(|job| &job.change)) {
            Ok(counts) => {
                for (job, count) in jobs.drain(..).zip(counts) {
                    let _ = job.done.send(Ok(count));
                }
            }
            // One that fails must not take the others with it.
            Err(_) if jobs.len() > 1 => {
                for job in std::mem::take(jobs) {
                    self.commit(&mut vec![job]);
                }
            }
            Err(error) => {
                if files::is_full(&error) {
                    (self.setup.on_full)();
                }
                for job in jobs.drain(..) {
                    // With the room that `on_full` made, one more try is worth it.
                    let again = self.try_commit(std::iter::once(&job.change));
                    let count = again.map(|counts| counts.into_iter().sum());
                    let _ = job.done.send(answer(count));
                }
            }
        }
    }

    fn try_commit<'a>(
        &mut self,
        changes: impl Iterator<Item = &'a Change>,
    ) -> rusqlite::Result<Vec<usize>> {
        let now = self.setup.clock.now();
        let tx = self.db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let mut counts = Vec::new();
        let mut attempts = self.attempts_since_thinning;
        for change in changes {
            counts.push(match change {
                Change::Settle(lane, settlement) => {
                    attempts += settlement.attempts.len() as u64;
                    rows::settle(&tx, lane, settlement)?;
                    0
                }
                Change::Revive(lane, ids) => rows::revive(&tx, lane.as_ref(), ids.as_deref(), now)?,
            });
        }
        if attempts >= THIN_EVERY {
            rows::thin_attempts(&tx, self.setup.attempts_max)?;
            attempts = 0;
        }
        tx.commit()?;
        self.attempts_since_thinning = attempts;
        Ok(counts)
    }

    fn look_for_changes(&self, version: &mut i64) {
        match rows::data_version(&self.db) {
            Ok(found) if found != *version => {
                *version = found;
                self.changed.send_modify(|changes| *changes += 1);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "The lanes' state could not be looked at."),
        }
    }

    fn sweep(&self) {
        let Some(retention) = self.setup.retention else { return };
        let horizon = self.setup.clock.now().minus(retention);
        if let Err(error) = rows::age_attempts(&self.db, horizon) {
            tracing::warn!(%error, "Old attempts could not be deleted.");
        }
    }
}

fn answer<T>(result: rusqlite::Result<T>) -> Result<T, LanesError> {
    result.map_err(|error| LanesError::Engine(error.into()))
}
