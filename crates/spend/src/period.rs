//! Which period of a budget a time lies in, and what periods are called.
//!
//! Invariant: periods of one duration follow one another without a gap, and begin at the same times
//! in every process.

use std::time::Duration;

use domain::{budget::BudgetDuration, time::Timestamp};
use jiff::{Timestamp as Instant, ToSpan, civil, tz::TimeZone};

const DAY: Duration = Duration::from_hours(24);
const WEEK: Duration = Duration::from_hours(7 * 24);
/// From the Unix epoch, a Thursday, to its first Monday.
const FIRST_MONDAY: Duration = Duration::from_hours(4 * 24);
/// Units of lengths, the largest first.
const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

/// When the period began that a time lies in. Without a duration there is one, from the epoch on.
pub(crate) fn started_at(duration: Option<BudgetDuration>, at: Timestamp) -> Timestamp {
    match duration {
        None => Timestamp::default(),
        Some(BudgetDuration::Day) => aligned(at, Duration::ZERO, DAY),
        Some(BudgetDuration::Week) => aligned(at, FIRST_MONDAY, WEEK),
        Some(BudgetDuration::Every(length)) => aligned(at, Duration::ZERO, length),
        Some(BudgetDuration::Month) => from_civil(month_of(at)),
    }
}

/// When the period ends that began then; `None` for one that does not.
pub(crate) fn ends_at(
    duration: Option<BudgetDuration>,
    started_at: Timestamp,
) -> Option<Timestamp> {
    Some(match duration? {
        BudgetDuration::Day => started_at.plus(DAY),
        BudgetDuration::Week => started_at.plus(WEEK),
        BudgetDuration::Every(length) => started_at.plus(length),
        BudgetDuration::Month => {
            let next = month_of(started_at).checked_add(1.month());
            next.map_or(Timestamp::from_nanos(i64::MAX), from_civil)
        }
    })
}

/// The duration in one word, as events and rows have it.
pub(crate) fn word(duration: Option<BudgetDuration>) -> String {
    match duration {
        None => "total".to_owned(),
        Some(BudgetDuration::Day) => "daily".to_owned(),
        Some(BudgetDuration::Week) => "weekly".to_owned(),
        Some(BudgetDuration::Month) => "monthly".to_owned(),
        Some(BudgetDuration::Every(length)) => {
            let secs = length.as_secs();
            let fits = |(_, unit): &&(&str, u64)| secs.is_multiple_of(*unit);
            let (name, unit) = UNITS.iter().find(fits).expect("seconds fit all");
            format!("{}{name}", secs / unit)
        }
    }
}

/// The duration that a word names; `None` for `total` and what is no such word.
pub(crate) fn from_word(word: &str) -> Option<BudgetDuration> {
    match word {
        "daily" => Some(BudgetDuration::Day),
        "weekly" => Some(BudgetDuration::Week),
        "monthly" => Some(BudgetDuration::Month),
        length => {
            let secs = UNITS.iter().find_map(|(name, unit)| {
                length.strip_suffix(name)?.parse::<u64>().ok()?.checked_mul(*unit)
            })?;
            Some(BudgetDuration::Every(Duration::from_secs(secs)))
        }
    }
}

/// The last multiple of `length` after `origin` that is not after `at`.
fn aligned(at: Timestamp, origin: Duration, length: Duration) -> Timestamp {
    let origin = i128::try_from(origin.as_nanos()).unwrap_or(i128::MAX);
    // A length of 0 has no periods; a nanosecond comes nearest.
    let length = i128::try_from(length.as_nanos()).unwrap_or(i128::MAX).max(1);
    let since = i128::from(at.as_nanos()) - origin;
    let start = origin + since.div_euclid(length) * length;
    Timestamp::from_nanos(i64::try_from(start).unwrap_or(i64::MIN))
}

fn month_of(at: Timestamp) -> civil::Date {
    // A `Timestamp` reaches from 1677 to 2262, and jiff's much further.
    let instant = Instant::from_nanosecond(i128::from(at.as_nanos())).unwrap_or_default();
    instant.to_zoned(TimeZone::UTC).date().first_of_month()
}

fn from_civil(date: civil::Date) -> Timestamp {
    let zoned = date.to_zoned(TimeZone::UTC).expect("UTC has every day");
    let nanos = zoned.timestamp().as_nanosecond();
    Timestamp::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        let instant: Instant = text.parse().unwrap();
        Timestamp::from_nanos(instant.as_nanosecond() as i64)
    }

    #[test]
    fn days_begin_at_midnight_weeks_on_mondays_months_on_the_first_in_utc() {
        let twelve_hours = BudgetDuration::Every(Duration::from_hours(12));
        for (duration, time, start, end) in [
            (
                BudgetDuration::Day,
                "2026-11-21T23:59:59.999999999Z",
                "2026-11-21T00:00:00Z",
                "2026-11-22T00:00:00Z",
            ),
            (
                BudgetDuration::Week,
                "2026-11-21T12:00:00Z",
                "2026-11-16T00:00:00Z",
                "2026-11-23T00:00:00Z",
            ),
            (
                BudgetDuration::Week,
                "2026-11-16T00:00:00Z",
                "2026-11-16T00:00:00Z",
                "2026-11-23T00:00:00Z",
            ),
            (
                BudgetDuration::Week,
                "1970-01-01T00:00:00Z",
                "1969-12-29T00:00:00Z",
                "1970-01-05T00:00:00Z",
            ),
            (
                BudgetDuration::Month,
                "2028-02-29T23:00:00Z",
                "2028-02-01T00:00:00Z",
                "2028-03-01T00:00:00Z",
            ),
            (
                BudgetDuration::Month,
                "2026-12-31T23:59:59Z",
                "2026-12-01T00:00:00Z",
                "2027-01-01T00:00:00Z",
            ),
            (twelve_hours, "2026-11-21T12:00:00Z", "2026-11-21T12:00:00Z", "2026-11-22T00:00:00Z"),
        ] {
            let started = started_at(Some(duration), at(time));
            assert_eq!(started.to_string(), at(start).to_string(), "{duration:?} {time}");
            assert_eq!(ends_at(Some(duration), started), Some(at(end)), "{duration:?} {time}");
        }
        assert_eq!(started_at(None, at("2026-11-21T12:00:00Z")), Timestamp::default());
        assert_eq!(ends_at(None, Timestamp::default()), None);
    }

    fn duration() -> impl Strategy<Value = BudgetDuration> {
        prop_oneof![
            Just(BudgetDuration::Day),
            Just(BudgetDuration::Week),
            Just(BudgetDuration::Month),
            (1..10_000_000_u64).prop_map(|secs| BudgetDuration::Every(Duration::from_secs(secs))),
        ]
    }

    proptest! {
        #[test]
        fn law_each_time_lies_in_its_period_and_the_next_one_begins_at_its_end(
            duration in duration(),
            nanos in 0..i64::MAX / 2,
        ) {
            let at = Timestamp::from_nanos(nanos);
            let start = started_at(Some(duration), at);
            let end = ends_at(Some(duration), start).unwrap();
            prop_assert!(start <= at && at < end);
            prop_assert_eq!(started_at(Some(duration), start), start);
            prop_assert_eq!(started_at(Some(duration), end), end);
            let last = Timestamp::from_nanos(end.as_nanos() - 1);
            prop_assert_eq!(started_at(Some(duration), last), start);
        }

        #[test]
        fn law_a_duration_comes_back_from_its_word(duration in proptest::option::of(duration())) {
            prop_assert_eq!(from_word(&word(duration)), duration);
        }
    }
}
