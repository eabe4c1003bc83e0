//! OTLP/JSON traces, as `OpenRouter` sends them (seed 003) or by the `GenAI` conventions.

use domain::{
    destination::{Destination, Otlp},
    event::Event,
};

use super::{Item, Shape};

/// The trace of an outcome, if the destination wants it.
pub(super) fn items(_event: &Event, _otlp: Otlp, _destination: &Destination) -> Vec<Item> {
    Vec::new()
}

/// Any number of traces in one export request.
pub(super) fn shape() -> Shape {
    Shape::many(["{\"resourceSpans\":[", ",", "]}"], "application/json")
}
