//! Gateway events, one JSON object a body (seed 002).
//!
//! The fields that the seed shows come first, as it shows them and in its order; ours follow.
//! Receivers must pass over fields that they do not know. A number that nobody knows is null, not
//! 0.

use domain::{
    budget::BudgetReached,
    call::{Call, Caller, Endpoint, Logging},
    destination::Destination,
    event::{Detail, Event, Piece, RateLimited, Report},
    exchange::ProviderAttempt,
    failure::Failure,
    id::EventId,
    note::{News, Note},
    time::Timestamp,
};

use super::{
    Item, Shape,
    json::{Amount, Json, Null, Raw},
};
use crate::matching::matches;

/// The event, if the destination wants it.
pub(super) fn items(event: &Event, destination: &Destination) -> Vec<Item> {
    if !matches(event.kind(), event, destination) {
        return Vec::new();
    }
    let mut json = Json::with_capacity(1_024);
    write(&mut json, event, destination);
    let bytes = json.into_bytes().into();
    vec![Item { id: event.id.clone(), sequence: event.sequence, bytes }]
}

/// One event a body.
pub(super) fn shape() -> Shape {
    Shape::single("application/json")
}

/// Writes an event as one object.
pub(super) fn write(json: &mut Json, event: &Event, destination: &Destination) {
    let hides_text = destination.privacy
        || event.call().is_some_and(|call| call.logging != Logging::Full || call.omit_response);
    json.open();
    match &event.detail {
        Detail::Completion(report) => completion(json, event, report, hides_text),
        Detail::Error(report) => match report.exchange.facts.outcome.failure() {
            Some(failure) => error(json, event, report, failure, hides_text),
            // Only a failed exchange becomes an error event; told as what it is, all the same.
            None => completion(json, event, report, hides_text),
        },
        Detail::Streaming(piece) => streaming(json, event, piece, hides_text),
        Detail::RateLimit(limited) => rate_limit(json, event, limited),
        Detail::Noted(note) => noted(json, note),
    }
    json.close();
}

fn completion(json: &mut Json, event: &Event, report: &Report, hides_text: bool) {
    let facts = &report.exchange.facts;
    json.field("event", "completion");
    json.field("request_id", facts.call.id.to_request_id().as_str());
    json.field("model", facts.call.model.as_str());
    json.field("tokens_used", report.usage.and_then(|usage| usage.total_tokens));
    json.field("latency_ms", millis_between(facts.call.arrived_at, facts.finished_at));
    json.field("timestamp", second(event.occurred_at).as_str());

    identity(json, &event.id, event.occurred_at);
    json.field("endpoint", endpoint(facts.call.endpoint));
    who(json, &facts.call, facts.attempts.last());
    seen(json, report, hides_text);
    json.field("retries", u64::from(facts.retries));
    json.field("fallbacks", u64::from(facts.fallbacks));
}

fn error(json: &mut Json, event: &Event, report: &Report, failure: &Failure, hides_text: bool) {
    let facts = &report.exchange.facts;
    json.field("event", "error");
    json.field("request_id", facts.call.id.to_request_id().as_str());
    json.field("error_type", failure.kind.as_str());
    json.field("error_message", failure.message.as_str());
    json.field("retry_after", failure.retry_after_secs);
    json.field("timestamp", second(event.occurred_at).as_str());

    identity(json, &event.id, event.occurred_at);
    json.field("model", facts.call.model.as_str());
    json.field("endpoint", endpoint(facts.call.endpoint));
    json.field("severity", failure.kind.severity().as_str());
    json.field("status", u64::from(failure.status));
    json.field("error_code", failure.code.as_deref());
    json.field("error_param", failure.param.as_deref());
    json.field("latency_ms", millis_between(facts.call.arrived_at, facts.finished_at));
    who(json, &facts.call, facts.attempts.last());
    json.field("tokens_used", report.usage.and_then(|usage| usage.total_tokens));
    seen(json, report, hides_text);
    json.name("attempts");
    json.open_list();
    for attempt in &facts.attempts {
        json.comma();
        json.open();
        json.field("model", attempt.deployment.model_name.as_str());
        json.field("provider", attempt.deployment.provider.as_str());
        json.field("provider_model", attempt.deployment.model.as_str());
        json.field("status", attempt.status.map(u64::from));
        json.field("error_type", attempt.failure.as_ref().map(|failure| failure.kind.as_str()));
        json.field("latency_ms", millis_between(attempt.started_at, attempt.finished_at));
        json.close();
    }
    json.close_list();
}

