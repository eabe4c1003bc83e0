//! How events are written: one module per format.
//!
//! Takes an event and a destination, gives bytes. Whether a destination wants an event is
//! `matching`'s business, headers and signatures are `request`'s. A format translates names:
//! receivers of another system find that system's words.
//!
//! Invariant: the same event and destination give the same bytes, in every attempt.

mod event;
mod generic_api;
mod json;

use bytes::Bytes;
use domain::{
    destination::{Destination, Format, LogFormat},
    event::{Detail, Event},
    id::EventId,
    record::Sequence,
};

use crate::{
    body::{Body, Builder},
    matching::matches,
};

/// One event as a format writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The same in every attempt and to every destination.
    pub id: EventId,
    /// The journal's position of the record that it follows from.
    pub sequence: Sequence,
    /// One JSON object on one line, without separators.
    pub bytes: Bytes,
}

/// What a destination gets of an event: nothing if it does not want it, else one item, or several
/// where its format makes several of one outcome.
pub fn items(event: &Event, destination: &Destination) -> Vec<Item> {
    match (destination.format, &event.detail) {
        (Format::GenericApi(_), Detail::Completion(report) | Detail::Error(report)) => {
            generic_api::items(event, report, destination)
        }
        (Format::Event, _) if matches(event.kind(), event, destination) => vec![Item {
            id: event.id.clone(),
            sequence: event.sequence,
            bytes: event::render(event, destination),
        }],
        // Unwanted, or a piece of a stream, for which LiteLLM has no post.
        (Format::Event | Format::GenericApi(_), _) => Vec::new(),
    }
}

/// One body of items. Formats of one event a body take exactly one item.
pub fn join(destination: &Destination, items: &[Item]) -> Body {
    let (first, between, last): (&[u8], &[u8], &[u8]) = match destination.format {
        Format::GenericApi(LogFormat::JsonArray) => (b"[", b",", b"]"),
        Format::GenericApi(LogFormat::Ndjson) => (b"", b"\n", b""),
        Format::GenericApi(LogFormat::Single) | Format::Event => {
            assert!(items.len() == 1, "a body of this format has one item");
            return Body::from(items[0].bytes.clone());
        }
    };
    let mut body = Builder::default();
    body.push_slice(first);
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            body.push_slice(between);
        }
        body.push(&item.bytes);
    }
    body.push_slice(last);
    body.finish()
}

/// The `Content-Type` of a format's bodies. LiteLLM says `application/json` for `ndjson` too, and
/// receivers that want another set it in the destination's headers.
pub const fn content_type(format: &Format) -> &'static str {
    match format {
        Format::GenericApi(_) | Format::Event => "application/json",
    }
}

/// How many items a body of the format takes, at most.
pub const fn events_per_body_max(format: &Format) -> usize {
    match format {
        Format::GenericApi(LogFormat::JsonArray | LogFormat::Ndjson) => usize::MAX,
        Format::GenericApi(LogFormat::Single) | Format::Event => 1,
    }
}
