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
//!   names the bodies of which the journal kept only a part, and `partial_response` holds what came
//!   of an answer that failed.
//! - `model_map_information.model_map_value` has the keys that we know something of, not the other
//!   178, which are nearly all null there.
//! - `traceback` is empty: there is none.
//! - `error_str` has LiteLLM's class before the provider's message, once.
//! - `user_api_key_spend` of a named key is null: spend is not at hand here.
//! - There is no response cache, so nothing of a cache hit.
//! - A count that no provider reported is 0: LiteLLM counts by a tokenizer then.
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
mod hide;
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

/// How payloads are put into a body. LiteLLM says `application/json` for `ndjson` too, and
/// receivers that want another type set it in the destination's headers.
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
        // An answer that says of itself that it failed is an answer for LiteLLM.
        Outcome::Failed(failure) if failure.status == 200 => Told::Success,
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
/// Attempts in a row on one model are one group, but a stream that failed after it had begun is one
/// of its own: LiteLLM's retries do not see it coming. The group that failed for good is the
/// outcome's, and not among them; nor is the attempt that succeeded or was left.
fn failed_groups(report: &Report) -> Vec<(usize, &Failure)> {
    let facts = &report.exchange.facts;
    let Some((_, before)) = facts.attempts.split_last() else { return Vec::new() };
    let is_outcomes = match &facts.outcome {
        Outcome::Failed(failure) => failure.kind != FailureKind::ClientDisconnected,
        Outcome::Completed => false,
    };
    let failed_in_stream = |attempt: &ProviderAttempt| {
        let kind = attempt.failure.as_ref().map(|failure| failure.kind);
        matches!(kind, Some(FailureKind::StreamError | FailureKind::StreamCut))
    };
    let goes_on = |index: usize| {
        let (this, next) = (&facts.attempts[index], &facts.attempts[index + 1]);
        let is_last = index + 1 == before.len();
        this.deployment.model_name == next.deployment.model_name
            && (if is_last { is_outcomes } else { next.failure.is_some() })
            && !failed_in_stream(this)
            && !failed_in_stream(next)
    };
    let failures = before.iter().enumerate();
    let failures = failures.filter_map(|(index, attempt)| Some((index, attempt.failure.as_ref()?)));
    failures.filter(|(index, _)| !goes_on(*index)).collect()
}

/// Seconds from one time to another.
fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.since(from).as_micros() as f64 / 1e6
}

#[cfg(test)]
mod tests;
