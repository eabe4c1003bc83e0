//! What the journal's threads and its users share.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use domain::{
    call::Call,
    id::CallId,
    record::{Entry, Record, Sequence},
};
use tokio::sync::{oneshot, watch};

use crate::{
    journal::{AppendError, Health, ReadError, ReadLimit},
    sqlite::{Config, ballast::Ballast, catalog::Catalog, queue::Queue, tail::Tail},
};

/// What the journal's threads and its users share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) appends: Queue<AppendJob>,
    pub(super) reads: Queue<ReadJob>,
    pub(super) catalog: Catalog,
    pub(super) tail: Tail,
    pub(super) head: watch::Sender<Sequence>,
    committed: AtomicU64,
    health: HealthCell,
    interrupted: Mutex<HashMap<CallId, Arc<Call>>>,
}

/// A record on its way to the writer.
#[derive(Debug)]
pub(super) struct AppendJob {
    pub(super) record: Record,
    pub(super) done: oneshot::Sender<Result<Sequence, AppendError>>,
}

/// A read that the tail could not serve.
#[derive(Debug)]
pub(super) struct ReadJob {
    pub(super) cursor: Sequence,
    pub(super) limit: ReadLimit,
    pub(super) done: oneshot::Sender<Result<Vec<Arc<Entry>>, ReadError>>,
}

/// `Health`, cheap to ask for each call.
#[derive(Debug, Default)]
struct HealthCell {
    refusing: AtomicBool,
    reason: Mutex<String>,
}

impl Shared {
    pub(super) fn new(
        catalog: Catalog,
        head: Sequence,
        config: Config,
        interrupted: HashMap<CallId, Arc<Call>>,
    ) -> Self {
        Self {
            appends: Queue::new(),
            reads: Queue::new(),
            catalog,
            tail: Tail::new(config.tail_bytes_max),
            head: watch::Sender::new(head),
            committed: AtomicU64::new(head.0),
            config,
            health: HealthCell::default(),
            interrupted: Mutex::new(interrupted),
        }
    }

    /// The last committed position. Unlike `head`, which wakes lanes and therefore comes last, it is
    /// there before an append is answered.
    pub(super) fn committed(&self) -> Sequence {
        Sequence(self.committed.load(Ordering::Acquire))
    }

    pub(super) fn set_committed(&self, head: Sequence) {
        self.committed.store(head.0, Ordering::Release);
    }

    /// Why no calls are admitted, if so.
    pub(super) fn refusal(&self) -> Option<String> {
        self.health.refusing.load(Ordering::Relaxed).then(|| lock(&self.health.reason).clone())
    }

    pub(super) fn set_health(&self, health: Health) {
        match health {
            Health::Ready => self.health.refusing.store(false, Ordering::Relaxed),
            Health::Refusing(reason) => {
                *lock(&self.health.reason) = reason;
                self.health.refusing.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Another user of the disk found it full: its room is needed, and calls are refused.
    pub(super) fn meet_full_disk(&self, ballast: &Ballast) {
        let reason = format!("the disk that holds `{}` is full", self.catalog.dir().display());
        if self.refusal().is_none() {
            tracing::error!(reason, "The journal takes no new calls; it tries again every second.");
        }
        self.set_health(Health::Refusing(reason));
        if let Err(error) = ballast.release() {
            tracing::error!(%error, "The ballast could not be removed.");
        }
    }

    /// Calls of earlier processes without an outcome.
    pub(super) fn interrupted(&self) -> MutexGuard<'_, HashMap<CallId, Arc<Call>>> {
        lock(&self.interrupted)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
