//! LiteLLM's alert webhook: what it posts when a budget is reached.

use domain::{destination::Destination, event::Event};

use super::{Item, Shape};

/// The alert of a budget event, if the destination wants it.
pub(super) fn items(_event: &Event, _destination: &Destination) -> Vec<Item> {
    Vec::new()
}

/// One alert a body.
pub(super) fn shape() -> Shape {
    Shape::single("application/json")
}