fn streaming(json: &mut Json, event: &Event, piece: &Piece, hides_text: bool) {
    json.field("event", "streaming");
    json.field("request_id", piece.call.id.to_request_id().as_str());
    json.field("token_index", u64::from(piece.token_index));
    json.field("content", if hides_text { "" } else { piece.content.as_str() });
    json.field("finish_reason", piece.finish_reason.as_deref());
    json.field("timestamp", second(event.occurred_at).as_str());

    identity(json, &event.id, event.occurred_at);
    json.field("token_index_first", u64::from(piece.token_index_first));
    json.field("choice_index", u64::from(piece.choice_index));
    json.field("model", piece.call.model.as_str());
    json.field("endpoint", endpoint(piece.call.endpoint));
    caller(json, &piece.call);
}

fn rate_limit(json: &mut Json, event: &Event, limited: &RateLimited) {
    let facts = &limited.report.exchange.facts;
    json.field("event", "rate_limit");
    json.field("request_id", facts.call.id.to_request_id().as_str());
    json.field("model", facts.call.model.as_str());
    json.field("scope", limited.scope.as_str());
    json.field("limit_type", limited.kind.as_str());
    json.field("limit", limited.limit.map(Amount));
    json.field("remaining", limited.remaining.map(Amount));
    json.field("retry_after", limited.retry_after_secs);
    json.field("timestamp", second(event.occurred_at).as_str());

    identity(json, &event.id, event.occurred_at);
    json.field("endpoint", endpoint(facts.call.endpoint));
    let attempt = limited.attempt.and_then(|index| facts.attempts.get(index));
    who(json, &facts.call, attempt);
    // Counted from 1; null where the gateway refused before any.
    let number = limited.attempt.map(|index| u64::try_from(index).unwrap_or(u64::MAX - 1) + 1);
    json.field("attempt", number);
}

fn noted(json: &mut Json, note: &Note) {
    let kind = note.kind().as_str();
    let timestamp = second(note.at);
    json.field("event", kind);
    match &note.news {
        News::BudgetReached(reached) => budget(json, reached, &timestamp),
        News::DestinationDisabled { destination, reason } => {
            json.field("destination", destination.as_str());
            json.field("reason", reason.as_str());
            json.field("timestamp", timestamp.as_str());
        }
        News::DestinationRecovered { destination, failing_since } => {
            json.field("destination", destination.as_str());
            json.field("failing_since", moment(*failing_since).as_str());
            json.field("timestamp", timestamp.as_str());
        }
        News::DeliveryExhausted { destination, delivery, attempts, reason } => {
            json.field("destination", destination.as_str());
            json.field("delivery_id", delivery.as_str());
            json.field("attempts", u64::from(*attempts));
            json.field("reason", reason.as_str());
            json.field("timestamp", timestamp.as_str());
        }
    }
    identity(json, &note.id, note.at);
}

fn budget(json: &mut Json, reached: &BudgetReached, timestamp: &str) {
    json.field("org_id", reached.org_id.as_str());
    json.field("usage_percent", Amount(usage_percent(reached)));
    json.field("limit_type", reached.limit_type.as_str());
    json.field("current_spend", Amount(reached.spent));
    json.field("budget_limit", Amount(reached.max_budget));
    json.field("timestamp", timestamp);

    json.field("scope", reached.scope.as_str());
    json.field("matched", reached.matched.as_str());
    json.field("threshold", Amount(reached.threshold));
    // A budget for ever has no period, and so no beginning of one.
    let period_started_at = reached.resets_at.map(|_| moment(reached.period_started_at));
    json.field("period_started_at", period_started_at.as_deref());
    json.field("resets_at", reached.resets_at.map(moment).as_deref());
}

