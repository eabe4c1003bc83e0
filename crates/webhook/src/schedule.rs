//! When to try again. The waits are pure: dice and time are passed in.
//!
//! Does not decide *whether* an answer deserves another attempt: that is `verdict`'s.

use std::time::Duration;

use domain::{destination::RetryPolicy, time::Timestamp};
use jiff::fmt::{rfc2822::DateTimeParser, strtime::BrokenDownTime};

/// The shortest ceiling of a probe's wait, so that a policy without delays does not spin.
const PROBE_DELAY_MIN: Duration = Duration::from_millis(10);

/// The longest `Retry-After` text that is read; every form is shorter.
const RETRY_AFTER_CHARS_MAX: usize = 64;

/// Returns how long to wait before attempt `number`, or `None` when no attempt is left.
///
/// `number` counts from 1, and attempt 1 never waits. The wait lies between zero and
/// `initial_delay × multiplier^(number - 2)`, at most `max_delay`; `dice` in `0.0..=1.0` says
/// where (full jitter). A receiver's `retry_after` may lengthen it, up to `retry_after_max`, never
/// shorten it.
pub fn wait_before(
    policy: &RetryPolicy,
    number: u32,
    dice: f64,
    retry_after: Option<Duration>,
) -> Option<Duration> {
    assert!(1 <= number, "attempts count from 1");
    if number > policy.max_attempts {
        return None;
    }
    if number == 1 {
        return Some(Duration::ZERO);
    }
    let ceiling = grown(policy.initial_delay, policy, number - 2).min(policy.max_delay);
    let asked = retry_after.unwrap_or_default().min(policy.retry_after_max);
    Some(scaled(ceiling, dice).max(asked))
}

/// Returns when the next delivery may be sent after one that is sent `now`, at most `per_second` a
/// second; `planned` is what this returned for the one before.
///
/// A receiver that counts in any window of a second finds at most `per_second`: the gaps are longer
/// by the one delivery that a window holds more than it has gaps. A delivery that is sent later than
/// planned lets the next follow sooner by at most half a gap; a pause is not saved up for a burst.
pub fn send_next_at(per_second: u32, planned: Timestamp, now: Timestamp) -> Timestamp {
    let per_second = per_second.max(1);
    let gap = Duration::from_secs(1) / per_second;
    if per_second < 10 {
        // The half gap would be a burst of its own.
        return planned.max(now).plus(gap + gap / 50);
    }
    let gap = gap + gap / per_second;
    planned.max(now.minus(gap / 2)).plus(gap)
}

/// Returns how long an open breaker waits before its next probe, after `failures` in a row.
///
/// The wait grows as an event's does, but lies in the upper half below its ceiling: what is down
/// is not to be probed at once because of a low throw.
pub fn probe_delay(policy: &RetryPolicy, failures: u32, dice: f64) -> Duration {
    let first = policy.initial_delay.max(PROBE_DELAY_MIN);
    let last = policy.max_delay.max(PROBE_DELAY_MIN);
    let half = grown(first, policy, failures.saturating_sub(1)).min(last) / 2;
    half + scaled(half, dice)
}

/// `first × multiplier^times`, without overflow.
fn grown(first: Duration, policy: &RetryPolicy, times: u32) -> Duration {
    if first.is_zero() {
        return first;
    }
    let times = i32::try_from(times).unwrap_or(i32::MAX);
    let secs = first.as_secs_f64() * policy.multiplier.powi(times);
    Duration::try_from_secs_f64(secs).unwrap_or(Duration::MAX)
}

/// A share of a wait, whatever the dice show.
fn scaled(ceiling: Duration, dice: f64) -> Duration {
    if dice.is_nan() || 1.0 <= dice {
        return ceiling;
    }
    ceiling.mul_f64(dice.max(0.0)).min(ceiling)
}

