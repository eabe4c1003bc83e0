//! A model of the store: what is durable apart from what is not, with time that passes between
//! asking and answering, and disks that fail.
//!
//! Two workers stand for the engine's threads: one commits groups of records, one makes changes and
//! reads in the order in which they were asked for. A job runs whether anybody waits for it or not.
//! Before it takes effect, and again before it is answered, the process may die.
//!
//! Invariant: what `store::conformance` asks of every engine.

pub mod disk;
mod journal;
mod lanes;
mod pages;
mod state;

use std::{
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use domain::{
    call::Call,
    id::{CallId, DeliveryId, DestinationName},
    record::{Entry, Record, Sequence},
    time::Clock,
};
use store::{
    conformance::Opened,
    journal::{AppendError, BoxError, BoxFuture},
    lanes::{LanesError, Settlement},
};
use tokio::sync::{Notify, oneshot, watch};

use self::disk::{Disk, Replaced};
use crate::process::Process;

/// Who looks at what becomes durable, in the moment in which it does.
pub trait Witness: Send + Sync + 'static {
    /// A record is committed.
    fn committed(&self, entry: &Arc<Entry>);

    /// A lane asked for its cursor: it begins anew.
    fn opened(&self, lane: &DestinationName, disk: &Disk);

    /// A settlement is stored.
    fn settled(
        &self,
        lane: &DestinationName,
        settlement: &Settlement,
        replaced: &Replaced,
        disk: &Disk,
    );

    /// A dead letter waits again.
    fn revived(&self, lane: &DestinationName, id: &DeliveryId);
}

/// Nobody looks.
#[derive(Debug)]
pub struct NoWitness;

impl Witness for NoWitness {
    fn committed(&self, _: &Arc<Entry>) {}
    fn opened(&self, _: &DestinationName, _: &Disk) {}
    fn settled(&self, _: &DestinationName, _: &Settlement, _: &Replaced, _: &Disk) {}
    fn revived(&self, _: &DestinationName, _: &DeliveryId) {}
}

/// How long the engine takes, and how often it fails.
#[derive(Debug, Default)]
pub struct Disks {
    /// Milliseconds that a commit takes, at least and at most.
    commit_ms: [AtomicU32; 2],
    /// Milliseconds that everything but the journal takes longer for now.
    stall_ms: AtomicU32,
    /// Operations of a thousand that fail.
    failing: AtomicU32,
}

impl Disks {
    /// Sets how long a commit takes.
    pub fn set_commit_ms(&self, range: &RangeInclusive<u32>) {
        self.commit_ms[0].store(*range.start(), Ordering::Relaxed);
        self.commit_ms[1].store(*range.end(), Ordering::Relaxed);
    }

    /// Sets how much longer everything but the journal takes for now.
    pub fn set_stall_ms(&self, ms: u32) {
        self.stall_ms.store(ms, Ordering::Relaxed);
    }

    /// Sets how many operations of a thousand fail.
    pub fn set_failing(&self, permille: u32) {
        self.failing.store(permille, Ordering::Relaxed);
    }

    fn commit_time(&self, dice: &mut fastrand::Rng) -> Duration {
        let [least, most] = [0, 1].map(|end| self.commit_ms[end].load(Ordering::Relaxed));
        Duration::from_millis(u64::from(dice.u32(least..=most.max(least))))
    }

    /// How long an operation takes at most for now.
    pub fn slowest(&self) -> Duration {
        Duration::from_millis(self.commit_ms[1].load(Ordering::Relaxed).into()) + self.stall()
    }

    fn stall(&self) -> Duration {
        Duration::from_millis(self.stall_ms.load(Ordering::Relaxed).into())
    }

    fn fails(&self, dice: &mut fastrand::Rng) -> bool {
        dice.u32(0..1_000) < self.failing.load(Ordering::Relaxed)
    }
}

/// What the engine is made of.
pub struct Parts {
    /// What survives.
    pub disk: Arc<Mutex<Disk>>,
    /// How it behaves.
    pub disks: Arc<Disks>,
    /// The life that it belongs to.
    pub process: Arc<Process>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Who looks.
    pub witness: Arc<dyn Witness>,
    /// For its choices.
    pub dice: fastrand::Rng,
    /// Whether everything happens at once and nothing fails: then no worker is needed.
    pub is_instant: bool,
}

/// An open store.
pub struct Engine {
    disk: Arc<Mutex<Disk>>,
    disks: Arc<Disks>,
    process: Arc<Process>,
    clock: Arc<dyn Clock>,
    witness: Arc<dyn Witness>,
    dice: Mutex<fastrand::Rng>,
    is_instant: bool,
    is_closed: AtomicBool,
    appends: Mutex<Vec<Append>>,
    append_asked: Notify,
    jobs: Mutex<Vec<Job>>,
    job_asked: Notify,
    /// One channel a receiver, so that they wake in the order in which they asked.
    heads: Mutex<Vec<watch::Sender<Sequence>>>,
    changes: Mutex<Vec<watch::Sender<u64>>>,
    open_before: Vec<Arc<Call>>,
}

struct Append {
    record: Record,
    done: oneshot::Sender<Result<Sequence, AppendError>>,
}

/// Says what it found or did.
type Answer = Box<dyn FnOnce() + Send>;

/// Does its work, unless the disk fails (`true`), and returns its answer.
type Job = Box<dyn FnOnce(&mut Disk, bool) -> Answer + Send>;

