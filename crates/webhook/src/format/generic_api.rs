//! LiteLLM's generic API callback: what a receiver of `StandardLoggingPayload`s expects (LiteLLM
//! 1.109.1).
//!
//! One outcome can make several posts: LiteLLM tells of each group of failed attempts on a model
//! before it tells of the outcome. A post is a success or a failure, and its own kind decides
//! whether a destination wants it: `llm_api_success` is our `completion`, `llm_api_failure` our
//! `error`. A caller who leaves a stream makes a success, as there, with code 499 in it.
//!
//! The 46 keys stand in LiteLLM's order. What differs, and why:
//!
//! - `usage` and `cost` follow after LiteLLM's keys, as its documentation shows them; `truncated`
//!   names the bodies of which the journal kept only a part.
//! - `model_map_information.model_map_value` has the keys that we know something of, not the other
//!   180, which are nearly all null there.
//! - `traceback` is empty: there is none.
//! - `error_code` is the status that the caller got: 502 for a provider that cannot be reached, where
//!   LiteLLM answers 500. `error_str` has LiteLLM's class before the provider's message, once.
//! - `user_api_key_spend` is null: spend is not counted by key yet.
//! - A failed stream keeps the text that came in `response`, where LiteLLM has `{}`.
//! - Members of a provider's answer, and counts in its `usage`, pass through as they came; LiteLLM
//!   drops some and adds nulls for others. The nulls that its receivers may index (`tool_calls`,
//!   `function_call`, `…_tokens_details`) are added here too.
//! - A call without a trace has its own id as `trace_id`, not a random one: a payload that is made
//!   twice must be the same.
//!
//! `Compat::Document` writes what LiteLLM's documentation shows instead: `call_type`
//! `litellm.completion`, times as text, the model without its provider.

mod answer;
mod error;
mod hidden;
mod metadata;
mod post;
mod request;

use domain::{
    destination::{Destination, LogFormat},
    event::{Detail, Event, EventType, Report},
    exchange::{Outcome, ProviderAttempt},
    failure::{Failure, FailureKind},
    id::EventId,
    time::Timestamp,
};

use super::{Item, Shape};
use crate::matching::matches;
use post::Post;

/// What a post tells.
#[derive(Debug, Clone, Copy)]
enum Told<'a> {
    /// An answer.
    Success,
    /// A stream that its caller left.
    Left,
    /// A failure: the call's, or that of attempts before its outcome.
    Failure(&'a Failure),
}

impl Told<'_> {
    fn kind(self) -> EventType {
        match self {
            Self::Success | Self::Left => EventType::Completion,
            Self::Failure(_) => EventType::Error,
        }
    }
}

/// How payloads are put into a body. LiteLLM says `application/json` for `ndjson` too, and receivers
/// that want another type set it in the destination's headers.
pub(super) fn shape(log_format: LogFormat) -> Shape {
    match log_format {
        LogFormat::JsonArray => Shape::many(["[", ",", "]"], "application/json"),
        LogFormat::Ndjson => Shape::many(["", "\n", ""], "application/json"),
        LogFormat::Single => Shape::single("application/json"),
    }
}

/// The posts of an outcome that the destination wants, failed attempts first.
pub(super) fn items(event: &Event, destination: &Destination) -> Vec<Item> {
    // A piece of a stream, a limit and a note have no post in LiteLLM.
    let (Detail::Completion(report) | Detail::Error(report)) = &event.detail else {
        return Vec::new();
    };
    let facts = &report.exchange.facts;
    let mut items = Vec::with_capacity(1);
    if matches(EventType::Error, event, destination) {
        for (before, (index, failure)) in failed_groups(report).into_iter().enumerate() {
            let id = EventId::of_failed_attempts(facts.call.id, before + 1);
            let post = Post::of_attempts(report, destination, Told::Failure(failure), index);
            items.push(Item { id, sequence: event.sequence, bytes: post.render().into() });
        }
    }
    let told = match &facts.outcome {
        Outcome::Completed => Told::Success,
        Outcome::Failed(failure)
            if failure.kind == FailureKind::ClientDisconnected && facts.call.stream =>
        {
            Told::Left
        }
        Outcome::Failed(failure) => Told::Failure(failure),
    };
    if matches(told.kind(), event, destination) {
        let bytes = Post::of_outcome(report, destination, told).render().into();
        items.push(Item { id: event.id.clone(), sequence: event.sequence, bytes });
    }
    items
}

/// The groups of failed attempts before the outcome, by their last attempt's index and failure.
///
/// Attempts in a row on one model are one group. Those of the outcome itself are not among them:
/// the attempt that succeeded or was left, or the group that failed for good.
fn failed_groups(report: &Report) -> Vec<(usize, &Failure)> {
    let facts = &report.exchange.facts;
    let Some((last, before)) = facts.attempts.split_last() else { return Vec::new() };
    let belongs_to_outcome = |attempt: &ProviderAttempt| match &facts.outcome {
        Outcome::Failed(failure) if failure.kind != FailureKind::ClientDisconnected => {
            attempt.deployment.model_name == last.deployment.model_name
        }
        _ => false,
    };
    let end = before.iter().rposition(|a| !belongs_to_outcome(a)).map_or(0, |index| index + 1);
    let model_of = |index: usize| &before[index].deployment.model_name;
    let mut groups: Vec<(usize, &Failure)> = Vec::new();
    for (index, attempt) in before[..end].iter().enumerate() {
        let Some(failure) = &attempt.failure else { continue };
        match groups.last_mut() {
            Some(group) if model_of(group.0) == model_of(index) => *group = (index, failure),
            _ => groups.push((index, failure)),
        }
    }
    groups
}

/// Seconds from one time to another.
fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.since(from).as_micros() as f64 / 1e6
}
