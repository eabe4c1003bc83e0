//! What a lane knows of one receiver: whether it is up, and how much it takes at once and in a second.

use domain::time::Timestamp;

use crate::{breaker::Breaker, pace::Pace, throttle::Throttle};

/// How a receiver stands.
#[derive(Debug)]
pub(crate) struct Health {
    pub(crate) breaker: Breaker,
    pub(crate) pace: Pace,
    pub(crate) throttle: Throttle,
}

impl Health {
    /// Of a receiver that gets at most so many attempts at once.
    pub(crate) fn new(concurrent_max: usize) -> Self {
        Self {
            breaker: Breaker::default(),
            pace: Pace::new(concurrent_max),
            throttle: Throttle::default(),
        }
    }

    /// How many attempts may run now.
    pub(crate) fn room(&self, now: Timestamp) -> usize {
        self.breaker.room(self.pace.limit(), now)
    }

    /// Whether one more may begin beside those in flight.
    pub(crate) fn has_room(&self, in_flight: usize, now: Timestamp) -> bool {
        self.throttle.room_at(now) <= now && in_flight < self.room(now)
    }
}
