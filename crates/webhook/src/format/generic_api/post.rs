//! One payload, key by key in LiteLLM's order.

use std::borrow::Cow;

use domain::{
    call::{Call, Caller, Endpoint, Logging},
    deployment::Dialect,
    destination::{Compat, Destination},
    event::Report,
    exchange::ProviderAttempt,
    failure::FailureKind,
    time::Timestamp,
    usage::{Cost, ModelPrice, Usage},
};

use super::{Told, answer, error, hidden, metadata, request, seconds_between};
use crate::format::json::{Json, Members, Null, Raw, text_of};

/// A payload to be written.
pub(super) struct Post<'a> {
    pub(super) report: &'a Report,
    pub(super) call: &'a Call,
    pub(super) told: Told<'a>,
    /// The attempt that it is about; `None` if no model was asked.
    pub(super) attempt: Option<&'a ProviderAttempt>,
    pub(super) price: Option<&'a ModelPrice>,
    /// Whether it is about the outcome, and so has what was seen of the answer.
    pub(super) has_answer: bool,
    pub(super) ended_at: Timestamp,
    /// The members of the request's body; none if the journal kept only a part of it.
    pub(super) request: Members<'a>,
    /// The members of the caller's own metadata.
    pub(super) metadata: Members<'a>,
    pub(super) hides_text: bool,
    compat: Compat,
}

impl<'a> Post<'a> {
    /// The payload of a call's outcome.
    pub(super) fn of_outcome(
        report: &'a Report,
        destination: &Destination,
        told: Told<'a>,
    ) -> Self {
        let facts = &report.exchange.facts;
        let index = facts.attempts.len().checked_sub(1);
        Self::new(report, destination, told, index, facts.finished_at, true)
    }

    /// The payload of a group of failed attempts, by the index of its last.
    pub(super) fn of_attempts(
        report: &'a Report,
        destination: &Destination,
        told: Told<'a>,
        index: usize,
    ) -> Self {
        let ended_at = report.exchange.facts.attempts[index].finished_at;
        Self::new(report, destination, told, Some(index), ended_at, false)
    }

    fn new(
        report: &'a Report,
        destination: &Destination,
        told: Told<'a>,
        index: Option<usize>,
        ended_at: Timestamp,
        has_answer: bool,
    ) -> Self {
        let facts = &report.exchange.facts;
        let request = Members::of_bytes(&report.exchange.request.bytes);
        Self {
            report,
            call: &facts.call,
            told,
            attempt: index.and_then(|index| facts.attempts.get(index)),
            price: index.and_then(|index| report.prices.get(index)).and_then(Option::as_ref),
            has_answer,
            ended_at,
            metadata: request.get("metadata").map(Members::of).unwrap_or_default(),
            request,
            hides_text: destination.privacy,
            compat: destination.compat,
        }
    }

    pub(super) fn is_failure(&self) -> bool {
        matches!(self.told, Told::Failure(_))
    }

    /// Whether it is about one of the two APIs that LiteLLM logs apart from the others, with less
    /// of the request: `/v1/messages` and `/v1/responses`.
    pub(super) fn is_apart(&self) -> bool {
        matches!(self.call.endpoint, Endpoint::Messages | Endpoint::Responses)
    }

    /// Whether the stream failed after it had begun: LiteLLM has costs for such a call.
    fn failed_in_stream(&self) -> bool {
        let Told::Failure(failure) = self.told else { return false };
        matches!(failure.kind, FailureKind::StreamError | FailureKind::StreamCut)
    }

    /// Whether it is a success that came as a stream.
    pub(super) fn is_streamed_success(&self) -> bool {
        !self.is_failure() && self.call.stream
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        self.report.usage.filter(|_| self.has_answer)
    }

