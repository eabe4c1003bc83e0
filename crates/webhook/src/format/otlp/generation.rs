//! `openrouter_generation.*`: further facts of a generation, in the groups that a destination asks
//! for.
//!
//! `OpenRouter` says how many fields a group has, and not which. These are those of captured
//! deliveries and of its `GET /generation` that the gateway knows.

use domain::{deployment::Dialect, destination::GenerationMetadata, failure::FailureKind};

use super::{
    answer,
    openrouter::IS_BYOK,
    span::Attributes,
    told::{Told, millis},
    vendors,
};
use crate::{format::event::moment, matching::user_id};

/// Writes the groups, each field under `trace.metadata.` and `span.metadata.`.
pub(super) fn write(told: &Told<'_>, wanted: GenerationMetadata, attributes: &mut Attributes<'_>) {
    for what in ["trace", "span"] {
        let key = |name: &str| format!("{what}.metadata.openrouter_generation.{name}");
        if wanted.cost {
            cost(told, key, attributes);
        }
        if wanted.identity {
            identity(told, key, attributes);
        }
        if wanted.request_context {
            request_context(told, key, attributes);
        }
    }
}

/// What was consumed, and what it cost: the gateway charges what the provider does.
fn cost(told: &Told<'_>, key: impl Fn(&str) -> String, attributes: &mut Attributes<'_>) {
    let usage = told.report.usage.unwrap_or_default();
    attributes.count(&key("tokens_prompt"), usage.input_tokens);
    attributes.count(&key("tokens_completion"), usage.output_tokens);
    let cost = told.report.cost.map(|cost| cost.total);
    attributes.number(&key("usage"), cost);
    attributes.number(&key("usage_upstream"), cost);
    attributes.flag(&key("is_byok"), IS_BYOK);
    // Of another dialect's usage the report has a translation.
    let is_raw = |dialect| dialect == Dialect::OpenAi;
    if told.last_attempt().is_some_and(|last| is_raw(last.deployment.dialect)) {
        let raw = told.report.usage_json.as_deref().unwrap_or_default();
        attributes.any(&key("upstream_raw_response_usage"), raw);
    }
}

/// Whose generation it is.
fn identity(told: &Told<'_>, key: impl Fn(&str) -> String, attributes: &mut Attributes<'_>) {
    let call = told.call();
    attributes.text(&key("id"), &told.generation_id);
    attributes.text_if(&key("upstream_id"), told.report.response_id.as_deref());
    attributes.text_if(&key("external_user"), user_id(call));
    attributes.text_if(&key("session_id"), call.session_id.as_deref());
    attributes.text_if(&key("app.title"), call.header("x-title"));
    attributes.text_if(&key("http_referer"), call.header("http-referer"));
    attributes.text_if(&key("user_agent"), call.header("user-agent"));
}

/// How it was asked for and how it went.
fn request_context(told: &Told<'_>, key: impl Fn(&str) -> String, attributes: &mut Attributes<'_>) {
    let (call, facts) = (told.call(), told.facts());
    attributes.text(&key("created_at"), &moment(call.arrived_at));
    attributes.flag(&key("streamed"), call.stream);
    let failure = facts.outcome.failure();
    let is_cancelled = failure.is_some_and(|f| f.kind == FailureKind::ClientDisconnected);
    attributes.flag(&key("cancelled"), is_cancelled);
    attributes.text_if(&key("finish_reason"), told.report.finish_reason.as_deref());
    let native = answer::native_finish_reason(told.report);
    attributes.text_if(&key("native_finish_reason"), native.as_deref());
    let Some(last) = told.last_attempt() else { return };
    attributes.text(&key("model"), &vendors::model(&last.deployment, &last.deployment.model));
    attributes.text(&key("provider_name"), vendors::name(&last.deployment));
    let answered_at = told.answered_at(facts.attempts.len() - 1);
    attributes.number(&key("latency"), Some(millis(answered_at.since(call.arrived_at))));
    let took = last.finished_at.since(last.started_at);
    attributes.number(&key("generation_time"), Some(millis(took)));
}
