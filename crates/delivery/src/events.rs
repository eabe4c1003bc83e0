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

/// Bytes that derived entries may take in the cache, about: what one lane reads ahead, some times
/// over.
const CACHED_BYTES_MAX: usize = 32 << 20;
/// An entry that takes more than this is derived for each lane: there are few such, and each would
/// drive out many.
const CACHED_ENTRY_BYTES_MAX: usize = 1 << 20;
/// What a derived entry takes beside its texts; a round figure.
const DERIVED_BYTES: usize = 2 << 10;

/// One entry's events. Few, mostly one; none for what is nobody's news.
#[derive(Debug)]
pub(crate) struct Derived {
    pub(crate) sequence: Sequence,
    pub(crate) events: Vec<Arc<Event>>,
}

/// Reads entries and derives their events. Derived entries stay in memory within bounds of number
/// and bytes: a lane that lags derives again, at the price of CPU and not of memory.
pub(crate) struct Events {
    journal: Arc<dyn Journal>,
    prices: Prices,
    cache: Mutex<Cache>,
    cached_max: usize,
}

#[derive(Default)]
struct Cache {
    entries: HashMap<Sequence, Arc<OnceLock<Arc<Derived>>>>,
    order: VecDeque<(Sequence, usize)>,
    bytes: usize,
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
        let weight = weight(&entry.record);
        if weight > CACHED_ENTRY_BYTES_MAX || matches!(entry.record, Record::Admitted(_)) {
            return derived();
        }
        let cell = {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.cell(entry.sequence, weight, self.cached_max)
        };
        Arc::clone(cell.get_or_init(derived))
    }
}

impl Cache {
    fn cell(
        &mut self,
        sequence: Sequence,
        weight: usize,
        cached_max: usize,
    ) -> Arc<OnceLock<Arc<Derived>>> {
        if let Some(cell) = self.entries.get(&sequence) {
            return Arc::clone(cell);
        }
        while self.order.len() >= cached_max || self.bytes + weight > CACHED_BYTES_MAX {
            let Some((oldest, weight)) = self.order.pop_front() else { break };
            self.bytes -= weight;
            self.entries.remove(&oldest);
        }
        let cell = Arc::default();
        self.entries.insert(sequence, Arc::clone(&cell));
        self.order.push_back((sequence, weight));
        self.bytes += weight;
        cell
    }
}

/// About what an entry takes once it is derived: the exchange itself, the answer as one object, and
/// its text.
fn weight(record: &Record) -> usize {
    DERIVED_BYTES
        + match record {
            Record::Admitted(_) | Record::Noted(_) => 0,
            Record::Captured(captured) => captured.deltas.iter().map(|d| 2 * d.content.len()).sum(),
            Record::Sealed(exchange) => {
                exchange.request.bytes.len() + 3 * exchange.response.bytes.len()
            }
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_bounded_by_number_and_by_bytes() {
        let mut cache = Cache::default();
        let mut put = |number: u64, weight: usize| {
            cache.cell(Sequence(number), weight, 4);
            (cache.entries.len(), cache.order.len(), cache.bytes)
        };
        for number in 1..=4 {
            put(number, 10);
        }
        assert_eq!(put(5, 10), (4, 4, 40));
        assert_eq!(put(5, 10), (4, 4, 40), "what is there is found");
        assert_eq!(put(6, CACHED_BYTES_MAX - 20), (3, 3, CACHED_BYTES_MAX));
        // One that is too large alone displaces all others and nothing more.
        assert_eq!(put(7, CACHED_BYTES_MAX + 1), (1, 1, CACHED_BYTES_MAX + 1));
        assert_eq!(put(8, 10), (1, 1, 10));
    }
}
