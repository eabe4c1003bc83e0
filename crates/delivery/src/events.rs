//! Journal entries as events, derived once and shared by all lanes that keep up.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use domain::{
    event::Event,
    record::{Entry, Record, Sequence},
};
use provider::{derive::derive, price::Prices};
use store::journal::{Journal, ReadError, ReadLimit};

/// One entry's events. Few, mostly one; none for what is nobody's news.
#[derive(Debug)]
pub(crate) struct Derived {
    pub(crate) sequence: Sequence,
    pub(crate) events: Vec<Arc<Event>>,
}

/// Reads entries and derives their events. A bounded number of derived entries stays in memory: a
/// lane that lags derives again, at the price of CPU and not of memory.
pub(crate) struct Events {
    journal: Arc<dyn Journal>,
    prices: Prices,
    cache: Mutex<Cache>,
    cached_max: usize,
}

#[derive(Default)]
struct Cache {
    entries: HashMap<Sequence, Arc<OnceLock<Arc<Derived>>>>,
    order: VecDeque<Sequence>,
}

impl Events {
    pub(crate) fn new(journal: Arc<dyn Journal>, prices: Prices, cached_max: usize) -> Self {
        Self { journal, prices, cache: Mutex::default(), cached_max }
    }

    /// The journal's events after `cursor`, entry by entry.
    pub(crate) async fn read_after(
        &self,
        cursor: Sequence,
        limit: ReadLimit,
    ) -> Result<Vec<Arc<Derived>>, ReadError> {
        let entries = self.journal.read_after(cursor, limit).await?;
        Ok(entries.iter().map(|entry| self.derived(entry)).collect())
    }

    /// One entry's events; `None` if retention has deleted it.
    pub(crate) async fn read_at(&self, at: Sequence) -> Result<Option<Arc<Derived>>, ReadError> {
        let limit = ReadLimit { entries_max: 1, bytes_max: usize::MAX };
        let entries = self.journal.read_after(Sequence(at.0.saturating_sub(1)), limit).await?;
        Ok(entries.first().filter(|entry| entry.sequence == at).map(|entry| self.derived(entry)))
    }

    fn derived(&self, entry: &Entry) -> Arc<Derived> {
        let derived = || {
            let events = derive(entry, &self.prices).into_iter().map(Arc::new).collect();
            Arc::new(Derived { sequence: entry.sequence, events })
        };
        if matches!(entry.record, Record::Admitted(_)) {
            return derived();
        }
        let cell = {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.cell(entry.sequence, self.cached_max)
        };
        Arc::clone(cell.get_or_init(derived))
    }
}

impl Cache {
    fn cell(&mut self, sequence: Sequence, cached_max: usize) -> Arc<OnceLock<Arc<Derived>>> {
        if let Some(cell) = self.entries.get(&sequence) {
            return Arc::clone(cell);
        }
        while self.order.len() >= cached_max {
            if let Some(oldest) = self.order.pop_front() {
                self.entries.remove(&oldest);
            }
        }
        let cell = Arc::default();
        self.entries.insert(sequence, Arc::clone(&cell));
        self.order.push_back(sequence);
        cell
    }
}
