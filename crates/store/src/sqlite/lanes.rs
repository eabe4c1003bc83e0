//! `Lanes` on `state.db`: a handle, and the threads that own the connections.
//!
//! One thread makes all changes, and answers what lanes ask: what queued up while a transaction ran
//! is the next transaction, whatever lanes it is from. The other reads what people look at.
//!
//! Invariant: a settlement is answered only once it is committed, and committed whole.

mod deliveries;
pub(super) mod rows;

use std::{
    io,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use domain::{
    delivery::{DeadLetter, Parked},
    id::{DeliveryId, DestinationName, EventId},
    record::Sequence,
    time::{Clock, Timestamp},
};
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use crate::{
    journal::BoxFuture,
    lanes::{DeliveryDetail, DeliveryQuery, DeliveryRow, Lanes, LanesError, Settlement},
    sqlite::{
        Durability, OpenError,
        files::{self, engine},
        migrate,
        queue::Queue,
        spending,
    },
};

/// How often the thread looks for changes by other processes.
const POLL: Duration = Duration::from_secs(1);
/// How often attempts past retention are deleted.
const SWEEP: Duration = Duration::from_mins(1);
/// Attempts written after which their number is bounded again.
const THIN_EVERY: u64 = 1000;
/// Nothing to do between reads for people.
const PATIENCE: Duration = Duration::from_hours(1);
/// How long a transaction waits for one of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A handle to the lanes' state. It outlives the store as a closed one.
#[derive(Debug)]
pub(super) struct SqliteLanes {
    queue: Arc<Queue<Job>>,
    pages: Arc<Queue<Read>>,
    changed: watch::Sender<u64>,
    /// Without a store, the handle owns the thread.
    _thread: Option<LanesThread>,
}

/// The threads. Dropping it commits what is queued.
#[derive(Debug)]
pub(super) struct LanesThread {
    queue: Arc<Queue<Job>>,
    thread: Option<JoinHandle<()>>,
    pages: Arc<Queue<Read>>,
    reader: Option<JoinHandle<()>>,
}

/// A read, which answers by itself.
type Read = Box<dyn FnOnce(&Connection) + Send>;

/// A change that another module of the engine makes. It may be tried more than once.
type Act = Box<dyn Fn(&Connection, Timestamp) -> rusqlite::Result<usize> + Send>;

/// What the thread is asked for.
enum Job {
    Change(ChangeJob),
    Read(Read),
}

type Answer<T> = oneshot::Sender<Result<T, LanesError>>;

struct ChangeJob {
    change: Change,
    /// Gets the number of rows or deliveries that changed.
    done: Answer<usize>,
}

enum Change {
    Settle(DestinationName, Settlement),
    Act(Act),
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
    let counted = spending::cursor(&db).map_err(engine(path))?;
    let furthest = cursors.into_iter().map(|(_, cursor)| cursor).chain(counted).max();
    Ok((db, furthest.unwrap_or_default()))
}

/// Starts the threads. `path` is the database's.
pub(super) fn start(
    db: Connection,
    path: &Path,
    setup: Setup,
) -> io::Result<(SqliteLanes, LanesThread)> {
    let queue = Arc::new(Queue::new());
    let pages = Arc::new(Queue::new());
    let changed = watch::Sender::new(0);
    let state = State {
        db,
        queue: Arc::clone(&queue),
        changed: changed.clone(),
        setup,
        attempts_since_thinning: 0,
    };
    // From here on, dropping it ends what was started.
    let mut threads = LanesThread {
        queue: Arc::clone(&queue),
        thread: None,
        pages: Arc::clone(&pages),
        reader: None,
    };
    let named = |name: &str| thread::Builder::new().name(name.to_owned());
    threads.thread = Some(named("store-lanes").spawn(move || state.run())?);
    let (path, jobs) = (path.to_owned(), Arc::clone(&pages));
    threads.reader = Some(named("store-pages").spawn(move || serve_pages(&path, &jobs))?);
    Ok((SqliteLanes { queue, pages, changed, _thread: None }, threads))
}

/// Serves reads for people until the queue is closed. A connection that cannot be opened is tried
/// again with the next read; a read that is dropped tells its future.
fn serve_pages(path: &Path, queue: &Queue<Read>) {
    let _closing = queue.close_on_drop();
    let mut db = None;
    let mut jobs = Vec::new();
    while queue.take(&mut jobs, PATIENCE) {
        for read in jobs.drain(..) {
            match &db {
                Some(db) => read(db),
                None => match open_pages(path) {
                    Ok(opened) => read(db.insert(opened)),
                    Err(error) => {
                        tracing::warn!(%error, "The deliveries' pages could not be opened.");
                    }
                },
            }
        }
    }
}

fn open_pages(path: &Path) -> rusqlite::Result<Connection> {
    let db = files::database(path)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.pragma_update(None, "query_only", true)?;
    deliveries::add_functions(&db)?;
    Ok(db)
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
        Self {
            queue: Arc::clone(&self.queue),
            pages: Arc::clone(&self.pages),
            changed: self.changed.clone(),
            _thread: None,
        }
    }

    /// All cursors. Blocks; not for a runtime's thread.
    pub(super) fn cursors_blocking(&self) -> Result<Vec<(DestinationName, Sequence)>, LanesError> {
        let (done, answered) = oneshot::channel();
        let read = Box::new(|db: &_| drop(done.send(answer(rows::cursors(db)))));
        drop(self.queue.push(Job::Read(read), 0));
        answered.blocking_recv().unwrap_or(Err(LanesError::Closed))
    }

    /// Reads once all changes that were asked for before are made.
    pub(super) fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, LanesError>> {
        ask(|done| {
            // Whoever asked may have left meanwhile.
            let read = Box::new(move |db: &_| drop(done.send(answer(read(db)))));
            drop(self.queue.push(Job::Read(read), 0));
        })
    }

    /// Reads beside the changes, for people.
    fn show<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, LanesError>> {
        ask(|done| {
            drop(self.pages.push(Box::new(move |db| drop(done.send(answer(read(db))))), 0));
        })
    }

    /// Makes a change, in one transaction with those around it. It may be tried more than once.
    pub(super) fn change(
        &self,
        act: impl Fn(&Connection, Timestamp) -> rusqlite::Result<usize> + Send + 'static,
    ) -> BoxFuture<'_, Result<usize, LanesError>> {
        self.make(Change::Act(Box::new(act)))
    }

    fn make(&self, change: Change) -> BoxFuture<'_, Result<usize, LanesError>> {
        ask(|done| drop(self.queue.push(Job::Change(ChangeJob { change, done }), 0)))
    }
}