/// How much of the budget is spent, in percent to two places. A budget of nothing is spent whole.
pub(super) fn usage_percent(reached: &BudgetReached) -> f64 {
    if reached.max_budget <= 0.0 {
        return 100.0;
    }
    (reached.spent / reached.max_budget * 1e4).round() / 1e2
}

/// What tells an event from all others, and its time more exactly than `timestamp`.
fn identity(json: &mut Json, id: &EventId, at: Timestamp) {
    json.field("event_id", id.as_str());
    json.field("occurred_at", moment(at).as_str());
}

const fn endpoint(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::ChatCompletions => "chat_completions",
        Endpoint::TextCompletions => "text_completions",
        Endpoint::Embeddings => "embeddings",
        Endpoint::Responses => "responses",
        Endpoint::Messages => "messages",
    }
}

/// Who called, and who answered.
fn who(json: &mut Json, call: &Call, attempt: Option<&ProviderAttempt>) {
    let deployment = attempt.map(|attempt| &attempt.deployment);
    json.field("provider", deployment.map(|deployment| deployment.provider.as_str()));
    json.field("provider_model", deployment.map(|deployment| deployment.model.as_str()));
    caller(json, call);
}

/// Who called, and what the call belongs to.
fn caller(json: &mut Json, call: &Call) {
    let key_name = match &call.caller {
        Caller::Key { name, .. } => Some(name.as_str()),
        Caller::Master => Some("master"),
        Caller::Anonymous | Caller::Refused => None,
    };
    json.field("key_name", key_name);
    json.field("end_user", call.end_user.as_deref());
    json.name("tags");
    json.open_list();
    for tag in &call.tags {
        json.element(tag.as_str());
    }
    json.close_list();
    json.field("session_id", call.session_id.as_deref());
    json.field("trace_id", call.trace_id.as_deref());
}

/// What was seen of the answer.
fn seen(json: &mut Json, report: &Report, hides_text: bool) {
    let facts = &report.exchange.facts;
    let usage = report.usage.unwrap_or_default();
    json.field("prompt_tokens", usage.input_tokens);
    json.field("completion_tokens", usage.output_tokens);
    json.field("cached_tokens", usage.cache_read_tokens);
    json.field("reasoning_tokens", usage.reasoning_tokens);
    json.field("cost_usd", report.cost.map(|cost| cost.total));
    json.field("finish_reason", report.finish_reason.as_deref());
    match &report.text {
        Some(text) if !hides_text => json.field("content", text.as_str()),
        _ => json.field("content", Null),
    }
    json.field("reasoning", report.reasoning.as_deref().filter(|_| !hides_text));
    json.field("tool_calls", report.tool_calls.as_deref().filter(|_| !hides_text).map(Raw));
    json.field("stream", facts.call.stream);
    let first_token_at = facts.first_byte_at.filter(|_| facts.response_is_stream);
    json.field(
        "first_token_ms",
        first_token_at.map(|at| millis_between(facts.call.arrived_at, at)),
    );
    if report.exchange.response.truncated {
        json.field("truncated", true);
    }
}

fn millis_between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX)
}

/// RFC 3339 in UTC in whole seconds, as the seed shows its `timestamp`.
fn second(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.as_secs()).map_or_else(|_| at.to_string(), |at| at.to_string())
}

/// RFC 3339 in UTC with milliseconds.
pub(super) fn moment(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis())
        .map_or_else(|_| at.to_string(), |at| format!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_milliseconds_and_a_z() {
        assert_eq!(moment(Timestamp::from_millis(1_705_314_600_000)), "2024-01-15T10:30:00.000Z");
        assert_eq!(moment(Timestamp::from_nanos(1_999_999)), "1970-01-01T00:00:00.001Z");
    }

    #[test]
    fn a_second_is_written_as_the_seed_does() {
        assert_eq!(second(Timestamp::from_millis(1_705_314_600_999)), "2024-01-15T10:30:00Z");
    }
}