    pub(super) fn usage_json(&self) -> Option<&'a str> {
        self.report.usage_json.as_deref().filter(|_| self.has_answer)
    }

    pub(super) fn cost(&self) -> Option<Cost> {
        self.report.cost.filter(|_| self.has_answer)
    }

    /// `provider/model`, or the name as the caller wrote it if no model was asked.
    pub(super) fn model(&self) -> String {
        match self.attempt.map(|attempt| &attempt.deployment) {
            Some(deployment) => format!("{}/{}", deployment.provider, deployment.model),
            None => self.call.model.clone(),
        }
    }

    /// Writes it.
    pub(super) fn render(&self) -> Vec<u8> {
        let exchange = &self.report.exchange;
        let bodies = exchange.request.bytes.len() + exchange.response.bytes.len();
        let mut json = Json::with_capacity(6_144 + bodies);
        json.open();
        self.identity(&mut json);
        self.times(&mut json);
        json.name("metadata");
        metadata::write(&mut json, self);
        self.costs(&mut json);
        self.names(&mut json);
        json.name("messages");
        request::write_messages(&mut json, self);
        json.name("response");
        answer::write_response(&mut json, self);
        json.name("model_parameters");
        request::write_parameters(&mut json, self);
        json.name("hidden_params");
        hidden::write(&mut json, self);
        json.name("model_map_information");
        hidden::write_model_map(&mut json, self);
        error::write(&mut json, self);
        json.nulls(&[
            "response_cost_failure_debug_info",
            "zero_cost_diagnostic",
            "guardrail_information",
        ]);
        json.name("standard_built_in_tools_params");
        request::write_built_in_tools(&mut json, self);
        self.extras(&mut json);
        json.close();
        json.into_bytes()
    }

    fn identity(&self, json: &mut Json) {
        let call_id = self.call.id.to_string();
        let response_id = self.report.response_id.as_deref();
        // LiteLLM's embeddings have no id of their own, whatever the provider sends.
        let has_id = self.call.endpoint != Endpoint::Embeddings;
        let response_id = response_id.filter(|_| has_id && self.has_answer && !self.is_failure());
        let status = if self.is_failure() { "failure" } else { "success" };
        json.field("id", response_id.unwrap_or(&call_id));
        json.field("litellm_call_id", call_id.as_str());
        json.field("trace_id", self.trace_id().as_deref().unwrap_or(&call_id));
        json.field("session_id", "");
        json.field("call_type", call_type(self.call.endpoint, self.compat));
        let is_plain = !self.call.stream || self.call.endpoint == Endpoint::Responses;
        let is_plain_success = !self.is_failure() && is_plain;
        json.field("cache_hit", (!is_plain_success).then_some(false));
        let is_whole_stream = matches!(self.told, Told::Success) && self.call.stream;
        json.field("stream", is_whole_stream.then_some(true));
        json.field("status", status);
        json.name("status_fields");
        json.open();
        json.field("llm_api_status", status);
        json.field("guardrail_status", "not_run");
        json.close();
        json.field("custom_llm_provider", self.provider());
        json.field("saved_cache_cost", 0.0);
    }

    /// LiteLLM's name of the provider: another one for `OpenAI`'s text completions, and none where a
    /// mock answers one of the APIs that are logged apart.
    fn provider(&self) -> Option<&'a str> {
        let deployment = &self.attempt?.deployment;
        match (deployment.provider.as_str(), self.call.endpoint) {
            ("openai", Endpoint::TextCompletions) => Some("text-completion-openai"),
            _ if deployment.dialect == Dialect::Mock && self.is_apart() => None,
            (provider, _) => Some(provider),
        }
    }

    /// Where the provider was asked: for Anthropic and `/v1/responses` LiteLLM tells the whole URL.
    pub(super) fn api_base(&self) -> Cow<'a, str> {
        let Some(ProviderAttempt { deployment, .. }) = self.attempt else { return "".into() };
        let base = deployment.api_base.as_str();
        let (own, path) = match (deployment.dialect, self.call.endpoint) {
            (Dialect::Anthropic, _) => ("https://api.anthropic.com", "/v1/messages"),
            (Dialect::OpenAi, Endpoint::Responses) if deployment.provider == "openai" => {
                ("https://api.openai.com/v1", "/responses")
            }
            (Dialect::OpenAi, Endpoint::Responses) if !base.is_empty() => (base, "/responses"),
            _ => return base.into(),
        };
        format!("{}{path}", if base.is_empty() { own } else { base }).into()
    }

    /// Headers win over the body, and in the body the session over the trace, as in LiteLLM. Then
    /// come the names that other systems have for them.
    fn trace_id(&self) -> Option<Cow<'_, str>> {
        let header = |name| self.call.header(name).filter(|id| !id.is_empty()).map(Cow::Borrowed);
        let field = |name| self.request.get(name).and_then(text_of);
        let own = |name| self.metadata.get(name).and_then(text_of);
        header("x-litellm-trace-id")
            .or_else(|| header("x-litellm-session-id"))
            .or_else(|| field("litellm_session_id"))
            .or_else(|| field("litellm_trace_id"))
            .or_else(|| own("session_id"))
            .or_else(|| own("trace_id"))
            .or_else(|| self.call.session_id.as_deref().map(Cow::Borrowed))
            .or_else(|| self.call.trace_id.as_deref().map(Cow::Borrowed))
    }

    fn times(&self, json: &mut Json) {
        let facts = &self.report.exchange.facts;
        let first_byte_at = facts.first_byte_at.filter(|_| self.is_streamed_success());
        let first_token_at = first_byte_at.unwrap_or(self.ended_at);
        for (name, at) in [
            ("startTime", self.call.arrived_at),
            ("endTime", self.ended_at),
            ("completionStartTime", first_token_at),
        ] {
            match self.compat {
                Compat::Real => json.field(name, at.as_secs_f64()),
                Compat::Document => json.field(name, iso_time(at).as_str()),
            }
        }
        json.field("response_time", seconds_between(self.call.arrived_at, first_token_at));
        match (self.compat, self.attempt) {
            (Compat::Document, Some(attempt)) => {
                json.field("model", attempt.deployment.model.as_str());
            }
            _ => json.field("model", self.model().as_str()),
        }
    }

    fn costs(&self, json: &mut Json) {
        let cost = self.cost();
        json.field("cache_key", Null);
        json.field("cost_finalized", matches!(self.told, Told::Success) && !self.call.stream);
        json.field("response_cost", cost.map_or(0.0, |cost| cost.total));
        json.name("cost_breakdown");
        if self.is_failure() && cost.is_none() && !self.failed_in_stream() {
            json.value(Null);
        } else {
            let is_streamed = self.is_streamed_success() || self.failed_in_stream();
            write_breakdown(json, &cost.unwrap_or_default(), is_streamed);
        }
        json.nulls(&[
            "autorouter_savings",
            "autorouter_savings_estimate",
            "autorouter_baseline_observation",
        ]);
        let usage = self.usage().unwrap_or_default();
        json.field("total_tokens", usage.total_tokens.unwrap_or_default());
        json.field("prompt_tokens", usage.input_tokens.unwrap_or_default());
        json.field("completion_tokens", usage.output_tokens.unwrap_or_default());
    }

    fn names(&self, json: &mut Json) {
        let call = self.call;
        // Of a caller without a right to call, LiteLLM tells neither program nor address.
        let is_known = call.caller != Caller::Refused;
        let user_agent = call.header("user-agent").filter(|agent| is_known && !agent.is_empty());
        json.name("request_tags");
        json.open_list();
        for tag in &call.tags {
            json.element(tag.as_str());
        }
        if let Some(agent) = user_agent {
            if let Some((name, _)) = agent.split_once('/') {
                json.element(format!("User-Agent: {name}").as_str());
            }
            json.element(format!("User-Agent: {agent}").as_str());
        }
        json.close_list();
        json.name("request_model_access_groups");
        json.open_list();
        json.close_list();
        json.field("end_user", call.end_user.as_deref());
        let deployment = self.attempt.map(|attempt| &attempt.deployment);
        json.field("api_base", &*self.api_base());
        json.field("model_group", deployment.map_or("", |deployment| &deployment.model_name));
        json.field("model_id", deployment.map_or("", |deployment| &deployment.id));
        write_requester(json, call);
    }

    /// What LiteLLM's documentation shows and its payload lacks, and what only we can say.
    fn extras(&self, json: &mut Json) {
        json.field("usage", self.usage_json().map(Raw));
        json.field("cost", self.cost().map(|cost| cost.total));
        if self.is_failure() && self.has_answer && self.report.response.is_some() {
            json.name("partial_response");
            answer::write_answer(json, self);
        }
        let exchange = &self.report.exchange;
        if exchange.request.truncated || exchange.response.truncated {
            json.name("truncated");
            json.open_list();
            if exchange.request.truncated {
                json.element("request");
            }
            if exchange.response.truncated {
                json.element("response");
            }
            json.close_list();
        }
    }

    /// Whether the request's texts were taken out before the journal, or must be now.
    pub(super) fn is_redacted(&self) -> bool {
        self.hides_text || self.call.logging != Logging::Full || self.call.omit_request
    }

    /// The same for the answer's.
    pub(super) fn is_answer_redacted(&self) -> bool {
        self.hides_text || self.call.logging != Logging::Full || self.call.omit_response
    }
}

