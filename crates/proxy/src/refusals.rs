//! How many refused calls are reported: strangers must not fill the journal, and a caller who errs
//! in a loop must not either.
//!
//! What becomes of a call that is reported is `refused.rs`'s. Invariant: nobody waits here.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use domain::{call::Caller, time::Timestamp};

/// Of all whose key was refused: reports a second, and at once after a pause.
const STRANGERS: (f64, f64) = (10.0, 50.0);
/// Of all others.
const CALLERS: (f64, f64) = (100.0, 1000.0);

/// What may be reported of refused calls.
#[derive(Debug)]
pub(crate) struct Refusals {
    strangers: Bucket,
    callers: Bucket,
    unreported: AtomicU64,
}

impl Refusals {
    pub(crate) fn new() -> Self {
        Self {
            strangers: Bucket::new(STRANGERS),
            callers: Bucket::new(CALLERS),
            unreported: AtomicU64::new(0),
        }
    }

    /// Whether one more refusal of this caller is reported; if not, it is counted.
    pub(crate) fn may_report(&self, caller: &Caller, now: Timestamp) -> bool {
        let bucket = if *caller == Caller::Refused { &self.strangers } else { &self.callers };
        let may = bucket.take(now);
        if !may {
            self.unreported();
        }
        may
    }

    /// Counts a refused call that is not reported.
    pub(crate) fn unreported(&self) {
        self.unreported.fetch_add(1, Ordering::Relaxed);
    }

    /// Says in the log how many were not reported since it was last asked to.
    pub(crate) fn log_unreported(&self) {
        let calls = self.unreported.swap(0, Ordering::Relaxed);
        if calls > 0 {
            tracing::warn!(calls, "{calls} refused calls were not reported: there were too many.");
        }
    }
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    per_second: f64,
    burst: f64,
    /// What is in it, and when that was so.
    filled: Mutex<(f64, Timestamp)>,
}

impl Bucket {
    fn new((per_second, burst): (f64, f64)) -> Self {
        Self { per_second, burst, filled: Mutex::new((burst, Timestamp::default())) }
    }

    fn take(&self, now: Timestamp) -> bool {
        let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        let (level, at) = *filled;
        let level = now.since(at).as_secs_f64().mul_add(self.per_second, level).min(self.burst);
        let may = level >= 1.0;
        *filled = (if may { level - 1.0 } else { level }, now);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_reported_in_part_and_all_of_it_is_counted() {
        let refusals = Refusals::new();
        let start = 1_700_000_000_000;
        let reported = |caller: &Caller, calls: usize, millis: i64| {
            let now = Timestamp::from_millis(start + millis);
            (0..calls).filter(|_| refusals.may_report(caller, now)).count()
        };
        assert_eq!(reported(&Caller::Refused, 1000, 0), 50);
        assert_eq!(reported(&Caller::Refused, 1000, 1000), 10);
        assert_eq!(reported(&Caller::Refused, 1000, 3_600_000), 50);
        // Whom the gateway knows is not held up by strangers.
        assert_eq!(reported(&Caller::Master, 2000, 3_600_000), 1000);
        assert_eq!(reported(&Caller::Anonymous, 2000, 3_601_000), 100);
        assert_eq!(refusals.unreported.load(Ordering::Relaxed), 950 + 990 + 950 + 1000 + 1900);
    }
}
