//! The ledger: follows the journal and keeps the books.
//!
//! Reads entries after its cursor; writes cursor, rows and notes to be told in one transaction, and
//! only then appends those notes to the journal. `counts` decides what is counted where.
//!
//! Invariant: a note is appended only while it is stored as pending, and only once everything after
//! the stored cursor was read without meeting it. So it stands in the journal once, at whatever step
//! the process ends: seen there, it is no longer pending.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use domain::{
    budget::Budget,
    call::Call,
    exchange::Exchange,
    failure::Failure,
    id::EventId,
    note::Note,
    record::{Entry, Record, Sequence},
    time::{Clock, Timestamp},
};
use provider::{derive, price::Prices};
use store::{
    journal::{AppendError, Journal, ReadError, ReadLimit},
    lanes::LanesError,
    state::{SpendStep, Spending},
};
use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::counts::Counts;

/// What one read brings, at most.
const LIMIT: ReadLimit = ReadLimit { entries_max: 256, bytes_max: 4 << 20 };
/// How long the journal is left alone once all of it is read: waking for each commit costs more than
/// reading.
const REST: Duration = Duration::from_millis(20);
/// How long counted outcomes may wait to be stored. A crash counts them again.
const STORE_WITHIN: Duration = Duration::from_millis(250);
/// How long to wait after the store or the journal failed.
const PAUSE: Duration = Duration::from_secs(1);
/// Failures in a row of which one is logged.
const LOG_EVERY: u32 = 60;
/// How often rows are looked through for periods that are over.
const SWEEP: Duration = Duration::from_mins(1);

/// Counts what calls cost against budgets.
pub struct Ledger {
    counts: RwLock<Counts>,
    progress: Mutex<Progress>,
    journal: Arc<dyn Journal>,
    spending: Arc<dyn Spending>,
    clock: Arc<dyn Clock>,
    prices: Arc<Prices>,
}

/// How far the ledger is.
#[derive(Debug, Default)]
struct Progress {
    /// Up to where entries are counted; `None` before the stored state was loaded.
    cursor: Option<Sequence>,
    /// Since when there is something to be stored.
    unstored_since: Option<Instant>,
    /// Notes that were not seen in the journal yet, by age.
    pending: BTreeMap<u64, Pending>,
    notes_made: u64,
    /// Stored notes that were seen in the journal since the last step.
    told: Vec<EventId>,
    /// Up to which time rows were looked through.
    swept_at: Timestamp,
    /// When the newest counted outcome ended.
    outcome_at: Timestamp,
}

#[derive(Debug)]
struct Pending {
    note: Note,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Only here.
    Made,
    /// In the state, and not in the journal.
    Stored,
    /// In the journal; its entry comes along.
    Appended,
}

