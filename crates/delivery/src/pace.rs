//! How many attempts may run at once at one receiver: grows by one while it keeps up, shrinks when
//! it slows down, asks for less or times out (AIMD).
//!
//! Looks at what attempts took and how they ended. Whether the receiver is down at all is
//! `breaker`'s business; the pace is what a receiver that is up can bear.
//!
//! Invariant: never below one, never above what the destination allows.

use std::time::Duration;

use domain::time::Timestamp;

/// By how much the limit shrinks when the receiver says that it is too much, and when it slows down.
const REFUSED_FACTOR: f64 = 0.5;
const SLOWED_FACTOR: f64 = 0.9;

/// How much a window counts against those before it.
const WEIGHT: f64 = 0.4;

/// By how many deviations a window must exceed what was usual to count as slower, and by how much at
/// least: a receiver that always answers alike has no deviation, and a scheduler's hiccup is none of
/// its doing.
const DEVIATIONS: f64 = 2.5;
const SLOWER_AT_LEAST: f64 = 1.5;
const SLOWER_AT_LEAST_SECS: f64 = 0.05;

/// What one receiver can bear.
#[derive(Debug)]
pub(crate) struct Pace {
    limit: f64,
    most: usize,
    window: Window,
    usual: Option<Usual>,
    /// Attempts that began before this saw the receiver at a pace that is given up.
    shrunk_at: Timestamp,
}

/// Answers of about one round of attempts.
#[derive(Debug, Default)]
struct Window {
    count: usize,
    secs: f64,
    /// Whether as many ran as were allowed: only then more may be tried.
    was_full: bool,
}

/// What a round's mean was before, in seconds.
#[derive(Debug, Clone, Copy)]
struct Usual {
    mean: f64,
    deviation: f64,
}

impl Pace {
    /// Begins with all that is allowed: a receiver that cannot bear it says so.
    pub(crate) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self {
            limit: most as f64,
            most,
            window: Window::default(),
            usual: None,
            shrunk_at: Timestamp::default(),
        }
    }

    /// How many attempts may run at once.
    pub(crate) fn limit(&self) -> usize {
        (self.limit as usize).clamp(1, self.most)
    }

    /// The receiver answered in its time. `in_flight` counts the attempts that ran, this one among
    /// them.
    pub(crate) fn answered(&mut self, began: Timestamp, took: Duration, in_flight: usize) {
        self.window.was_full |= in_flight >= self.limit();
        self.window.count += 1;
        self.window.secs += took.as_secs_f64();
        if self.window.count < self.limit() {
            return;
        }
        let Window { count, secs, was_full } = std::mem::take(&mut self.window);
        let mean = secs / count as f64;
        if self.usual.is_some_and(|usual| usual.is_slower(mean)) && began >= self.shrunk_at {
            self.shrink(SLOWED_FACTOR, began.plus(took));
        } else if was_full {
            self.limit = (self.limit + 1.0).min(self.most as f64);
        }
        self.usual = Some(Usual::updated(self.usual, mean));
    }

    /// The receiver refused for load (429, 503) or did not answer in time. What began before it was
    /// last slowed down for says nothing new.
    pub(crate) fn overloaded(&mut self, began: Timestamp, now: Timestamp) {
        if began >= self.shrunk_at {
            self.shrink(REFUSED_FACTOR, now);
        }
    }

    fn shrink(&mut self, factor: f64, now: Timestamp) {
        self.limit = (self.limit * factor).max(1.0);
        self.window = Window::default();
        self.shrunk_at = now;
    }
}

impl Usual {
    fn updated(before: Option<Self>, mean: f64) -> Self {
        let Some(before) = before else { return Self { mean, deviation: 0.0 } };
        let off = (mean - before.mean).abs();
        Self {
            mean: before.mean + WEIGHT * (mean - before.mean),
            deviation: before.deviation + WEIGHT * (off - before.deviation),
        }
    }

