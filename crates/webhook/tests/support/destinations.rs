//! Destinations of tests.

use std::time::Duration;

use domain::{
    destination::{Batch, Destination, Format},
    id::DestinationName,
};

/// A destination that wants everything in a format.
pub(crate) fn of(format: Format) -> Destination {
    Destination {
        name: DestinationName::new("receiver"),
        format,
        batch: Batch { events_max: 100, bytes_max: 1 << 20, flush_interval: Duration::ZERO },
        ..domain::sample::destination()
    }
}
