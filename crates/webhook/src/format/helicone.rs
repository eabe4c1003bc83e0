//! Helicone's webhook payload (seed 004).

use domain::{
    destination::{Destination, Helicone},
    event::Event,
};

use super::{Item, Shape};

/// The payload of an outcome, if the destination wants it.
pub(super) fn items(_event: &Event, _helicone: Helicone, _destination: &Destination) -> Vec<Item> {
    Vec::new()
}

/// One payload a body.
pub(super) fn shape() -> Shape {
    Shape::single("application/json")
}
