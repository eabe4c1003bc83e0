//! Bounds over all calls: how many run, and how many bytes they hold.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::config::Limits;

/// Counts of what running calls hold, against their bounds.
#[derive(Debug, Clone)]
pub(crate) struct InFlight {
    calls: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
    calls_max: usize,
    bytes_max: usize,
}

/// One running call's share; given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    calls: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
    bytes_max: usize,
    own_bytes: usize,
}

impl InFlight {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            calls: Arc::default(),
            bytes: Arc::default(),
            calls_max: limits.in_flight_calls_max,
            bytes_max: limits.in_flight_bytes_max,
        }
    }

    /// Takes one call's place, or `None` at the bound.
    pub(crate) fn enter(&self) -> Option<Held> {
        if self.calls.fetch_add(1, Ordering::Relaxed) >= self.calls_max {
            self.calls.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let (calls, bytes) = (Arc::clone(&self.calls), Arc::clone(&self.bytes));
        Some(Held { calls, bytes, bytes_max: self.bytes_max, own_bytes: 0 })
    }
}

impl Held {
    /// Takes room for more bytes; `false` at the bound, and then nothing is taken.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > self.bytes_max {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.own_bytes += bytes;
        true
    }

    /// Bytes that are held.
    pub(crate) fn bytes(&self) -> usize {
        self.own_bytes
    }

    /// Gives back what is held beyond `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let freed = self.own_bytes.saturating_sub(bytes);
        self.bytes.fetch_sub(freed, Ordering::Relaxed);
        self.own_bytes -= freed;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.bytes.fetch_sub(self.own_bytes, Ordering::Relaxed);
        self.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_held_is_free_again_once_it_ends() {
        let limits =
            Limits { in_flight_calls_max: 1, in_flight_bytes_max: 100, ..Limits::default() };
        let in_flight = InFlight::new(&limits);
        let mut first = in_flight.enter().expect("there is room for one");
        assert!(in_flight.enter().is_none());
        assert!(first.grow(100));
        assert!(!first.grow(1));
        first.shrink_to(40);
        assert!(first.grow(60) && !first.grow(1));
        drop(first);
        assert!(in_flight.enter().expect("the place is free").grow(100));
    }
}