/// Queues a job at once; a closed queue drops it, and that tells the future.
fn ask<'a, T: Send + 'static>(
    push: impl FnOnce(Answer<T>),
) -> BoxFuture<'a, Result<T, LanesError>> {
    let (done, answered) = oneshot::channel();
    push(done);
    Box::pin(async { answered.await.unwrap_or(Err(LanesError::Closed)) })
}

impl Lanes for SqliteLanes {
    fn cursor(
        &self,
        lane: &DestinationName,
    ) -> BoxFuture<'_, Result<Option<Sequence>, LanesError>> {
        let lane = lane.clone();
        self.read(move |db| rows::cursor(db, &lane))
    }

    fn settle(
        &self,
        lane: &DestinationName,
        settlement: Settlement,
    ) -> BoxFuture<'_, Result<(), LanesError>> {
        let settled = self.make(Change::Settle(lane.clone(), settlement));
        Box::pin(async { settled.await.map(|_| ()) })
    }

    fn parked(&self, lane: &DestinationName) -> BoxFuture<'_, Result<Vec<Parked>, LanesError>> {
        let lane = lane.clone();
        self.read(move |db| rows::parked(db, &lane))
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
        self.read(move |db| rows::dead_letters(db, lane.as_ref(), limit))
    }

    fn revive(
        &self,
        lane: &DestinationName,
        ids: Option<&[DeliveryId]>,
    ) -> BoxFuture<'_, Result<usize, LanesError>> {
        let (lane, ids) = (lane.clone(), ids.map(<[_]>::to_vec));
        self.change(move |db, now| rows::revive(db, &lane, ids.as_deref(), now))
    }

    fn deliveries(
        &self,
        query: DeliveryQuery,
    ) -> BoxFuture<'_, Result<Vec<DeliveryRow>, LanesError>> {
        self.show(move |db| deliveries::list(db, &query))
    }

    fn delivery(
        &self,
        lane: &DestinationName,
        id: &DeliveryId,
    ) -> BoxFuture<'_, Result<Option<DeliveryDetail>, LanesError>> {
        let (lane, id) = (lane.clone(), id.clone());
        self.show(move |db| deliveries::detail(db, &lane, &id))
    }

    fn dead_after(
        &self,
        lane: &DestinationName,
        cursor: Sequence,
    ) -> BoxFuture<'_, Result<Vec<EventId>, LanesError>> {
        let lane = lane.clone();
        self.read(move |db| rows::dead_after(db, &lane, cursor))
    }

    fn dead_count(&self, lane: &DestinationName) -> BoxFuture<'_, Result<u64, LanesError>> {
        let lane = lane.clone();
        self.read(move |db| rows::dead_count(db, &lane))
    }

    fn cursors(&self) -> BoxFuture<'_, Result<Vec<(DestinationName, Sequence)>, LanesError>> {
        self.read(rows::cursors)
    }

    fn mark_removed(&self, lanes: &[DestinationName]) -> BoxFuture<'_, Result<(), LanesError>> {
        let lanes = lanes.to_vec();
        let marked = self.change(move |db, _| rows::mark_removed(db, &lanes).map(|()| 0));
        Box::pin(async { marked.await.map(|_| ()) })
    }

    fn removed(&self) -> BoxFuture<'_, Result<Vec<DestinationName>, LanesError>> {
        self.read(rows::removed)
    }

    fn forget(&self, lane: &DestinationName) -> BoxFuture<'_, Result<(), LanesError>> {
        let lane = lane.clone();
        let forgotten = self.change(move |db, _| rows::forget(db, &lane).map(|()| 0));
        Box::pin(async { forgotten.await.map(|_| ()) })
    }
}

impl Drop for LanesThread {
    fn drop(&mut self) {
        // The thread that writes ends last, for the last connection tidies the files up.
        self.pages.close();
        let reader = self.reader.take().map(JoinHandle::join);
        self.queue.close();
        let thread = self.thread.take().map(JoinHandle::join);
        if reader.into_iter().chain(thread).any(|ended| ended.is_err()) {
            tracing::error!("A thread of the lanes' state panicked.");
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
            match job {
                Job::Change(change) => changes.push(change),
                Job::Read(read) => {
                    self.commit(&mut changes);
                    read(&self.db);
                }
            }
        }
        self.commit(&mut changes);
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
                Change::Act(act) => act(&tx, now)?,
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
