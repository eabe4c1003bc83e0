//! The newest entries, in memory, so that lanes that keep up never touch a file.
//!
//! Invariant: what is here is committed, consecutive, and ends at the last commit.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::record::{Entry, Record, Sequence};

use crate::journal::ReadLimit;

/// Bytes that an entry takes beside its bodies: facts, headers, pointers; a round figure.
const ENTRY_BYTES: usize = 1024;

/// The newest entries, bounded by bytes.
#[derive(Debug)]
pub(super) struct Tail {
    state: Mutex<State>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
}

impl Tail {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { state: Mutex::default(), bytes_max }
    }

    /// Adds entries that were just committed; the oldest ones make room.
    pub(super) fn push(&self, entries: &mut Vec<Arc<Entry>>) {
        let mut gone = Vec::new();
        let mut state = self.lock();
        for entry in entries.drain(..) {
            state.bytes += weight(&entry.record);
            state.entries.push_back(entry);
        }
        while state.bytes > self.bytes_max {
            let Some(entry) = state.entries.pop_front() else { break };
            state.bytes -= weight(&entry.record);
            gone.push(entry);
        }
        drop(state);
        // Freed here, outside the lock that readers wait for.
        drop(gone);
    }

    /// Entries after the cursor, or `None` if the first of them is no longer here.
    pub(super) fn read_after(&self, cursor: Sequence, limit: ReadLimit) -> Option<Vec<Arc<Entry>>> {
        let state = self.lock();
        let first = state.entries.front()?.sequence;
        let skip = usize::try_from(cursor.next().0.checked_sub(first.0)?).ok()?;
        let mut taken = Taken::new(limit);
        for entry in state.entries.iter().skip(skip) {
            if !taken.push(entry) {
                break;
            }
        }
        Some(taken.entries)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Entries gathered up to a limit.
pub(super) struct Taken {
    pub(super) entries: Vec<Arc<Entry>>,
    bytes: usize,
    limit: ReadLimit,
}

impl Taken {
    pub(super) const fn new(limit: ReadLimit) -> Self {
        Self { entries: Vec::new(), bytes: 0, limit }
    }

    /// Takes the entry, or says that the limit is reached. The first one is always taken.
    pub(super) fn push(&mut self, entry: &Arc<Entry>) -> bool {
        let bytes = payload_bytes(&entry.record);
        let room = self.entries.len() < self.limit.entries_max
            && self.bytes.saturating_add(bytes) <= self.limit.bytes_max;
        if self.entries.is_empty() || room {
            self.bytes = self.bytes.saturating_add(bytes);
            self.entries.push(Arc::clone(entry));
            return true;
        }
        false
    }
}

/// Bytes that a record takes in memory, about.
pub(super) fn weight(record: &Record) -> usize {
    ENTRY_BYTES + payload_bytes(record)
}

/// Bytes of a record's bodies.
fn payload_bytes(record: &Record) -> usize {
    match record {
        Record::Admitted(_) | Record::Noted(_) => 0,
        Record::Captured(captured) => captured.deltas.iter().map(|d| d.content.len()).sum(),
        Record::Sealed(exchange) => exchange.request.bytes.len() + exchange.response.bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{
        journal::ALL,
        sample::{admitted, sealed},
    };

    #[test]
    fn memory_stays_within_its_bound_and_keeps_the_newest() {
        let tail = Tail::new(10 * ENTRY_BYTES);
        let records = (1..=50).map(|n| if n % 5 == 0 { sealed(n, 1024) } else { admitted(n) });
        for (sequence, record) in (1..).zip(records) {
            tail.push(&mut vec![Arc::new(Entry { sequence: Sequence(sequence), record })]);
            let bytes: usize = tail.lock().entries.iter().map(|entry| weight(&entry.record)).sum();
            assert_eq!(bytes, tail.lock().bytes);
            assert!(bytes <= 10 * ENTRY_BYTES);
        }
        // Two outcomes of three entries' size, and four admissions.
        assert_eq!(tail.read_after(Sequence(43), ALL), None);
        assert_eq!(tail.read_after(Sequence(44), ALL).map(|entries| entries.len()), Some(6));
        assert_eq!(tail.read_after(Sequence(50), ALL), Some(Vec::new()));
    }
}
