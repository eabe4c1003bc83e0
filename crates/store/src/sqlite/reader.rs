//! The thread that reads what is no longer in memory, for lanes that lag.

use std::sync::Arc;

use domain::record::{Entry, Sequence};

use crate::{
    journal::{ReadError, ReadLimit},
    sqlite::{
        period_reader::{PeriodReader, corrupt},
        shared::{ReadJob, Shared},
        tail::Taken,
    },
};

/// Periods kept open: lanes that lag are seldom in more than a few.
const OPEN_MAX: usize = 4;
/// Nothing to do between reads.
const PATIENCE: std::time::Duration = std::time::Duration::from_hours(1);

/// The reader's connections.
#[derive(Debug)]
pub(super) struct Reader {
    shared: Arc<Shared>,
    /// The most recently used first.
    open: Vec<(Sequence, PeriodReader)>,
}

impl Reader {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, open: Vec::new() }
    }

    /// Serves reads until the queue is closed.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _closing = shared.reads.close_on_drop();
        let mut jobs = Vec::new();
        while self.shared.reads.take(&mut jobs, PATIENCE) {
            for ReadJob { cursor, limit, done } in jobs.drain(..) {
                if !done.is_closed() {
                    // The reader may have left meanwhile.
                    let _ = done.send(self.read_after(cursor, limit));
                }
            }
        }
    }

    fn read_after(
        &mut self,
        mut cursor: Sequence,
        limit: ReadLimit,
    ) -> Result<Vec<Arc<Entry>>, ReadError> {
        let mut taken = Taken::new(limit);
        while let Some(period) = self.shared.catalog.holding(cursor.next()) {
            match self.read_period(period.first, cursor, &mut taken) {
                // Retention was faster. What is after the period may still be there.
                Err(_) if self.is_gone(period.first) => {}
                Err(ReadError::Corrupt { .. }) if !taken.entries.is_empty() => break,
                Err(error) => {
                    // The next try opens the files anew.
                    self.open.retain(|(first, _)| *first != period.first);
                    // What was read is whole, and whoever goes on meets the error first thing.
                    if taken.entries.is_empty() {
                        return Err(error);
                    }
                    break;
                }
                Ok(false) => break,
                Ok(true) => {
                    if let Some(next) = period.next
                        && let Err(error) = self.check_seam(period.first, cursor, next)
                    {
                        if taken.entries.is_empty() {
                            return Err(error);
                        }
                        break;
                    }
                }
            }
            let Some(next) = period.next else { break };
            cursor = cursor.max(Sequence(next.0 - 1));
        }
        Ok(taken.entries)
    }

    fn read_period(
        &mut self,
        first: Sequence,
        cursor: Sequence,
        taken: &mut Taken,
    ) -> Result<bool, ReadError> {
        self.period(first)?.read_after(cursor, taken)
    }

    /// Checks that a period holds everything up to where the next one says that it ended.
    fn check_seam(
        &mut self,
        first: Sequence,
        cursor: Sequence,
        next: Sequence,
    ) -> Result<(), ReadError> {
        let stored = self.period(first)?.last()?.unwrap_or(Sequence(first.0 - 1));
        let ended = self.period(next)?.head_before()?;
        if stored.max(cursor) < ended {
            return Err(corrupt(stored.max(cursor).next(), "its period ends before it"));
        }
        Ok(())
    }

    fn period(&mut self, first: Sequence) -> Result<&PeriodReader, ReadError> {
        let found = self.open.iter().position(|(open, _)| *open == first);
        let at = if let Some(at) = found {
            at
        } else {
            let catalog = &self.shared.catalog;
            self.open.retain(|(open, _)| catalog.holding(*open).is_some_and(|p| p.first == *open));
            self.open.truncate(OPEN_MAX - 1);
            self.open.push((first, PeriodReader::open(catalog, first)?));
            self.open.len() - 1
        };
        self.open[..=at].rotate_right(1);
        Ok(&self.open[0].1)
    }

    fn is_gone(&self, first: Sequence) -> bool {
        self.shared.catalog.oldest().is_none_or(|oldest| oldest > first)
    }
}