/// LiteLLM's name of the API; its documentation has the names of an earlier version.
const fn call_type(endpoint: Endpoint, compat: Compat) -> &'static str {
    match (compat, endpoint) {
        (Compat::Real, Endpoint::ChatCompletions) => "acompletion",
        (Compat::Real, Endpoint::TextCompletions) => "atext_completion",
        (Compat::Real, Endpoint::Embeddings) => "aembedding",
        (Compat::Real, Endpoint::Responses) => "aresponses",
        (Compat::Real, Endpoint::Messages) => "anthropic_messages",
        (Compat::Document, Endpoint::ChatCompletions) => "litellm.completion",
        (Compat::Document, Endpoint::TextCompletions) => "litellm.text_completion",
        (Compat::Document, Endpoint::Embeddings) => "litellm.embedding",
        (Compat::Document, Endpoint::Responses) => "litellm.responses",
        (Compat::Document, Endpoint::Messages) => "litellm.anthropic_messages",
    }
}

/// Address and program of the caller; both null if its key was refused.
pub(super) fn write_requester(json: &mut Json, call: &Call) {
    let is_known = call.caller != Caller::Refused;
    let ip = call.client_ip.filter(|_| is_known).map(|ip| ip.to_string());
    json.field("requester_ip_address", ip.as_deref());
    let agent = call.header("user-agent").unwrap_or_default();
    json.field("user_agent", is_known.then_some(agent));
}

