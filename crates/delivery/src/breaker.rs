//! Whether a receiver is taken for down, and how fast it is sent to after it came back.

use std::time::Duration;

use domain::{destination::RetryPolicy, time::Timestamp};

/// Failures in a row, with no success in between, that open the breaker (DESIGN, "Whose fault").
pub(crate) const FAILURES_TO_OPEN: u32 = 5;

/// Watches one receiver's answers.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    streak: u32,
    open: Option<Open>,
    /// Attempts that may run at once while it recovers; `None` once it has.
    ramp: Option<usize>,
    /// It asked to be left alone until then.
    pause_until: Timestamp,
}

#[derive(Debug)]
struct Open {
    since: Timestamp,
    probes: u32,
    probe_at: Timestamp,
    probing: bool,
}

impl Breaker {
    /// Whether the receiver is taken for down.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Since when it is.
    pub(crate) fn open_since(&self) -> Option<Timestamp> {
        self.open.as_ref().map(|open| open.since)
    }

    /// Whether another receiver should stand in: it is down, or asked to be left alone.
    pub(crate) fn needs_backup(&self, now: Timestamp) -> bool {
        self.is_open() || now < self.pause_until
    }

    /// How many attempts may run at once: none, one to probe with, or up to `most`.
    pub(crate) fn room(&self, most: usize, now: Timestamp) -> usize {
        if now < self.pause_until {
            return 0;
        }
        match &self.open {
            Some(open) if open.probing => 1,
            Some(open) => usize::from(open.probe_at <= now),
            None => self.ramp.unwrap_or(most).min(most),
        }
    }

    /// When there is room again without anything happening: at the end of a pause, or for the next
    /// probe.
    pub(crate) fn room_at(&self) -> Timestamp {
        let open = self.open.as_ref().filter(|open| !open.probing);
        open.map_or(self.pause_until, |open| open.probe_at.max(self.pause_until))
    }

    /// The receiver asks to be left alone.
    pub(crate) fn pause(&mut self, until: Timestamp) {
        self.pause_until = self.pause_until.max(until);
    }

    /// An attempt begins.
    pub(crate) fn began(&mut self) {
        if let Some(open) = &mut self.open {
            open.probing = true;
        }
    }

    /// An attempt succeeded. If that closed the breaker, returns since when it was open.
    pub(crate) fn succeeded(&mut self, most: usize) -> Option<Timestamp> {
        self.streak = 0;
        let closed = self.open.take().map(|open| open.since);
        self.ramp = match self.ramp {
            _ if closed.is_some() => Some(1),
            Some(ramp) if ramp < most => Some(ramp * 2),
            _ => None,
        };
        closed
    }

    /// An attempt failed. Returns whether that opened the breaker: so do too many failures, and a
    /// pause that is longer than any wait of ours.
    pub(crate) fn failed(&mut self, retry: &RetryPolicy, now: Timestamp, dice: f64) -> bool {
        self.streak = self.streak.saturating_add(1);
        if let Some(open) = &mut self.open {
            open.probes = open.probes.saturating_add(1);
            open.probing = false;
            open.probe_at = now.plus(probe_delay(retry, open.probes, dice));
            return false;
        }
        let is_asked_away = self.pause_until > now.plus(retry.max_delay);
        if self.streak < FAILURES_TO_OPEN && !is_asked_away {
            return false;
        }
        self.open(retry, now, dice);
        true
    }

    /// An attempt ended and says nothing of the receiver: if it was a probe, another is due.
    pub(crate) fn learned_nothing(&mut self, retry: &RetryPolicy, now: Timestamp) {
        if let Some(open) = &mut self.open {
            open.probing = false;
            open.probe_at = now.plus(retry.initial_delay);
        }
    }

    /// Takes the receiver for down at once.
    pub(crate) fn open(&mut self, retry: &RetryPolicy, now: Timestamp, dice: f64) {
        let probe_at = now.plus(probe_delay(retry, 1, dice));
        // Opened while it is open, it has been down all along.
        let since = self.open_since().unwrap_or(now);
        self.open = Some(Open { since, probes: 1, probe_at, probing: false });
    }
}

fn probe_delay(retry: &RetryPolicy, probes: u32, dice: f64) -> Duration {
    webhook::schedule::probe_delay(retry, probes, dice)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 8;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 5,
            initial_delay: Duration::from_secs(1),
            multiplier: 2.0,
            max_delay: Duration::from_mins(1),
            retry_after_max: Duration::from_hours(1),
            retryable_status_codes: vec![503],
        }
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_a_success_in_between_starts_anew() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            assert!(!breaker.failed(&policy(), at(0), 1.0));
        }
        breaker.succeeded(MOST);
        for _ in 0..4 {
            assert!(!breaker.failed(&policy(), at(0), 1.0));
        }
        assert!(!breaker.is_open());
        assert!(breaker.failed(&policy(), at(0), 1.0));
        assert!(breaker.is_open());
    }

    #[test]
    fn while_open_only_a_probe_goes_out_and_not_before_its_time() {
        let mut breaker = Breaker::default();
        breaker.open(&policy(), at(0), 1.0);
        let probe_at = breaker.room_at();
        assert!(probe_at > at(0));
        assert_eq!(breaker.room(MOST, at(0)), 0);
        assert_eq!(breaker.room(MOST, probe_at), 1);
        breaker.began();
        breaker.failed(&policy(), probe_at, 1.0);
        assert_eq!(breaker.room(MOST, probe_at), 0);
        assert!(breaker.room_at() > probe_at);
    }

    #[test]
    fn a_pause_is_kept_and_a_long_one_opens_it() {
        let mut breaker = Breaker::default();
        breaker.pause(at(60));
        assert!(!breaker.failed(&policy(), at(0), 1.0));
        assert_eq!((breaker.room(MOST, at(59)), breaker.room_at()), (0, at(60)));
        assert_eq!(breaker.room(MOST, at(60)), MOST);
        breaker.pause(at(3_600));
        assert!(breaker.failed(&policy(), at(0), 1.0));
        assert_eq!((breaker.room(MOST, at(3_599)), breaker.room_at()), (0, at(3_600)));
        assert_eq!(breaker.room(MOST, at(3_600)), 1);
    }

    #[test]
    fn a_probe_that_says_nothing_is_followed_by_another_after_a_wait() {
        let mut breaker = Breaker::default();
        breaker.open(&policy(), at(0), 1.0);
        breaker.began();
        breaker.learned_nothing(&policy(), at(60));
        assert_eq!(breaker.room(MOST, at(60)), 0);
        assert_eq!(breaker.room(MOST, at(61)), 1);
    }

    #[test]
    fn after_recovery_the_pace_doubles_until_it_is_full() {
        let mut breaker = Breaker::default();
        breaker.open(&policy(), at(0), 1.0);
        assert_eq!(breaker.succeeded(MOST), Some(at(0)));
        let mut rooms = vec![breaker.room(MOST, at(0))];
        while rooms.last() != Some(&MOST) {
            assert_eq!(breaker.succeeded(MOST), None);
            rooms.push(breaker.room(MOST, at(0)));
        }
        assert_eq!(rooms, [1, 2, 4, 8]);
    }
}
