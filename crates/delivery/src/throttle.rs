//! How fast attempts may begin at one receiver that has answered 429: by what it took in a second
//! before it did.
//!
//! `pace` bounds how many run at once, which says little of a receiver that answers in no time and
//! counts by the second. The rate grows again by a half each second, as what was taken may have been all
//! there was; soon it is forgotten. A receiver that takes nothing is the breaker's business.
//!
//! Invariant: a receiver that takes so many a second is refused few of them, and gets nearly as many.

use std::time::Duration;

use domain::time::Timestamp;

/// What is left of the rate that was too much, and by how much it grows in a second.
const CUT: f64 = 0.8;
const GROWTH: f64 = 1.5;
/// The least that a rate is cut to; the pauses do for receivers that take less.
const PER_SECOND_MIN: f64 = 10.0;
const FORGOTTEN_AFTER: Duration = Duration::from_secs(20);

/// The pause after a 429; it doubles while nothing else comes. Four of them are longer than the second
/// that most receivers count by, and the fifth 429 in a row opens the breaker.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

const SECOND: Duration = Duration::from_secs(1);

/// What one receiver takes in a second, as far as it has said.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    cut: Option<Cut>,
    taken: Taken,
    refused_in_a_row: u32,
    refusals: u64,
    room_at: Timestamp,
}

#[derive(Debug, Clone, Copy)]
struct Cut {
    at: Timestamp,
    per_second: f64,
}

/// How many attempts were taken in this second, and in the one before.
#[derive(Debug, Default)]
struct Taken {
    since: Timestamp,
    count: u32,
    before: u32,
}

impl Throttle {
    /// No attempt may begin before this.
    pub(crate) fn room_at(&self, now: Timestamp) -> Timestamp {
        // Unless the clock was set back.
        if self.room_at.since(now) > PAUSE_MAX { now } else { self.room_at }
    }

    /// How often the receiver said that it was too much: an attempt that began before the last time
    /// says it of the pace that was given up.
    pub(crate) fn refusals(&self) -> u64 {
        self.refusals
    }

    /// An attempt begins.
    pub(crate) fn began(&mut self, now: Timestamp) {
        if let Some(per_second) = self.per_second(now) {
            self.room_at = self.room_at(now).max(now).plus(SECOND.div_f64(per_second));
        }
    }

    /// An attempt was answered by something else than a 429.
    pub(crate) fn answered(&mut self, now: Timestamp) {
        self.taken.count_one(now);
        self.refused_in_a_row = 0;
    }

    /// An attempt was answered by a 429, which is news.
    pub(crate) fn refused(&mut self, now: Timestamp) {
        let taken = f64::from(self.taken.a_second(now));
        // The rate is cut for the first of them; the others only say that the second lasts.
        if self.refused_in_a_row == 0 && taken > 0.0 {
            let before = self.per_second(now).unwrap_or(taken);
            let per_second = (before.min(taken) * CUT).max(PER_SECOND_MIN);
            self.cut = Some(Cut { at: now, per_second });
        }
        let pause = FIRST_PAUSE * 2_u32.pow(self.refused_in_a_row.min(8));
        self.room_at = self.room_at(now).max(now.plus(pause.min(PAUSE_MAX)));
        self.refused_in_a_row += 1;
        self.refusals += 1;
    }

    fn per_second(&mut self, now: Timestamp) -> Option<f64> {
        let cut = self.cut.as_mut()?;
        // The clock may be set back.
        cut.at = cut.at.min(now);
        let passed = now.since(cut.at);
        (passed < FORGOTTEN_AFTER).then(|| cut.per_second * GROWTH.powf(passed.as_secs_f64()))
    }
}

impl Taken {
    fn count_one(&mut self, now: Timestamp) {
        self.turn(now);
        self.count += 1;
    }

    fn a_second(&mut self, now: Timestamp) -> u32 {
        self.turn(now);
        self.count.max(self.before)
    }

    fn turn(&mut self, now: Timestamp) {
        let passed = now.since(self.since);
        if passed >= SECOND {
            self.before = if passed < 2 * SECOND { self.count } else { 0 };
            (self.count, self.since) = (0, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends for so many seconds as fast as it may, one after the other, to a receiver that answers in
    /// a millisecond. Returns how many were taken and refused.
    fn run(secs: i64, mut receiver: impl FnMut(Timestamp) -> bool) -> (u32, u32) {
        let (mut throttle, mut now) = (Throttle::default(), Timestamp::from_millis(1_000_000));
        let (until, mut taken, mut refused) = (now.plus(SECOND * secs as u32), 0, 0);
        while now < until {
            now = now.max(throttle.room_at(now));
            throttle.began(now);
            let is_taken = receiver(now);
            now = now.plus(Duration::from_millis(1));
            if is_taken {
                taken += 1;
                throttle.answered(now);
            } else {
                refused += 1;
                throttle.refused(now);
            }
        }
        (taken, refused)
    }

    #[test]
    fn a_receiver_that_never_refuses_gets_all_there_is() {
        assert_eq!(run(10, |_| true), (10_000, 0));
    }

    #[test]
    fn a_bucket_of_two_hundred_a_second_is_nearly_used_up_and_rarely_run_over() {
        let (mut room, mut filled_at) = (20.0_f64, Timestamp::from_millis(1_000_000));
        let (taken, refused) = run(120, |now| {
            room = (room + now.since(filled_at).as_secs_f64() * 200.0).min(20.0);
            filled_at = now;
            let takes = room >= 1.0;
            room -= f64::from(u8::from(takes));
            takes
        });
        assert!((18_000..=24_020).contains(&taken), "{taken} taken");
        assert!(refused < taken / 40, "{refused} refused of {taken}");
    }

    #[test]
    fn a_receiver_that_took_nothing_for_long_gets_all_there_is_soon() {
        let begin = Timestamp::from_millis(1_000_000);
        let (taken, _) = run(40, |now| now.since(begin) > Duration::from_secs(30));
        assert!(taken > 7_000, "{taken} taken");
    }

    #[test]
    fn a_receiver_that_counts_by_the_second_is_not_taken_for_down() {
        let (mut second, mut count, mut in_a_row, mut most) = (0, 0, 0, 0);
        let (taken, refused) = run(120, |now| {
            if now.as_millis() / 1000 != second {
                (second, count) = (now.as_millis() / 1000, 0);
            }
            count += 1;
            in_a_row = if count > 50 { in_a_row + 1 } else { 0 };
            most = most.max(in_a_row);
            count <= 50
        });
        assert!((4_000..=6_050).contains(&taken), "{taken} taken");
        assert!(refused < taken / 20, "{refused} refused of {taken}");
        assert!(most < crate::breaker::FAILURES_TO_OPEN, "{most} in a row");
    }

    #[test]
    fn a_clock_that_is_set_back_neither_stops_it_nor_keeps_it_slow() {
        let (mut throttle, now) = (Throttle::default(), Timestamp::from_millis(90_000_000));
        throttle.refused(now);
        assert!(throttle.room_at(now) > now);
        let earlier = now.minus(Duration::from_hours(1));
        assert_eq!(throttle.room_at(earlier), earlier);
        throttle.began(earlier);
        let later = earlier.plus(FORGOTTEN_AFTER);
        throttle.began(later);
        assert_eq!(throttle.room_at(later).since(later), Duration::ZERO);
    }
}
