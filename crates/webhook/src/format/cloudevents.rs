//! `CloudEvents` 1.0 around gateway events.

use domain::{
    destination::{CloudEventsMode, Destination},
    event::Event,
};

use super::{Item, Shape};

/// The event in its envelope, if the destination wants it.
pub(super) fn items(_event: &Event, _destination: &Destination) -> Vec<Item> {
    Vec::new()
}

/// One event a body, or a list of them.
pub(super) fn shape(mode: CloudEventsMode) -> Shape {
    match mode {
        CloudEventsMode::Structured => Shape::single("application/cloudevents+json"),
        CloudEventsMode::Batch => {
            Shape::many(["[", ",", "]"], "application/cloudevents-batch+json")
        }
    }
}
