//! The wall clock of a simulated machine: virtual time, and jumps.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use domain::time::{Clock, Timestamp};
use tokio::time::Instant;

/// A wall clock over tokio's paused time. It can be set forward and back; waits do not notice.
#[derive(Debug)]
pub struct SimClock {
    began: Instant,
    wall: AtomicI64,
}

impl SimClock {
    /// A clock that shows `wall` now. Must be made, and read, inside the simulation's runtime.
    pub fn showing(wall: Timestamp) -> Self {
        Self { began: Instant::now(), wall: AtomicI64::new(wall.as_nanos()) }
    }

    /// How long the simulation has run. It never jumps.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Sets the clock forward, or back.
    pub fn jump(&self, nanos: i64) {
        self.wall.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.wall.load(Ordering::Relaxed)).plus(self.elapsed())
    }
}
