//! A sum over the last minute that slides by seconds, in bounded memory.

use domain::time::Timestamp;

/// Seconds that are looked back on: the running one, and a whole minute before it. So in no minute,
/// wherever it begins, does more pass than a limit allows.
const SECONDS: i64 = 61;

/// What was added in each of the last seconds.
#[derive(Debug)]
pub(super) struct Window {
    slots: [u64; SECONDS as usize],
    sum: u64,
    /// The newest second, since the Unix epoch.
    newest: i64,
}

impl Default for Window {
    fn default() -> Self {
        Self { slots: [0; SECONDS as usize], sum: 0, newest: 0 }
    }
}

impl Window {
    /// Forgets what is too old by now.
    pub(super) fn advance(&mut self, now: Timestamp) {
        let now = now.as_secs();
        let passed = now - self.newest;
        // A clock that was set back a little is waited for; one that was set back further would
        // keep a limit shut until it caught up.
        if passed >= SECONDS || passed <= -SECONDS {
            *self = Self { newest: now, ..Self::default() };
            return;
        }
        for second in self.newest + 1..=now {
            let slot = &mut self.slots[slot_of(second)];
            self.sum -= std::mem::take(slot);
        }
        self.newest = self.newest.max(now);
    }

    /// Adds to the newest second.
    pub(super) fn add(&mut self, amount: u64) {
        let slot = &mut self.slots[slot_of(self.newest)];
        let amount = amount.min(u64::MAX - self.sum);
        *slot += amount;
        self.sum += amount;
    }

    /// Of all seconds.
    pub(super) fn sum(&self) -> u64 {
        self.sum
    }

    /// Seconds until the sum is below `limit`, if nothing is added; a minute if it never is.
    pub(super) fn secs_until_below(&self, limit: u64) -> u64 {
        let mut sum = self.sum;
        for second in self.newest + 1 - SECONDS..=self.newest {
            sum -= self.slots[slot_of(second)];
            if sum < limit {
                return (second + SECONDS - self.newest).cast_unsigned();
            }
        }
        (SECONDS - 1).cast_unsigned()
    }
}

fn slot_of(second: i64) -> usize {
    second.rem_euclid(SECONDS) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(added: &[(i64, u64)]) -> Window {
        let mut window = Window::default();
        for (second, amount) in added {
            window.advance(Timestamp::from_millis(second * 1000));
            window.add(*amount);
        }
        window
    }

    #[test]
    fn the_sum_is_that_of_the_running_second_and_the_minute_before() {
        let mut window = window(&[(1_000, 1), (1_001, 10), (1_059, 100), (1_060, 1000)]);
        let sums = [(1_060, 1111), (1_061, 1110), (1_062, 1100), (1_119, 1100), (1_120, 1000)];
        for (now, sum) in sums.into_iter().chain([(1_121, 0)]) {
            window.advance(Timestamp::from_millis(now * 1000));
            assert_eq!(window.sum(), sum, "{now}");
        }
    }

    #[test]
    fn the_wait_ends_when_enough_has_left() {
        let window = window(&[(1_000, 5), (1_010, 5), (1_030, 5)]);
        for (limit, secs) in [(15, 31), (11, 31), (10, 41), (5, 61), (0, 60)] {
            assert_eq!(window.secs_until_below(limit), secs, "{limit}");
        }
    }

    #[test]
    fn a_clock_that_jumps_keeps_no_limit_shut() {
        let mut window = window(&[(1_000_000, 7)]);
        window.advance(Timestamp::from_millis(999_990_000));
        assert_eq!(window.sum(), 7, "ten seconds back is still within the minute");
        window.advance(Timestamp::from_millis(5_000_000));
        assert_eq!(window.sum(), 0);
        window.add(3);
        window.advance(Timestamp::from_millis(2_000_000_000));
        assert_eq!(window.sum(), 0);
    }
}
