//! How events are written: one module per format.

use bytes::Bytes;
use domain::{
    destination::{Destination, Format},
    event::Event,
    id::EventId,
    record::Sequence,
};

/// One event as a format writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The same in every attempt and to every destination.
    pub id: EventId,
    /// The journal's position of the record that it follows from.
    pub sequence: Sequence,
    /// One JSON object, without separators.
    pub bytes: Bytes,
}

/// What a destination gets of an event: nothing if it does not want it, else one item, or several
/// where its format makes several of one outcome.
pub fn items(_event: &Event, _destination: &Destination) -> Vec<Item> {
    unimplemented!()
}

/// One body of items. Formats of one event a body take exactly one item.
pub fn join(_destination: &Destination, _items: &[Item]) -> Bytes {
    unimplemented!()
}

/// The `Content-Type` of a format's bodies.
pub const fn content_type(_format: &Format) -> &'static str {
    "application/json"
}

/// How many items a body of the format takes, at most.
pub const fn events_per_body_max(_format: &Format) -> usize {
    unimplemented!()
}