impl Engine {
    /// Opens the store over a disk.
    pub fn open(parts: Parts) -> Arc<Self> {
        let Parts { disk, disks, process, clock, witness, dice, is_instant } = parts;
        let open_before = {
            let mut disk = lock(&disk);
            disk.pass_what_was_counted();
            disk.calls.values().flatten().cloned().collect()
        };
        Arc::new(Self {
            disk,
            disks,
            process,
            clock,
            witness,
            dice: Mutex::new(dice),
            is_instant,
            is_closed: AtomicBool::new(false),
            appends: Mutex::default(),
            append_asked: Notify::new(),
            jobs: Mutex::default(),
            job_asked: Notify::new(),
            heads: Mutex::default(),
            changes: Mutex::default(),
            open_before,
        })
    }

    /// As its users see it.
    pub fn opened(self: &Arc<Self>) -> Opened {
        Opened {
            journal: Arc::clone(self) as _,
            lanes: Arc::clone(self) as _,
            destinations: Arc::clone(self) as _,
            switches: Arc::clone(self) as _,
            spending: Arc::clone(self) as _,
        }
    }

    /// Commits what is queued, and answers nothing any more.
    pub fn close(&self) {
        self.commit_group(false);
        self.work_off(&mut |_| false);
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// Drops what is queued.
    pub fn crash(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        lock(&self.appends).clear();
        lock(&self.jobs).clear();
    }

    /// Whether nothing is on its way to the disk.
    pub fn is_quiet(&self) -> bool {
        lock(&self.appends).is_empty() && lock(&self.jobs).is_empty()
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    fn commit_time(&self) -> Duration {
        self.disks.commit_time(&mut lock(&self.dice))
    }

    fn fails(&self) -> bool {
        !self.is_instant && self.disks.fails(&mut lock(&self.dice))
    }

    /// The journal's thread.
    pub async fn write(self: Arc<Self>) {
        loop {
            self.append_asked.notified().await;
            tokio::time::sleep(self.commit_time()).await;
            self.process.step().await;
            self.commit_group(true);
        }
    }

    /// Commits what is queued as one group.
    fn commit_group(&self, may_die: bool) {
        let group = std::mem::take(&mut *lock(&self.appends));
        if group.is_empty() {
            return;
        }
        if self.fails() {
            let cause: Arc<dyn std::error::Error + Send + Sync> = trouble().into();
            for Append { done, .. } in group {
                let _ = done.send(Err(AppendError::Commit { cause: Arc::clone(&cause) }));
            }
            return;
        }
        let mut answers = Vec::with_capacity(group.len());
        let last = {
            let mut disk = lock(&self.disk);
            for Append { record, done } in group {
                let taken = disk.append(record);
                if let Ok(entry) = &taken {
                    self.witness.committed(entry);
                }
                answers.push((done, taken.map(|entry| entry.sequence)));
            }
            disk.last
        };
        if may_die && self.process.dies_here() {
            return;
        }
        for (done, taken) in answers {
            let _ = done.send(taken);
        }
        for head in lock(&self.heads).iter() {
            head.send_if_modified(|head| std::mem::replace(head, last) != last);
        }
    }

    /// The thread of everything else.
    pub async fn serve(self: Arc<Self>) {
        loop {
            self.job_asked.notified().await;
            tokio::time::sleep(self.commit_time() + self.disks.stall()).await;
            self.process.step().await;
            self.work_off(&mut |this| this.process.dies_here());
        }
    }

    fn work_off(&self, dies: &mut dyn FnMut(&Self) -> bool) {
        let jobs = std::mem::take(&mut *lock(&self.jobs));
        for job in jobs {
            if dies(self) {
                return;
            }
            let fails = self.fails();
            let answer = job(&mut lock(&self.disk), fails);
            if dies(self) {
                return;
            }
            answer();
        }
    }

    /// Queues a job at once. Its future resolves once it is done; never in a dead process.
    fn ask<'a, T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Disk) -> Result<T, BoxError> + Send + 'static,
    ) -> BoxFuture<'a, Result<T, LanesError>> {
        let (done, answered) = oneshot::channel();
        if self.is_closed() {
            drop(done);
        } else {
            let job: Job = Box::new(move |disk, fails| {
                let result = if fails { Err(trouble()) } else { work(disk) };
                Box::new(move || drop(done.send(result.map_err(LanesError::Engine))))
            });
            lock(&self.jobs).push(job);
            if self.is_instant {
                self.work_off(&mut |_| false);
            } else {
                self.job_asked.notify_one();
            }
        }
        let process = Arc::clone(&self.process);
        Box::pin(async move {
            match answered.await {
                Ok(answer) => answer,
                Err(_) if process.is_dead() => std::future::pending().await,
                Err(_) => Err(LanesError::Closed),
            }
        })
    }

    /// Revives all dead letters, as another process does.
    pub fn revive_from_outside(&self) {
        let mut disk = lock(&self.disk);
        let lanes: Vec<DestinationName> = disk.lanes.keys().cloned().collect();
        for lane in &lanes {
            for id in disk.revive(lane, None, self.clock.now()) {
                self.witness.revived(lane, &id);
            }
        }
        drop(disk);
        for change in lock(&self.changes).iter() {
            change.send_modify(|changes| *changes += 1);
        }
    }

    fn open_call(&self, id: CallId) -> bool {
        matches!(lock(&self.disk).calls.get(&id), Some(Some(_)))
    }
}

/// A receiver on a channel of its own.
fn subscribe<T>(channels: &Mutex<Vec<watch::Sender<T>>>, now: T) -> watch::Receiver<T> {
    let (sender, receiver) = watch::channel(now);
    let mut channels = lock(channels);
    channels.retain(|channel| !channel.is_closed());
    channels.push(sender);
    receiver
}

/// What a failing disk says.
fn trouble() -> BoxError {
    "input/output error (simulated)".into()
}

/// Locks what only one thread uses.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
