//! What became of deliveries, until it is stored: the lane's books.
//!
//! Invariant: what could not be stored is pending again, in its order, and nothing is sent
//! meanwhile: it would be sent again after a restart.

use std::{collections::HashSet, sync::Arc, time::Duration};

use domain::{id::DeliveryId, record::Sequence};
use store::{
    journal::BoxFuture,
    lanes::{LanesError, Settlement},
};
use tokio::time::Instant;

use crate::lane::{Lane, LaneError};

/// The shortest time between two settlements with rows, and between two that only move the cursor.
/// A crash repeats what was delivered since the last one, under the same ids.
const SETTLE_GAP: Duration = Duration::from_millis(10);
const CURSOR_GAP: Duration = Duration::from_secs(1);
/// How long a settlement that could not be stored waits before it is tried again.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// What is still to be stored, and what is being stored.
pub(crate) struct Books {
    pub(crate) pending: Settlement,
    storing: Option<Storing>,
    stored: Sequence,
    /// When the last settlement began; not by the wall clock, which may be set back.
    last: Option<Instant>,
    /// The last settlement could not be stored.
    is_failing: bool,
    /// Parked deliveries settled here, whose rows may not be gone yet.
    settled: HashSet<DeliveryId>,
}

struct Storing {
    stored: BoxFuture<'static, Result<(), LanesError>>,
    settlement: Settlement,
    /// The cursor before it.
    before: Sequence,
}

impl Books {
    pub(crate) fn new(stored: Sequence) -> Self {
        Self {
            pending: Settlement::default(),
            storing: None,
            stored,
            last: None,
            is_failing: false,
            settled: HashSet::new(),
        }
    }

    /// How long until the next settlement is due; `None` if there is nothing to store or one is under
    /// way.
    pub(crate) fn due_in(&self, cursor: Sequence) -> Option<Duration> {
        if self.storing.is_some() {
            return None;
        }
        let gap = match (self.is_failing, self.has_rows()) {
            (true, _) => STORE_PAUSE,
            (false, true) => SETTLE_GAP,
            (false, false) if cursor > self.stored => CURSOR_GAP,
            (false, false) => return None,
        };
        Some(self.last.map_or(Duration::ZERO, |last| gap.saturating_sub(last.elapsed())))
    }

    /// Attempts that are done and not known to be stored.
    pub(crate) fn unstored(&self) -> usize {
        let storing = self.storing.as_ref().map_or(0, |storing| storing.settlement.attempts.len());
        self.pending.attempts.len() + storing
    }

    /// Whether a parked delivery is settled here while its row may still be read.
    pub(crate) fn has_settled(&self, id: &DeliveryId) -> bool {
        self.settled.contains(id)
    }

    fn has_rows(&self) -> bool {
        let Settlement { cursor: _, parked, unparked, buried, attempts } = &self.pending;
        !(parked.is_empty() && unparked.is_empty() && buried.is_empty() && attempts.is_empty())
    }

    pub(crate) fn unpark(&mut self, id: DeliveryId) {
        self.pending.parked.retain(|parked| parked.id != id);
        self.settled.insert(id.clone());
        self.pending.unparked.push(id);
    }

    /// Whether what became of deliveries cannot be stored. Nothing is sent meanwhile: it would be
    /// sent again after a restart.
    pub(crate) fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// Resolves when a settlement under way has ended; never if there is none. One that failed is
    /// pending again, before what has come since.
    pub(crate) async fn settled(&mut self) -> Result<(), LanesError> {
        let Some(storing) = &mut self.storing else { return std::future::pending().await };
        let stored = storing.stored.as_mut().await;
        let Some(Storing { settlement, before, .. }) = self.storing.take() else { return stored };
        if stored.is_ok() {
            self.is_failing = false;
            for id in settlement.unparked {
                self.settled.remove(&id);
            }
            return stored;
        }
        self.is_failing = true;
        self.stored = before;
        let later = std::mem::replace(&mut self.pending, settlement);
        self.pending.cursor = None;
        for id in &later.unparked {
            self.pending.parked.retain(|parked| parked.id != *id);
        }
        self.pending.parked.extend(later.parked);
        self.pending.unparked.extend(later.unparked);
        self.pending.buried.extend(later.buried);
        self.pending.attempts.extend(later.attempts);
        stored
    }
}

impl Lane {
    /// Starts storing what is pending, if that is due.
    pub(crate) fn begin_settling(&mut self) {
        if self.books.due_in(self.window.cursor()) == Some(Duration::ZERO) {
            self.store();
        }
    }

    fn store(&mut self) {
        let mut settlement = std::mem::take(&mut self.books.pending);
        let before = self.books.stored;
        let cursor = self.window.cursor();
        if cursor > self.books.stored {
            settlement.cursor = Some(cursor);
            self.books.stored = cursor;
        }
        let (shared, name) = (Arc::clone(&self.shared), self.destination.name.clone());
        let rows = settlement.clone();
        let stored = Box::pin(async move { shared.lanes.settle(&name, rows).await });
        self.books.storing = Some(Storing { stored, settlement, before });
        self.books.last = Some(Instant::now());
    }

    /// Stores everything, and waits for it.
    pub(crate) async fn settle_all(&mut self) -> Result<(), LaneError> {
        if self.books.storing.is_some() {
            // What failed is tried once more below.
            let _ = self.books.settled().await;
        }
        if self.books.has_rows() || self.window.cursor() > self.books.stored {
            self.store();
            self.books.settled().await?;
        }
        Ok(())
    }

    /// Takes note of how a settlement ended.
    pub(crate) fn note_settled(&self, settled: Result<(), LanesError>) {
        if let Err(error) = settled {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(
                destination = %self.name(), %error, cause,
                "What became of deliveries could not be stored; nothing is sent until it can.",
            );
        }
    }
}
