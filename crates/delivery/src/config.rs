//! How lanes work beside what each destination says. Built by `hookgate::config`.

use std::time::Duration;

/// How lanes work. Every value is final.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// How long lanes may go on sending after they are told to stop.
    pub settle_timeout: Duration,
    /// Attempts of one lane that are done while their rows are not stored, at most: what a store that
    /// is stuck may cost in memory, and a crash in repeats. Then none begins.
    pub unstored_max: usize,
    /// Derived events kept in memory for lanes that keep up, at most.
    pub events_cached_max: usize,
    /// How long a receiver may fail without a success until its destination is disabled; `None`
    /// waits for ever.
    pub disable_after: Option<Duration>,
}
