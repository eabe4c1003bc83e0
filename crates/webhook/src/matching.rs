//! Which events a destination gets: by type, by sample, by filter.
//!
//! Looks at one event and one destination, and remembers nothing. A call whose logging is off has
//! an outcome in the journal and no events for anybody.
//!
//! Invariant: sampling decides by call (by session, if the caller named one), so that a receiver
//! gets all events of a call or none, in every attempt and after every restart.

use std::sync::Arc;

use domain::{
    call::{Call, Logging},
    destination::{Destination, EventFilter},
    event::{Event, EventType, Report},
    usage::Usage,
};
use sha2::{Digest, Sha256};

/// Whether the destination gets the event as one of type `kind`.
pub fn matches(kind: EventType, event: &Event, destination: &Destination) -> bool {
    if !destination.wants(kind) {
        return false;
    }
    // What is of no call is not sampled, and has nothing that a filter looks at.
    let Some(call) = event.call() else { return true };
    call.logging != Logging::Off
        && is_sampled(call, destination.sample_rate)
        && destination.filter(kind).is_none_or(|filter| passes(event, call, filter))
}

/// Whether a call belongs to the share of calls that `rate` of `0.0..=1.0` asks for. The calls of a
/// lower rate are among those of a higher one.
fn is_sampled(call: &Call, rate: f64) -> bool {
    if 1.0 <= rate {
        return true;
    }
    let digest = match &call.session_id {
        Some(session) => Sha256::digest(session),
        // The first six bytes are the time of arrival.
        None => Sha256::digest(&call.id.as_bytes()[6..]),
    };
    let (first, _) = digest.split_first_chunk().expect("SHA-256 has 32 bytes");
    // 53 bits are what an `f64` holds exactly.
    let throw = (u64::from_be_bytes(*first) >> 11) as f64 / (1_u64 << 53) as f64;
    throw < rate
}

fn passes(event: &Event, call: &Call, filter: &EventFilter) -> bool {
    let report = event.report().map(Arc::as_ref);
    passes_models(call, report, &filter.models)
        && passes_tokens(report, filter.min_tokens)
        && passes_severity(report, filter)
}

/// Matches the name that the caller used, and those of the deployment that made the outcome: its
/// public one, the provider's, and the provider's behind its prefix (`openai/gpt-4o`). Pieces of a
/// stream know the caller's name only.
fn passes_models(call: &Call, report: Option<&Report>, globs: &[String]) -> bool {
    if globs.is_empty() {
        return true;
    }
    let is_match = |name: &str| globs.iter().any(|glob| glob_matches(glob, name));
    if is_match(&call.model) {
        return true;
    }
    let attempt = report.and_then(|report| report.exchange.facts.attempts.last());
    attempt.is_some_and(|attempt| {
        let deployment = &attempt.deployment;
        is_match(&deployment.model_name)
            || is_match(&deployment.model)
            || is_match(&format!("{}/{}", deployment.provider, deployment.model))
    })
}

fn passes_tokens(report: Option<&Report>, fewest: Option<u64>) -> bool {
    let count = report.and_then(|report| report.usage.as_ref()).and_then(total_tokens);
    match (count, fewest) {
        (Some(count), Some(fewest)) => fewest <= count,
        _ => true,
    }
}

fn total_tokens(usage: &Usage) -> Option<u64> {
    usage.total_tokens.or_else(|| Some(usage.input_tokens?.saturating_add(usage.output_tokens?)))
}

/// An event without a failure has no severity, and passes.
fn passes_severity(report: Option<&Report>, filter: &EventFilter) -> bool {
    let failure = report.and_then(|report| report.exchange.facts.outcome.failure());
    match failure {
        Some(failure) if !filter.severity.is_empty() => {
            filter.severity.contains(&failure.kind.severity())
        }
        _ => true,
    }
}

/// Whether a glob matches a whole name: `*` stands for any characters, `?` for one; everything
/// else, case included, for itself.
fn glob_matches(glob: &str, name: &str) -> bool {
    let (mut glob, mut name) = (glob.chars(), name.chars());
    // Where to go on if what follows the last star does not fit: one character later.
    let mut last_star = None;
    loop {
        let (glob_before, name_before) = (glob.clone(), name.clone());
        let is_fit = match (glob.next(), name.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                name = name_before.clone();
                last_star = Some((glob.clone(), name_before));
                continue;
            }
            (Some('?'), Some(_)) => true,
            (Some(expected), Some(found)) => expected == found,
            (_, None) => return glob_before.clone().all(|c| c == '*'),
            (None, Some(_)) => false,
        };
        if is_fit {
            continue;
        }
        let Some((after_star, mut from)) = last_star.take() else { return false };
        if from.next().is_none() {
            return false;
        }
        glob = after_star.clone();
        name = from.clone();
        last_star = Some((after_star, from));
    }
}

mod rules;

pub use rules::{RuleError, check_rules};

#[cfg(test)]
mod tests;