/// Why spending could not be brought up to date. What was stored stays as it is, and the next try
/// goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The journal did not give its entries.
    #[error("could not read what calls cost")]
    Read(#[source] ReadError),
    /// What was spent could not be read or written.
    #[error("could not keep what was spent")]
    Keep(#[source] LanesError),
    /// A note was not taken by the journal.
    #[error("could not tell that a budget is reached")]
    Tell(#[source] AppendError),
}

impl Ledger {
    /// A ledger that has read nothing yet. `org_id` goes into the events.
    pub fn new(
        budgets: Vec<Budget>,
        org_id: String,
        journal: Arc<dyn Journal>,
        spending: Arc<dyn Spending>,
        clock: Arc<dyn Clock>,
        prices: Arc<Prices>,
    ) -> Self {
        Self {
            counts: RwLock::new(Counts::new(budgets, org_id)),
            progress: Mutex::default(),
            journal,
            spending,
            clock,
            prices,
        }
    }

    /// Counts everything that the journal holds by now. Before it the ledger refuses nobody, so call it
    /// before callers are let in. The very first time it begins at the journal's end: a budget
    /// counts from its first start on. Without budgets it does nothing.
    pub async fn catch_up(&self) -> Result<(), LedgerError> {
        if self.counts().is_idle() {
            return Ok(());
        }
        let mut progress = self.progress.lock().await;
        self.load(&mut progress).await?;
        while self.read(&mut progress).await? {}
        self.keep(&mut progress).await?;
        self.tell(&mut progress).await
    }

    /// Follows the journal until `stop`, or until the store is closed. Failures are logged and
    /// tried again. Without budgets it returns at once.
    pub async fn run(&self, stop: CancellationToken) {
        if self.counts().is_idle() {
            return;
        }
        let mut head = self.journal.head();
        let mut progress = self.progress.lock().await;
        let mut failures = 0_u32;
        loop {
            match self.follow(&mut progress, &mut head, &stop).await {
                Ok(()) => break,
                Err(error) if error.is_closed() => return,
                Err(error) if failures.is_multiple_of(LOG_EVERY) => tracing::warn!(
                    error = %error, cause = error.cause(),
                    "Spending could not be brought up to date; it is tried every second.",
                ),
                Err(_) => {}
            }
            failures = failures.wrapping_add(1);
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        if let Err(error) = self.keep(&mut progress).await
            && !error.is_closed()
        {
            tracing::warn!(
                error = %error, cause = error.cause(),
                "What was counted last is not stored; the next start counts it again.",
            );
        }
    }

    /// Why a call is refused, or `None`: a budget that it counts against is spent. Does not wait.
    pub fn refusal(&self, call: &Call) -> Option<Failure> {
        self.counts().refusal(call)
    }

    /// Reads, keeps and tells until `stop`.
    async fn follow(
        &self,
        progress: &mut Progress,
        head: &mut watch::Receiver<Sequence>,
        stop: &CancellationToken,
    ) -> Result<(), LedgerError> {
        self.load(progress).await?;
        loop {
            head.mark_unchanged();
            let more = self.read(progress).await?;
            let due = progress.unstored_since.is_some_and(|since| since.elapsed() >= STORE_WITHIN);
            if due || progress.is_at(Stage::Made) {
                self.keep(progress).await?;
            }
            if more {
                if stop.is_cancelled() {
                    return Ok(());
                }
                tokio::task::yield_now().await;
                continue;
            }
            // All is read, so a stored note that was not met is not there.
            self.tell(progress).await?;
            let store_at = progress.unstored_since.map(|since| since + STORE_WITHIN);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                changed = head.changed() => if changed.is_err() { return Ok(()) },
                () = sleep_until(store_at) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(REST) => {}
            }
        }
    }

    /// Loads the stored state, once.
    async fn load(&self, progress: &mut Progress) -> Result<(), LedgerError> {
        if progress.cursor.is_some() {
            return Ok(());
        }
        let spent = self.spending.load().await.map_err(LedgerError::Keep)?;
        let mut counts = self.counts_mut();
        for row in spent.rows {
            counts.insert(row);
        }
        drop(counts);
        for note in spent.pending {
            progress.add(note, Stage::Stored);
        }
        if spent.cursor.is_none() {
            // Else a crash before the first outcome would begin later.
            progress.unstored_since = Some(Instant::now());
        }
        progress.cursor = Some(spent.cursor.unwrap_or_else(|| *self.journal.head().borrow()));
        Ok(())
    }

    /// Counts the next entries. Returns whether there were any.
    async fn read(&self, progress: &mut Progress) -> Result<bool, LedgerError> {
        let cursor = progress.cursor.unwrap_or_default();
        let entries = match self.journal.read_after(cursor, LIMIT).await {
            Ok(entries) => entries,
            Err(ReadError::Corrupt { sequence, what }) => {
                tracing::error!(
                    sequence = sequence.0,
                    what,
                    "What a call cost cannot be read; it does not count.",
                );
                progress.cursor = Some(sequence);
                return Ok(true);
            }
            Err(error) => return Err(LedgerError::Read(error)),
        };
        let Some(last) = entries.last() else { return Ok(false) };
        for entry in &entries {
            self.take(progress, entry);
        }
        progress.cursor = Some(last.sequence);
        progress.unstored_since.get_or_insert_with(Instant::now);
        self.forget(progress);
        Ok(true)
    }

    fn take(&self, progress: &mut Progress, entry: &Entry) {
        match &entry.record {
            Record::Sealed(exchange) => {
                let at = exchange.facts.finished_at;
                progress.outcome_at = at;
                let Some(dollars) = self.cost(exchange) else { return };
                let notes = self.counts_mut().count(&exchange.facts.call, dollars, at);
                for note in notes {
                    progress.add(note, Stage::Made);
                }
            }
            Record::Noted(note) => progress.saw(&note.id),
            Record::Admitted(_) | Record::Captured(_) => {}
        }
    }

    /// What an exchange cost in US dollars, whether it is told of or not.
    fn cost(&self, exchange: &Arc<Exchange>) -> Option<f64> {
        // Without bytes no provider said what was consumed, and reading them is most of the work.
        if exchange.response.bytes.is_empty() {
            return None;
        }
        derive::report(exchange, &self.prices).cost.map(|cost| cost.total)
    }

    fn forget(&self, progress: &mut Progress) {
        // Either may be wrong for once: a clock that jumped must not drop what is being counted.
        let horizon = self.clock.now().min(progress.outcome_at);
        if horizon < progress.swept_at || horizon.since(progress.swept_at) >= SWEEP {
            progress.swept_at = horizon;
            self.counts_mut().forget_before(horizon);
        }
    }

    /// Stores what was counted, in one step.
    async fn keep(&self, progress: &mut Progress) -> Result<(), LedgerError> {
        let Some(cursor) = progress.cursor else { return Ok(()) };
        if progress.unstored_since.is_none() {
            return Ok(());
        }
        let (rows, forgotten) = self.counts().changes();
        let made = progress.pending.values().filter(|pending| pending.stage == Stage::Made);
        let pending = made.map(|pending| pending.note.clone()).collect();
        let step = SpendStep { cursor, rows, forgotten, pending, told: progress.told.clone() };
        self.spending.advance(step).await.map_err(LedgerError::Keep)?;
        self.counts_mut().keep();
        progress.told.clear();
        progress.unstored_since = None;
        for pending in progress.pending.values_mut() {
            if pending.stage == Stage::Made {
                pending.stage = Stage::Stored;
            }
        }
        Ok(())
    }

    /// Appends the stored notes. Everything in the journal must have been read.
    async fn tell(&self, progress: &mut Progress) -> Result<(), LedgerError> {
        for pending in progress.pending.values_mut() {
            if pending.stage == Stage::Stored {
                let note = Record::Noted(Arc::new(pending.note.clone()));
                self.journal.append(note).await.map_err(LedgerError::Tell)?;
                pending.stage = Stage::Appended;
            }
        }
        Ok(())
    }

    fn counts(&self) -> RwLockReadGuard<'_, Counts> {
        self.counts.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts_mut(&self) -> RwLockWriteGuard<'_, Counts> {
        self.counts.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    fn add(&mut self, note: Note, stage: Stage) {
        self.notes_made += 1;
        self.pending.insert(self.notes_made, Pending { note, stage });
    }

    /// A note was met in the journal.
    fn saw(&mut self, id: &EventId) {
        let seen = self.pending.extract_if(.., |_, pending| pending.note.id == *id);
        self.told.extend(seen.map(|(_, pending)| pending.note.id));
    }

    fn is_at(&self, stage: Stage) -> bool {
        self.pending.values().any(|pending| pending.stage == stage)
    }
}

impl LedgerError {
    fn is_closed(&self) -> bool {
        matches!(
            self,
            Self::Read(ReadError::Closed)
                | Self::Keep(LanesError::Closed)
                | Self::Tell(AppendError::Closed)
        )
    }

    fn cause(&self) -> &(dyn std::error::Error + 'static) {
        match self {
            Self::Read(cause) => cause,
            Self::Keep(cause) => cause,
            Self::Tell(cause) => cause,
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
