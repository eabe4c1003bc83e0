//! Destinations of tests.

use std::time::Duration;

use domain::{
    destination::{Batch, Compat, Destination, Format, Method, RetryPolicy},
    event::EventType,
    id::DestinationName,
};

/// A destination that wants everything in a format.
pub(crate) fn of(format: Format) -> Destination {
    Destination {
        name: DestinationName::new("receiver"),
        url: "https://receiver.example/".into(),
        method: Method::Post,
        headers: Vec::new(),
        format,
        compat: Compat::Real,
        event_types: EventType::ALL.to_vec(),
        filters: Vec::new(),
        sample_rate: 1.0,
        batch: Batch { events_max: 100, bytes_max: 1 << 20, flush_interval: Duration::ZERO },
        retry: RetryPolicy {
            max_attempts: 1,
            initial_delay: Duration::ZERO,
            multiplier: 1.0,
            max_delay: Duration::ZERO,
            retry_after_max: Duration::ZERO,
            retryable_status_codes: Vec::new(),
        },
        timeout: Duration::from_secs(30),
        concurrent_deliveries: 1,
        queue_size: 1,
        rate_limit: None,
        privacy: false,
        signing: None,
        allow_private: false,
        backup: None,
    }
}
