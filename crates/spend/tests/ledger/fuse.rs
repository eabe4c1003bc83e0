//! A store that fails when it is told to: as if the process had been killed between two steps, or
//! with troubles that pass.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use domain::{
    call::Call,
    record::{Entry, Record, Sequence},
};
use store::{
    journal::{AppendError, BoxFuture, Commit, Health, Journal, ReadError, ReadLimit},
    lanes::LanesError,
    state::{SpendStep, Spending, Spent},
};
use tokio::sync::watch;

/// Which side of the step the process is killed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    BeforeIt,
    AfterIt,
}

/// What lets steps through, for a while.
#[derive(Debug, Clone)]
pub(crate) struct Fuse {
    /// Steps that still go through.
    left: Arc<AtomicI64>,
    cut: Cut,
    /// Appends that are refused first.
    refusals: Arc<AtomicI64>,
    corrupt: Option<Sequence>,
}

/// What becomes of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Taken,
    /// It is done, but nobody learns of it.
    Unheard,
    Cut,
}

impl Fuse {
    pub(crate) fn none() -> Self {
        Self::blowing(i64::MAX, Cut::BeforeIt)
    }

    /// Kills the process at its step of this number, from 0.
    pub(crate) fn blowing(at: i64, cut: Cut) -> Self {
        let refusals = Arc::new(AtomicI64::new(0));
        Self { left: Arc::new(AtomicI64::new(at)), cut, refusals, corrupt: None }
    }

    /// Refuses the first appends.
    pub(crate) fn refusing(appends: i64) -> Self {
        let fuse = Self::none();
        fuse.refusals.store(appends, Ordering::Relaxed);
        fuse
    }

    /// Finds a record corrupt.
    pub(crate) fn corrupting(sequence: u64) -> Self {
        Self { corrupt: Some(Sequence(sequence)), ..Self::none() }
    }

    pub(crate) fn is_blown(&self) -> bool {
        self.left.load(Ordering::Relaxed) < 0
    }

    pub(crate) fn journal(&self, inner: Arc<dyn Journal>) -> Arc<dyn Journal> {
        Arc::new(FusedJournal { inner, fuse: self.clone() })
    }

    pub(crate) fn spending(&self, inner: Arc<dyn Spending>) -> Arc<dyn Spending> {
        Arc::new(FusedSpending { inner, fuse: self.clone() })
    }

    fn step(&self) -> Step {
        match self.left.fetch_sub(1, Ordering::Relaxed) {
            1.. => Step::Taken,
            0 if self.cut == Cut::AfterIt => Step::Unheard,
            _ => Step::Cut,
        }
    }
}

struct FusedJournal {
    inner: Arc<dyn Journal>,
    fuse: Fuse,
}

impl Journal for FusedJournal {
    fn append(&self, record: Record) -> Commit {
        if self.fuse.refusals.fetch_sub(1, Ordering::Relaxed) > 0 {
            let (done, commit) = Commit::pair();
            done.send(Err(AppendError::Refusing { reason: "full".to_owned() })).unwrap();
            return commit;
        }
        match self.fuse.step() {
            Step::Taken => self.inner.append(record),
            Step::Unheard => {
                drop(self.inner.append(record));
                Commit::pair().1
            }
            Step::Cut => Commit::pair().1,
        }
    }

    fn append_soon(&self, record: Record) -> Commit {
        self.append(record)
    }

    fn hurry(&self) {
        self.inner.hurry();
    }

    fn head(&self) -> watch::Receiver<Sequence> {
        self.inner.head()
    }

    fn oldest(&self) -> Sequence {
        self.inner.oldest()
    }

    fn read_after(
        &self,
        cursor: Sequence,
        limit: ReadLimit,
    ) -> BoxFuture<'_, Result<Vec<Arc<Entry>>, ReadError>> {
        if self.fuse.step() != Step::Taken {
            return Box::pin(std::future::ready(Err(ReadError::Closed)));
        }
        if let Some(sequence) = self.fuse.corrupt.filter(|sequence| cursor < *sequence) {
            let what = "made so".to_owned();
            return Box::pin(std::future::ready(Err(ReadError::Corrupt { sequence, what })));
        }
        self.inner.read_after(cursor, limit)
    }

    fn unsettled(&self) -> BoxFuture<'_, Result<Vec<Arc<Call>>, ReadError>> {
        self.inner.unsettled()
    }

    fn health(&self) -> Health {
        self.inner.health()
    }
}

struct FusedSpending {
    inner: Arc<dyn Spending>,
    fuse: Fuse,
}

impl Spending for FusedSpending {
    fn load(&self) -> BoxFuture<'_, Result<Spent, LanesError>> {
        match self.fuse.step() {
            Step::Taken => self.inner.load(),
            Step::Unheard | Step::Cut => Box::pin(std::future::ready(Err(LanesError::Closed))),
        }
    }

    fn advance(&self, step: SpendStep) -> BoxFuture<'_, Result<(), LanesError>> {
        match self.fuse.step() {
            Step::Taken => self.inner.advance(step),
            Step::Unheard => {
                let advanced = self.inner.advance(step);
                Box::pin(async {
                    advanced.await?;
                    Err(LanesError::Closed)
                })
            }
            Step::Cut => Box::pin(std::future::ready(Err(LanesError::Closed))),
        }
    }
}
