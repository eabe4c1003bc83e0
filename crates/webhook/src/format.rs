//! How events are written: one module per format.
//!
//! Takes an event and a destination, gives bytes. Whether a destination wants an event is
//! `matching`'s business, headers and signatures are `request`'s. A format translates names:
//! receivers of another system find that system's words.
//!
//! A format is a module with two functions, `items` and `shape`, and a line in each `match` below.
//!
//! Invariant: the same event and destination give the same bytes, in every attempt.

mod alert;
mod cloudevents;
mod event;
mod generic_api;
pub mod helicone;
mod json;
pub mod otlp;
mod prompt;

use bytes::Bytes;
use domain::{
    destination::{Destination, Format},
    event::Event,
    id::EventId,
    record::Sequence,
};

use crate::body::{Body, Builder};

/// One event as a format writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The same in every attempt and to every destination.
    pub id: EventId,
    /// The journal's position of the record that it follows from.
    pub sequence: Sequence,
    /// One JSON object on one line (for `otlp`, the comma-separated elements of `resourceSpans`).
    pub bytes: Bytes,
}

/// What a format puts around items.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// How many items a body takes, at most.
    items_max: usize,
    /// What stands before the first, between two, and after the last.
    around: [&'static str; 3],
    /// The `Content-Type` of a body.
    content_type: &'static str,
}

impl Shape {
    /// One item a body, as it is.
    pub(crate) const fn single(content_type: &'static str) -> Self {
        Self { items_max: 1, around: [""; 3], content_type }
    }

    /// Any number of items.
    pub(crate) const fn many(around: [&'static str; 3], content_type: &'static str) -> Self {
        Self { items_max: usize::MAX, around, content_type }
    }
}

/// What a destination gets of an event: nothing if it does not want it or the format has no form
/// for it, else one item, or several where the format makes several of one outcome.
pub fn items(event: &Event, destination: &Destination) -> Vec<Item> {
    match destination.format {
        Format::GenericApi(_) => generic_api::items(event, destination),
        Format::Event => event::items(event, destination),
        Format::Otlp(otlp) => otlp::items(event, otlp, destination),
        Format::Helicone(helicone) => helicone::items(event, helicone, destination),
        Format::CloudEvents(_) => cloudevents::items(event, destination),
        Format::LitellmAlert => alert::items(event, destination),
    }
}

fn shape(format: Format) -> Shape {
    match format {
        Format::GenericApi(log_format) => generic_api::shape(log_format),
        Format::Event => event::shape(),
        Format::Otlp(_) => otlp::shape(),
        Format::Helicone(_) => helicone::shape(),
        Format::CloudEvents(mode) => cloudevents::shape(mode),
        Format::LitellmAlert => alert::shape(),
    }
}

/// One body of items. Formats of one event a body take exactly one item.
pub fn join(destination: &Destination, items: &[Item]) -> Body {
    let Shape { items_max, around: [first, between, last], .. } = shape(destination.format);
    assert!(items.len() <= items_max, "a body of this format has one item");
    let mut body = Builder::default();
    body.push_slice(first.as_bytes());
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            body.push_slice(between.as_bytes());
        }
        body.push(&item.bytes);
    }
    body.push_slice(last.as_bytes());
    body.finish()
}

/// The `Content-Type` of a format's bodies.
pub fn content_type(format: Format) -> &'static str {
    shape(format).content_type
}

/// How many items a body of the format takes, at most.
pub fn events_per_body_max(format: Format) -> usize {
    shape(format).items_max
}
