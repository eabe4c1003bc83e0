//! What a load has seen, and what medians make of several rounds.

use std::time::{Duration, Instant};

/// What was seen of one load.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    /// From the (intended) start of each call to its last byte.
    pub(crate) latencies: Vec<Duration>,
    /// From the (intended) start of each call to the first byte of its body.
    pub(crate) firsts: Vec<Duration>,
    /// Events of streams.
    pub(crate) events: usize,
    /// Calls that did not end well.
    pub(crate) errors: usize,
    /// What the first of them said.
    pub(crate) first_error: Option<String>,
    /// The gateway's ids of calls, and when each started.
    pub(crate) calls: Vec<(u128, Instant)>,
}

impl Samples {
    pub(crate) fn merge(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.firsts.extend(other.firsts);
        self.events += other.events;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
        self.calls.extend(other.calls);
    }
}

/// The value that `part` of all are at most: `quantile(_, 0.99)`. Zero if there are none.
pub(crate) fn quantile(values: &[Duration], part: f64) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * part).round() as usize).copied().unwrap_or_default()
}

/// The middle value, or the mean of the two in the middle. `NaN` if there are none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(middle)) {
        (1, Some(value)) => *value,
        (0, Some(value)) => f64::midpoint(sorted[middle - 1], *value),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_medians_are_the_textbook_ones() {
        let values: Vec<Duration> = (1..=101).rev().map(Duration::from_millis).collect();
        assert_eq!(quantile(&values, 0.5), Duration::from_millis(51));
        assert_eq!(quantile(&values, 0.99), Duration::from_millis(100));
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median([4.0, 1.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median([]).is_nan());
    }
}