    fn is_slower(self, mean: f64) -> bool {
        let by_deviation = self.mean + DEVIATIONS * self.deviation;
        let at_least = (self.mean * SLOWER_AT_LEAST).max(self.mean + SLOWER_AT_LEAST_SECS);
        mean > by_deviation.max(at_least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A receiver whose answers take what `latency` says of the number in flight and the round, or
    /// are refused (`None`). Each round is one window of as many attempts as the pace allows.
    fn run(
        pace: &mut Pace,
        rounds: i64,
        latency: impl Fn(usize, i64) -> Option<Duration>,
    ) -> Vec<usize> {
        let mut limits = Vec::new();
        for round in 0..rounds {
            let in_flight = pace.limit();
            let began = Timestamp::from_millis(1_000_000 + round * 100_000);
            for number in 0..in_flight {
                match latency(number + 1, round) {
                    Some(took) => pace.answered(began, took, in_flight),
                    None => pace.overloaded(began, began.plus(Duration::from_millis(1))),
                }
            }
            limits.push(pace.limit());
        }
        limits
    }

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_receiver_that_keeps_up_gets_all_that_is_allowed() {
        let mut pace = Pace::new(64);
        pace.overloaded(Timestamp::from_millis(1), Timestamp::from_millis(2));
        assert_eq!(pace.limit(), 32);
        let limits = run(&mut pace, 40, |_, _| Some(ms(20)));
        assert!(limits.is_sorted(), "{limits:?}");
        assert_eq!(limits.last(), Some(&64));
    }

    #[test]
    fn a_slow_receiver_that_answers_alike_is_not_slowed_down() {
        let mut pace = Pace::new(10);
        assert_eq!(run(&mut pace, 30, |_, _| Some(ms(3_000))), vec![10; 30]);
    }

    #[test]
    fn a_wall_of_429_is_approached_and_not_run_into_all_the_time() {
        let mut pace = Pace::new(1_000);
        let wall = |in_flight: usize, _| (in_flight <= 20).then_some(ms(50));
        let limits = run(&mut pace, 200, wall);
        let settled = &limits[50..];
        assert!(settled.iter().all(|limit| (8..=21).contains(limit)), "{settled:?}");
        let over = settled.iter().filter(|limit| **limit > 20).count();
        assert!(over < 20, "{over} of 150 rounds ran into it");
    }

    #[test]
    fn one_burst_of_refusals_halves_once() {
        let mut pace = Pace::new(64);
        let began = Timestamp::from_millis(5);
        for _ in 0..64 {
            pace.overloaded(began, Timestamp::from_millis(9));
        }
        assert_eq!(pace.limit(), 32);
    }

    #[test]
    fn a_receiver_that_slows_down_gets_less_and_more_again_once_that_is_usual() {
        let mut pace = Pace::new(32);
        let limits = run(&mut pace, 60, |_, round| Some(ms(if round < 10 { 20 } else { 400 })));
        assert_eq!(limits[9], 32);
        assert!(limits[10] < 32, "{limits:?}");
        assert_eq!(limits[59], 32, "{limits:?}");
    }

    #[test]
    fn it_stays_between_one_and_what_is_allowed() {
        let mut pace = Pace::new(3);
        for at in 1..20 {
            pace.overloaded(Timestamp::from_millis(at * 10), Timestamp::from_millis(at * 10 + 1));
        }
        assert_eq!(pace.limit(), 1);
        assert_eq!(run(&mut pace, 50, |_, _| Some(ms(1))).last(), Some(&3));
        assert_eq!(Pace::new(0).limit(), 1);
    }

    #[test]
    fn an_idle_receiver_is_not_given_more_for_being_idle() {
        let mut pace = Pace::new(10);
        pace.overloaded(Timestamp::from_millis(1), Timestamp::from_millis(2));
        for at in 0..100 {
            pace.answered(Timestamp::from_millis(10 + at), ms(5), 1);
        }
        assert_eq!(pace.limit(), 5);
    }
}
