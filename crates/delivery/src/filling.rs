//! When a body is full: by events and by bytes, as its destination asks and its format takes.

use domain::destination::Destination;
use webhook::format::{self, Item};

/// How full a body is.
#[derive(Debug, Default)]
pub(crate) struct Filling {
    items: usize,
    bytes: usize,
}

impl Filling {
    /// Whether another item would make the body larger than it may be. One that is larger by itself
    /// goes alone.
    pub(crate) fn overflows_with(&self, item: &Item, destination: &Destination) -> bool {
        self.items > 0 && self.bytes + bytes_of(item) + 1 > destination.batch.bytes_max
    }

    /// Takes an item in.
    pub(crate) fn add(&mut self, item: &Item) {
        self.items += 1;
        self.bytes += bytes_of(item);
    }

    /// Whether nothing more fits.
    pub(crate) fn is_full(&self, destination: &Destination) -> bool {
        self.items >= events_max(destination)
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// Bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Events that a body of the destination has, at most.
pub(crate) fn events_max(destination: &Destination) -> usize {
    destination.batch.events_max.min(format::events_per_body_max(destination.format))
}

/// With what stands between it and the next; the body has one more at its end.
fn bytes_of(item: &Item) -> usize {
    item.bytes.len() + 1
}
