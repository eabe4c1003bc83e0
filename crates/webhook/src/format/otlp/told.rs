//! A call as both profiles tell it: what was asked, who answered, what may be shown.

use std::{borrow::Cow, collections::HashMap, time::Duration};

use domain::{
    call::{Call, Endpoint, Logging},
    destination::{Compat, Destination},
    event::Report,
    exchange::{Facts, ProviderAttempt},
    failure::{Failure, FailureKind},
    time::Timestamp,
};

use super::{
    ids,
    span::{Attributes, CLIENT, Span, State},
};
use crate::format::json::{Members, text_of};

/// Members of `trace` that name things and are no metadata (`OpenRouter`'s documentation). It takes
/// `span_name` and makes nothing of it.
const RESERVED: [&str; 5] =
    ["trace_id", "trace_name", "span_name", "generation_name", "parent_span_id"];

/// Keys of metadata that are not the caller's to set.
const OWN: [&str; 3] = ["openrouter.", "openrouter_generation.", "hookgate."];

/// The key of what providers answered, among the metadata.
pub(super) const PROVIDER_RESPONSES: &str = "provider_responses";

/// One call while it is written for one destination.
pub(super) struct Told<'a> {
    pub(super) report: &'a Report,
    /// The request's members; none if it was cut or is no object.
    pub(super) request: Members<'a>,
    pub(super) generation_id: String,
    trace: Members<'a>,
    trace_id: String,
    span_id: String,
    parent_id: Option<String>,
    is_documented: bool,
    hides_prompt: bool,
    hides_answer: bool,
}

impl<'a> Told<'a> {
    pub(super) fn new(report: &'a Report, body: &'a str, destination: &Destination) -> Self {
        let call = report.exchange.facts.call.as_ref();
        let request = Members::of(body);
        let trace = request.get("trace").map(Members::of).unwrap_or_default();
        let text = |name| trace.get(name).and_then(text_of);
        let generation_id = ids::generation_id(call);
        let trace_name = text("trace_id").or(call.trace_id.as_deref().map(Cow::Borrowed));
        let trace_id = ids::trace_id(trace_name.as_deref().unwrap_or(&generation_id));
        let parent_id = text("parent_span_id").map(|name| ids::parent_id(&name));
        let hides_texts = destination.privacy || call.logging != Logging::Full;
        Self {
            report,
            span_id: ids::span_id(&generation_id),
            generation_id,
            trace_id,
            parent_id,
            is_documented: destination.compat == Compat::Document,
            hides_prompt: hides_texts || call.omit_request,
            hides_answer: hides_texts || call.omit_response,
            request,
            trace,
        }
    }

