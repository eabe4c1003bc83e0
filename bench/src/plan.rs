//! What is measured, how often and for how long.

use std::time::Duration;

use crate::{Args, load::Pattern, system::Kind, upstream::Shape};

/// One load, put on several systems in turn.
#[derive(Debug, Clone)]
pub(crate) struct Measurement {
    pub(crate) shape: Shape,
    pub(crate) pattern: Pattern,
    pub(crate) kinds: Vec<Kind>,
}

/// Everything that one run does.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) measurements: Vec<Measurement>,
    pub(crate) rounds: usize,
    pub(crate) length: Duration,
    /// How long each round waits for the rest of the machine to be idle.
    pub(crate) patience: Duration,
    /// How often a round that others disturbed is tried again.
    pub(crate) retries: usize,
}

/// Calls a second of the open loads: about what one busy team of agents makes, and far below what
/// any of the systems can do.
pub(crate) const OPEN_RATE: f64 = 1_000.0;

const PROXIES: [Kind; 3] = [Kind::Direct, Kind::Nginx, Kind::Hookgate];
const ALL: [Kind; 5] =
    [Kind::Direct, Kind::Nginx, Kind::Hookgate, Kind::HookgateEach, Kind::HookgateNone];

impl Plan {
    pub(crate) fn from_args(args: &Args) -> Self {
        let (rounds, seconds, patience, retries) =
            if args.quick { (1, 0.5, 0.0, 0) } else { (5, 3.0, 10.0, 2) };
        Self {
            measurements: measurements(args),
            rounds: args.rounds.unwrap_or(rounds).max(1),
            length: Duration::from_secs_f64(args.seconds.unwrap_or(seconds)),
            patience: Duration::from_secs_f64(args.patience.unwrap_or(patience)),
            retries: args.retries.unwrap_or(retries),
        }
    }
}

fn measurements(args: &Args) -> Vec<Measurement> {
    let one = |shape, pattern, kinds: &[Kind]| Measurement { shape, pattern, kinds: kinds.into() };
    let mut all = vec![
        one(Shape::Plain, Pattern::Closed(1), &PROXIES),
        one(Shape::Plain, Pattern::Closed(16), &ALL),
        one(Shape::Plain, Pattern::Closed(64), &PROXIES),
        one(Shape::Plain, Pattern::Open(OPEN_RATE), &ALL[..4]),
        one(Shape::Stream, Pattern::Closed(1), &PROXIES),
        one(Shape::Stream, Pattern::Closed(16), &PROXIES),
        one(Shape::Paced, Pattern::Closed(16), &PROXIES),
        one(Shape::Long, Pattern::Closed(16), &PROXIES),
    ];
    if let (Some(shape), Some(callers)) = (args.scenario, args.concurrency) {
        all = vec![one(shape, Pattern::Closed(callers), &PROXIES)];
    }
    all.retain(|measurement| {
        args.scenario.is_none_or(|shape| shape == measurement.shape)
            && args.concurrency.is_none_or(|n| measurement.pattern == Pattern::Closed(n))
    });
    if !args.only.is_empty() {
        let asked = |kind: &Kind| args.only.contains(kind);
        if all.len() == 1 {
            all[0].kinds = ALL.iter().copied().filter(asked).collect();
        }
        for measurement in &mut all {
            measurement.kinds.retain(asked);
        }
        all.retain(|measurement| !measurement.kinds.is_empty());
    }
    all
}