fn write_breakdown(json: &mut Json, cost: &Cost, is_streamed: bool) {
    let spent = |part: Option<f64>| part.filter(|part| *part > 0.0);
    json.open();
    if is_streamed {
        json.field("total_cost", cost.total);
    }
    json.nulls(&["service_tier", "data_residency", "vertex_location"]);
    json.field("input_cost", cost.input);
    if let Some(part) = spent(cost.cache_read) {
        json.field("cache_read_cost", part);
    }
    if let Some(part) = spent(cost.cache_write) {
        json.field("cache_creation_cost", part);
    }
    json.field("output_cost", cost.output);
    if let Some(part) = spent(cost.reasoning) {
        json.field("reasoning_cost", part);
    }
    if !is_streamed {
        json.field("total_cost", cost.total);
    }
    json.field("tool_usage_cost", 0.0);
    json.field("original_cost", cost.total);
    for name in [
        "discount_percent",
        "discount_amount",
        "margin_percent",
        "margin_fixed_amount",
        "margin_total_amount",
    ] {
        json.field(name, 0.0);
    }
    json.close();
}

/// ISO 8601 in UTC without a zone, with microseconds where there are any: Python's `isoformat`.
fn iso_time(at: Timestamp) -> String {
    let Ok(instant) = jiff::Timestamp::from_microsecond(at.as_nanos().div_euclid(1_000)) else {
        return at.to_string();
    };
    let time = jiff::tz::Offset::UTC.to_datetime(instant);
    if time.subsec_nanosecond() == 0 { time.to_string() } else { format!("{time:.6}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_documents_time_is_pythons_isoformat() {
        assert_eq!(iso_time(Timestamp::from_millis(1_704_067_200_000)), "2024-01-01T00:00:00");
        assert_eq!(
            iso_time(Timestamp::from_nanos(1_704_067_200_500_000_999)),
            "2024-01-01T00:00:00.500000"
        );
    }
}
