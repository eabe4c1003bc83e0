//! When to try again.

use std::time::Duration;

use domain::{destination::RetryPolicy, time::Timestamp};

/// Returns how long to wait before attempt `number`, or `None` when no attempt is left.
pub fn wait_before(
    policy: &RetryPolicy,
    number: u32,
    dice: f64,
    retry_after: Option<Duration>,
) -> Option<Duration> {
    let _ = (policy, number, dice, retry_after);
    unimplemented!()
}

/// Returns how long an open breaker waits before its next probe, after `failures` in a row.
pub fn probe_delay(policy: &RetryPolicy, failures: u32, dice: f64) -> Duration {
    let _ = (policy, failures, dice);
    unimplemented!()
}

/// Reads a `Retry-After` header: seconds, or a date in any of HTTP's three forms.
pub fn parse_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let _ = (value, now);
    unimplemented!()
}