    pub(super) fn facts(&self) -> &'a Facts {
        &self.report.exchange.facts
    }

    pub(super) fn call(&self) -> &'a Call {
        &self.report.exchange.facts.call
    }

    /// Whether it is written as `OpenRouter`'s documentation shows it.
    pub(super) fn is_documented(&self) -> bool {
        self.is_documented
    }

    /// Whether nothing may be told of what was asked, its tools included.
    pub(super) fn hides_prompt(&self) -> bool {
        self.hides_prompt
    }

    /// Whether nothing may be told of what was answered.
    pub(super) fn hides_answer(&self) -> bool {
        self.hides_answer
    }

    /// A text that the caller put into `trace`.
    pub(super) fn trace_text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.trace.get(name).and_then(text_of)
    }

    /// What `GenAI`'s conventions call the operation.
    pub(super) fn operation(&self) -> &'static str {
        match self.call().endpoint {
            Endpoint::ChatCompletions | Endpoint::Responses | Endpoint::Messages => "chat",
            Endpoint::TextCompletions => "text_completion",
            Endpoint::Embeddings => "embeddings",
        }
    }

    /// Writes the caller's metadata, each key behind `prefix` and once, and none that is ours.
    pub(super) fn write_metadata(&self, attributes: &mut Attributes<'_>, prefix: &str) {
        // Of a name that stands twice, the last value counts, as for parsers.
        let last: HashMap<&str, usize> =
            self.trace.iter().enumerate().map(|(position, (name, _))| (name, position)).collect();
        for (position, (name, value)) in self.trace.iter().enumerate() {
            let is_ours = RESERVED.contains(&name)
                || name == PROVIDER_RESPONSES
                || OWN.iter().any(|prefix| name.starts_with(prefix));
            if !is_ours && last.get(name) == Some(&position) {
                attributes.any(&format!("{prefix}{name}"), value);
            }
        }
    }

    /// Writes what no other system has: the call's id as its caller knows it, and which bodies the
    /// journal kept a part of.
    pub(super) fn write_own_metadata(&self, attributes: &mut Attributes<'_>) {
        let exchange = &self.report.exchange;
        attributes.text("trace.metadata.hookgate.call_id", &self.call().id.to_string());
        let cut = match (exchange.request.truncated, exchange.response.truncated) {
            (false, false) => return,
            (true, false) => r#"["request"]"#,
            (false, true) => r#"["response"]"#,
            (true, true) => r#"["request","response"]"#,
        };
        attributes.text("trace.metadata.hookgate.truncated", cut);
    }

    /// The root span, a client's. `is_told` writes what went wrong as an exception, too.
    pub(super) fn root<'s>(&'s self, name: &'s str, is_told: bool) -> Span<'s> {
        let facts = self.facts();
        Span {
            trace_id: &self.trace_id,
            id: &self.span_id,
            parent_id: self.parent_id.as_deref(),
            name,
            kind: CLIENT,
            started_at: facts.call.arrived_at,
            ended_at: facts.finished_at,
            state: self.state(is_told),
        }
    }

    /// How the call ended.
    pub(super) fn state(&self, is_told: bool) -> State<'a> {
        match self.facts().outcome.failure() {
            None => State::Ok,
            Some(failure) => State::Failed { message: message_of(failure), is_told },
        }
    }

    /// A span below the root, from the start to the end of something.
    pub(super) fn child<'s>(
        &'s self,
        names: [&'s str; 2],
        kind: u64,
        times: [Timestamp; 2],
        state: State<'s>,
    ) -> Span<'s> {
        let ([id, name], [started_at, ended_at]) = (names, times);
        Span {
            trace_id: &self.trace_id,
            id,
            parent_id: Some(&self.span_id),
            name,
            kind,
            started_at,
            ended_at,
            state,
        }
    }

    /// When an attempt's provider had answered: for the one that streamed its answer, the first byte.
    pub(super) fn answered_at(&self, index: usize) -> Timestamp {
        let facts = self.facts();
        let attempt = &facts.attempts[index];
        let is_last = index + 1 == facts.attempts.len();
        let streamed = facts.first_byte_at.filter(|_| facts.response_is_stream && is_last);
        streamed.unwrap_or(attempt.finished_at)
    }

    /// The attempt that made the outcome.
    pub(super) fn last_attempt(&self) -> Option<&'a ProviderAttempt> {
        self.facts().attempts.last()
    }

    /// When the first piece of a stream came.
    pub(super) fn first_token_at(&self) -> Option<Timestamp> {
        self.facts().first_byte_at.filter(|_| self.facts().response_is_stream)
    }
}

/// How an attempt ended.
pub(super) fn state_of(attempt: &ProviderAttempt) -> State<'_> {
    match &attempt.failure {
        None => State::Ok,
        Some(failure) => State::Failed { message: message_of(failure), is_told: false },
    }
}

/// What went wrong, in `OpenRouter`'s own words where a capture shows them.
fn message_of(failure: &Failure) -> &str {
    match failure.kind {
        FailureKind::ClientDisconnected => "The client has disconnected",
        _ => &failure.message,
    }
}

/// Milliseconds, to a microsecond.
pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}
