//! Which events a destination gets: by type, by sample, by filter, by rules.
//!
//! Looks at one event and one destination. It remembers nothing but regular expressions in their
//! compiled form. A call whose logging is off has an outcome in the journal and no events for
//! anybody.
//!
//! Invariant: sampling decides by call (by session, if the caller named one), so that a receiver
//! gets all events of a call or none, in every attempt and after every restart.

mod facts;
mod properties;
mod rules;

use std::{borrow::Cow, sync::Arc};

use domain::{
    call::{Call, Logging},
    destination::{Destination, EventFilter},
    event::{Event, EventType, Report},
    glob,
};
use sha2::{Digest, Sha256};

pub(crate) use facts::answered_model;
use facts::{key_name, model_names, total_tokens};
pub use properties::{properties, user_id};
pub use rules::{RuleError, check_rules};

/// The header by which a caller keeps its call from destinations that it names (LiteLLM's).
const DISABLE_CALLBACKS: &str = "x-litellm-disable-callbacks";

/// Whether the destination gets the event as one of type `kind`.
pub fn matches(kind: EventType, event: &Event, destination: &Destination) -> bool {
    if !destination.wants(kind) {
        return false;
    }
    // What is of no call is not sampled, and has nothing that a filter looks at.
    let Some(call) = event.call() else { return true };
    call.logging != Logging::Off
        && !is_kept_from(call, destination)
        && is_sampled(call, destination.sample_rate)
        && destination.filter(kind).is_none_or(|filter| passes(event, call, filter))
        && destination
            .rules
            .as_ref()
            .is_none_or(|rules| rules::pass(rules, call, event.report().map(Arc::as_ref)))
}

/// Whether the caller named the destination, without regard to case, among those that are to hear
/// nothing of the call.
fn is_kept_from(call: &Call, destination: &Destination) -> bool {
    call.header(DISABLE_CALLBACKS).is_some_and(|names| {
        let name = destination.name.as_str();
        names.split(',').any(|disabled| disabled.trim().eq_ignore_ascii_case(name))
    })
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
        && passes_names(&filter.keys, key_name(call))
        && passes_names(&filter.end_users, user_id(call))
        && passes_names(&filter.tags, call.tags.iter().map(String::as_str))
        && passes_properties(call, report, &filter.properties)
}

/// Matches the name that the caller used, and those of the deployment that made the outcome: its
/// public one, the provider's, and the provider's behind its prefix (`openai/gpt-4o`). Pieces of a
/// stream know the caller's name only.
fn passes_models(call: &Call, report: Option<&Report>, globs: &[String]) -> bool {
    globs.is_empty()
        || model_names(call, report).any(|name| globs.iter().any(|glob| glob::matches(glob, &name)))
}

fn passes_tokens(report: Option<&Report>, fewest: Option<u64>) -> bool {
    let count = report.and_then(|report| report.usage.as_ref()).and_then(total_tokens);
    match (count, fewest) {
        (Some(count), Some(fewest)) => fewest <= count,
        _ => true,
    }
}

/// Whether one of the globs matches one of the names. Without a name, only no globs pass.
fn passes_names<'a>(globs: &[String], names: impl IntoIterator<Item = &'a str>) -> bool {
    globs.is_empty()
        || names.into_iter().any(|name| globs.iter().any(|glob| glob::matches(glob, name)))
}

/// Whether the call has all properties: names without regard to case, values exactly.
fn passes_properties(call: &Call, report: Option<&Report>, wanted: &[(String, String)]) -> bool {
    if wanted.is_empty() {
        return true;
    }
    let properties = properties(call);
    wanted.iter().all(|(name, value)| {
        let mut own = properties.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        match own.next() {
            Some((_, first)) => first == value || own.any(|(_, other)| other == value),
            None => has_built_in(call, report, name, value),
        }
    })
}

/// Whether a call has a property that it was not given: its `model`, under any of its names, or its
/// `user_id`.
fn has_built_in(call: &Call, report: Option<&Report>, name: &str, value: &str) -> bool {
    match name.to_ascii_lowercase().as_str() {
        "user_id" => user_id(call) == Some(value),
        "model" => {
            let answered = report.and_then(answered_model).map(Cow::Owned);
            model_names(call, report).chain(answered).any(|known| known == value)
        }
        _ => false,
    }
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

#[cfg(test)]
mod tests;