/// Reads a `Retry-After` header: seconds (a fraction is rounded up), or a date in any of HTTP's
/// three forms (RFC 9110, 5.6.7). A date that has passed is zero; `None` if it is neither.
pub fn parse_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if value.is_empty() || value.len() > RETRY_AFTER_CHARS_MAX {
        return None;
    }
    if value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        let secs = value.parse::<f64>().ok()?.ceil();
        return Some(Duration::try_from_secs_f64(secs).unwrap_or(Duration::MAX));
    }
    let then = parse_http_date(value)?;
    Some(then.since(now))
}

fn parse_http_date(value: &str) -> Option<Timestamp> {
    if let Ok(then) = DateTimeParser::new().parse_timestamp(value) {
        return from_jiff(then);
    }
    // RFC 850's date with a two-digit year, and that of C's asctime; both are in UTC.
    let civil =
        ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"].into_iter().find_map(|form| {
            BrokenDownTime::parse(form, value).and_then(|time| time.to_datetime()).ok()
        })?;
    from_jiff(jiff::tz::Offset::UTC.to_timestamp(civil).ok()?)
}

fn from_jiff(then: jiff::Timestamp) -> Option<Timestamp> {
    i64::try_from(then.as_nanosecond()).ok().map(Timestamp::from_nanos)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn doubling() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 5,
            initial_delay: SECOND,
            multiplier: 2.0,
            max_delay: 5 * SECOND,
            retry_after_max: 3_600 * SECOND,
            retryable_status_codes: vec![503],
        }
    }

    #[test]
    fn the_ceiling_doubles_up_to_its_limit_and_the_attempts_end() {
        let ceilings: Vec<_> =
            (1..=6).map(|number| wait_before(&doubling(), number, 1.0, None)).collect();
        let secs = |secs: u32| Some(secs * SECOND);
        assert_eq!(ceilings, [secs(0), secs(1), secs(2), secs(4), secs(5), None]);
        assert_eq!(wait_before(&doubling(), 4, 0.25, None), Some(SECOND));
        assert_eq!(wait_before(&doubling(), 4, 0.0, None), Some(Duration::ZERO));
    }

    #[test]
    fn retry_after_lengthens_the_wait_but_not_beyond_its_limit() {
        let wait = |asked| wait_before(&doubling(), 2, 0.5, Some(asked));
        assert_eq!(wait(Duration::ZERO), Some(SECOND / 2));
        assert_eq!(wait(90 * SECOND), Some(90 * SECOND));
        assert_eq!(wait(86_400 * SECOND), Some(3_600 * SECOND));
    }

    #[test]
    fn one_attempt_leaves_none_after_it() {
        let policy = RetryPolicy { max_attempts: 1, ..doubling() };
        assert_eq!(wait_before(&policy, 1, 0.5, None), Some(Duration::ZERO));
        assert_eq!(wait_before(&policy, 2, 0.5, Some(SECOND)), None);
    }

    /// When deliveries go out whose sender wakes up to `late` after it may send.
    fn sent_at(per_second: u32, count: usize, late: Duration) -> Vec<Timestamp> {
        let mut dice = 7_u32;
        let (mut now, mut planned) = (Timestamp::from_millis(1_000), Timestamp::default());
        let mut times = Vec::new();
        for _ in 0..count {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            now = now.max(planned).plus(late.mul_f64(f64::from(dice) / f64::from(u32::MAX)));
            times.push(now);
            planned = send_next_at(per_second, planned, now);
        }
        times
    }

    #[test]
    fn no_window_of_a_second_holds_more_than_the_rate() {
        for per_second in [1, 2, 5, 10, 33, 200, 1_000] {
            for late in [0, 1, 5, 200].map(Duration::from_millis) {
                let times = sent_at(per_second, 3 * per_second as usize + 3, late);
                for (index, first) in times.iter().enumerate() {
                    let end = first.plus(SECOND);
                    let inside = times[index..].iter().take_while(|at| **at < end).count();
                    assert!(inside <= per_second as usize, "{inside} of {per_second}, {late:?}");
                }
            }
        }
    }

    #[test]
    fn a_sender_that_wakes_a_little_late_still_keeps_nearly_the_rate() {
        for per_second in [10, 200] {
            let late = SECOND / per_second / 3;
            let times = sent_at(per_second, 1_000, late);
            let whole = times[999].since(times[0]).as_secs_f64();
            let rate = 999.0 / whole;
            assert!(rate > 0.85 * f64::from(per_second), "{rate} of {per_second}");
        }
    }

    #[test]
    fn probes_wait_at_least_half_of_a_growing_ceiling() {
        let waits = |dice| [0, 1, 2, 3, 4, 99].map(|n| probe_delay(&doubling(), n, dice));
        let halves = [1, 1, 2, 4, 5, 5].map(|secs| secs * SECOND / 2);
        assert_eq!(waits(0.0), halves);
        assert_eq!(waits(1.0), halves.map(|half| half * 2));
        let hasty = RetryPolicy { initial_delay: Duration::ZERO, ..doubling() };
        assert_eq!(probe_delay(&hasty, 1, 1.0), PROBE_DELAY_MIN);
    }

    #[test]
    fn retry_after_is_read_in_seconds_and_in_all_three_dates() {
        // 1994-11-06T08:49:37Z, RFC 9110's example.
        let now = Timestamp::from_millis(784_111_777_000 - 90_000);
        let cases = [
            ("120", Some(120)),
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("1.2", Some(2)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(90)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(90)),
            ("Sun Nov  6 08:49:37 1994", Some(90)),
            ("Sun, 06 Nov 1994 08:40:00 GMT", Some(0)),
            ("-5", None),
            ("", None),
            (".", None),
            ("1.2.3", None),
            ("soon", None),
            ("Sun, 99 Nov 1994 08:49:37 GMT", None),
            ("1994-11-06T08:49:37Z", None),
        ];
        for (value, secs) in cases {
            let expected = secs.map(Duration::from_secs);
            assert_eq!(parse_retry_after(value, now), expected, "{value:?}");
        }
        let endless = "9".repeat(RETRY_AFTER_CHARS_MAX);
        assert_eq!(parse_retry_after(&endless, now), Some(Duration::MAX));
        assert_eq!(parse_retry_after(&"9".repeat(RETRY_AFTER_CHARS_MAX + 1), now), None);
    }

    proptest! {
        #[test]
        fn law_waits_stay_under_their_cap(
            number in 1_u32..,
            max_attempts in 0_u32..,
            dice in prop_oneof![0.0..=1.0, any::<f64>()],
            initial_ms in 0_u64..100_000_000,
            multiplier in prop_oneof![1.0..10.0, any::<f64>()],
            max_ms in 0_u64..100_000_000,
            asked_ms in proptest::option::of(any::<u64>()),
            asked_max_ms in 0_u64..100_000_000,
        ) {
            let policy = RetryPolicy {
                max_attempts,
                initial_delay: Duration::from_millis(initial_ms),
                multiplier,
                max_delay: Duration::from_millis(max_ms),
                retry_after_max: Duration::from_millis(asked_max_ms),
                retryable_status_codes: Vec::new(),
            };
            let asked = asked_ms.map(Duration::from_millis);
            let wait = wait_before(&policy, number, dice, asked);
            prop_assert_eq!(wait.is_some(), number <= max_attempts);
            let asked = asked.unwrap_or_default().min(policy.retry_after_max);
            prop_assert!(wait.unwrap_or_default() <= policy.max_delay.max(asked));
            if number > 1 && let Some(wait) = wait {
                prop_assert!(asked <= wait);
            }
            let probe = probe_delay(&policy, number, dice);
            prop_assert!(probe <= policy.max_delay.max(PROBE_DELAY_MIN));
        }

        #[test]
        fn law_any_retry_after_is_read_or_refused(value in "\\PC{0,80}", now in any::<i64>()) {
            let _ = parse_retry_after(&value, Timestamp::from_nanos(now));
        }
    }
}
