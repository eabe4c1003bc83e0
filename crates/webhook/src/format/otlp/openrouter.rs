//! The profile `openrouter`: names, order and kinds as captured deliveries have them.

use domain::{
    call::Caller, destination::Otlp, event::Report, exchange::ProviderAttempt, usage::Usage,
};
use serde::Deserialize;

use super::{
    answer,
    content::Content,
    generation, ids,
    span::{Attributes, SERVER, Spans, State},
    told::{PROVIDER_RESPONSES, Told, millis, state_of},
    vendors,
};
use crate::{
    format::json::{Amount, Json},
    matching::{answered_model, user_id},
};

/// The elements of a call's trace: the root, an attempt at a provider each, and the generation if it
/// was streamed.
pub(super) fn trace(told: &Told<'_>, otlp: Otlp) -> Vec<u8> {
    let mut spans = Spans::new(otlp.integers, "openrouter", |resource| {
        resource.text("service.name", "openrouter");
        resource.text("openrouter.trace.id", &told.generation_id);
        resource.text("service.version", "1.0.0");
    });
    let name = name_of(told);
    spans.push(&told.root(&name, true), |attributes| {
        root(told, attributes);
        generation::write(told, otlp.generation_metadata, attributes);
    });
    for (index, attempt) in told.facts().attempts.iter().enumerate() {
        let response_id = format!("{}:attempt-{index}", told.generation_id);
        let name =
            format!("provider attempt {}: {}", index + 1, vendors::name(&attempt.deployment));
        let times = [attempt.started_at, told.answered_at(index)];
        let id = ids::span_id(&response_id);
        let span = told.child([&id, &name], SERVER, times, state_of(attempt));
        spans.push(&span, |attributes| {
            attempt_attributes(told, index, attempt, &response_id, attributes);
        });
    }
    if let Some(first) = told.first_token_at() {
        let response_id = format!("{}:generation", told.generation_id);
        let id = ids::span_id(&response_id);
        let times = [first, told.facts().finished_at];
        let span = told.child([&id, "generation"], SERVER, times, told.state(false));
        spans.push(&span, |attributes| {
            attributes.text("span.type", "span");
            attributes.text("span.level", level(told.state(false)));
            attributes.text("gen_ai.operation.name", told.operation());
            attributes.text("gen_ai.response.id", &response_id);
        });
    }
    spans.into_bytes()
}

/// The root's name: the caller's, or the one that is sent, or the one that is documented.
fn name_of(told: &Told<'_>) -> String {
    let named = told.trace_text("generation_name");
    if told.is_documented() {
        let named = named.or_else(|| told.trace_text("trace_name"));
        return named.map_or_else(|| "chat".to_owned(), Into::into);
    }
    named.map_or_else(|| "LLM Generation".to_owned(), Into::into)
}

const fn level(state: State<'_>) -> &'static str {
    match state {
        State::Ok => "DEFAULT",
        State::Failed { .. } => "ERROR",
    }
}

fn root(told: &Told<'_>, attributes: &mut Attributes<'_>) {
    let call = told.call();
    let state = told.state(true);
    let content = Content::of(told);
    let [input, output] = content.copies();
    let responses = provider_responses(told);
    let trace_name = told.trace_text("trace_name");
    attributes.text("trace.name", trace_name.as_deref().unwrap_or("OpenRouter Request"));
    attributes.text_if("user.id", user_id(call));
    attributes.text_if("session.id", call.session_id.as_deref());
    described("trace", told, &responses, [input, output], attributes);
    attributes.text("span.type", "generation");
    attributes.text("span.level", level(state));
    if let State::Failed { message, .. } = state {
        attributes.text("span.status_message", message);
    }
    described("span", told, &responses, [input, output], attributes);
    models(told, attributes);
    attributes.text("gen_ai.response.id", &told.generation_id);
    usage(told, attributes);
    if let Some(prompt) = content.prompt() {
        attributes.quoted("gen_ai.prompt", prompt);
    }
    if let Some(completion) = content.completion() {
        attributes.quoted("gen_ai.completion", completion);
    }
    parts_of_usage(told.report, attributes);
    let reasons = answer::finish_reasons(told.report);
    if !reasons.is_empty() {
        attributes.text("gen_ai.response.finish_reasons", &format!("[{}]", reasons.join(",")));
    }
    attributes.text_if("gen_ai.response.finish_reason", told.report.finish_reason.as_deref());
    metadata(told, attributes);
    told.write_own_metadata(attributes);
}

/// The caller's metadata, what providers answered, and the texts, of a trace or a span.
fn described(
    what: &'static str,
    told: &Told<'_>,
    responses: &str,
    [input, output]: [Option<&str>; 2],
    attributes: &mut Attributes<'_>,
) {
    told.write_metadata(attributes, &format!("{what}.metadata."));
    if !told.facts().attempts.is_empty() {
        attributes.text(&format!("{what}.metadata.{PROVIDER_RESPONSES}"), responses);
    }
    if let Some(input) = input {
        attributes.quoted(&format!("{what}.input"), input);
    }
    if let Some(output) = output {
        attributes.quoted(&format!("{what}.output"), output);
    }
}

/// Who was asked for which model, and which one answered.
fn models(told: &Told<'_>, attributes: &mut Attributes<'_>) {
    attributes.text("gen_ai.operation.name", told.operation());
    let asked = told.call().model.as_str();
    let Some(last) = told.last_attempt() else {
        if !asked.is_empty() {
            attributes.text("gen_ai.request.model", vendors::without_variant(asked));
        }
        return;
    };
    let deployment = &last.deployment;
    let author = vendors::author(deployment);
    attributes.text("gen_ai.system", author);
    attributes.text("gen_ai.provider.name", author);
    // A public name of the gateway's own stays as the caller wrote it.
    let first = &told.facts().attempts[0].deployment;
    let is_vendors = vendors::without_variant(asked) == vendors::without_variant(&first.model);
    let asked = if is_vendors {
        vendors::model(first, asked)
    } else {
        vendors::without_variant(asked).into()
    };
    attributes.text("gen_ai.request.model", &asked);
    let answered = answered_model(told.report).unwrap_or_else(|| deployment.model.clone());
    attributes.text("gen_ai.response.model", &vendors::model(deployment, &answered));
}

/// Tokens and cost, as far as they are known.
fn usage(told: &Told<'_>, attributes: &mut Attributes<'_>) {
    let usage = told.report.usage.unwrap_or_default();
    attributes.count("gen_ai.usage.input_tokens", usage.input_tokens);
    attributes.count("gen_ai.usage.output_tokens", usage.output_tokens);
    attributes.count("gen_ai.usage.total_tokens", usage.total_tokens);
    if told.is_documented() {
        attributes.count("gen_ai.usage.prompt_tokens", usage.input_tokens);
        attributes.count("gen_ai.usage.completion_tokens", usage.output_tokens);
    }
    let cost = told.report.cost;
    attributes.number("gen_ai.usage.input_cost", cost.map(|cost| cost.input));
    attributes.number("gen_ai.usage.output_cost", cost.map(|cost| cost.output));
    attributes.number("gen_ai.usage.total_cost", cost.map(|cost| cost.total));
}

/// What of the tokens was cached, reasoned, heard or seen.
fn parts_of_usage(report: &Report, attributes: &mut Attributes<'_>) {
    let usage: Usage = report.usage.unwrap_or_default();
    let kinds = report.usage_json.as_deref().map(kinds_of).unwrap_or_default();
    let input = kinds.prompt_tokens_details.unwrap_or_default();
    let output = kinds.completion_tokens_details.unwrap_or_default();
    let five_minutes = usage
        .cache_write_tokens
        .zip(usage.cache_write_1h_tokens)
        .map(|(all, hour)| all.saturating_sub(hour));
    let counts = [
        ("input_tokens.cached", usage.cache_read_tokens),
        ("input_tokens.cache_write", usage.cache_write_tokens),
        ("input_tokens.cache_write_5m", five_minutes),
        ("input_tokens.cache_write_1h", usage.cache_write_1h_tokens),
        ("input_tokens.audio", input.audio),
        ("input_tokens.video", input.video),
        ("input_tokens.image", input.image),
        ("output_tokens.reasoning", usage.reasoning_tokens),
        ("output_tokens.audio", output.audio),
        ("output_tokens.video", output.video),
        ("output_tokens.image", output.image),
    ];
    for (name, count) in counts {
        attributes.count(&format!("gen_ai.usage.{name}"), count);
    }
}

/// Tokens by what they stand for, in `OpenAI`'s usage.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Kinds {
    prompt_tokens_details: Option<Details>,
    completion_tokens_details: Option<Details>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    #[serde(rename = "audio_tokens")]
    audio: Option<u64>,
    #[serde(rename = "video_tokens")]
    video: Option<u64>,
    #[serde(rename = "image_tokens")]
    image: Option<u64>,
}

fn kinds_of(usage: &str) -> Kinds {
    serde_json::from_str(usage).unwrap_or_default()
}

/// `trace.metadata.openrouter.*`: who, where, and a time line in milliseconds since the call came.
fn metadata(told: &Told<'_>, attributes: &mut Attributes<'_>) {
    const PREFIX: &str = "trace.metadata.openrouter.";
    let key = |name: &str| format!("{PREFIX}{name}");
    let facts = told.facts();
    let key_name = match &told.call().caller {
        Caller::Key { name, .. } => Some(name.as_str()),
        Caller::Master => Some("master"),
        Caller::Anonymous | Caller::Refused => None,
    };
    attributes.text(&key("source"), "openrouter");
    attributes.text_if(&key("api_key_name"), key_name);
    let (Some(first), Some(last)) = (facts.attempts.first(), facts.attempts.last()) else { return };
    let since = |at: domain::time::Timestamp| Some(millis(at.since(facts.call.arrived_at)));
    attributes.number(&key("router_latency_ms"), since(first.started_at));
    attributes.number(&key("provider_request_ms"), since(last.started_at));
    if let Some(token_at) = told.first_token_at() {
        let after_first = millis(facts.finished_at.since(token_at));
        let further = told.report.usage.and_then(|usage| usage.output_tokens?.checked_sub(1));
        let pace = further.filter(|further| *further > 0).map(|n| after_first / n as f64);
        attributes.number(&key("first_token_ms"), since(token_at));
        attributes.number(&key("provider_body_end_ms"), since(last.finished_at));
        let wait = millis(token_at.since(last.started_at));
        attributes.number(&key("provider_time_to_first_token_ms"), Some(wait));
        attributes.number(&key("inter_token_latency_ms"), pace);
    } else {
        attributes.number(&key("provider_body_end_ms"), since(last.finished_at));
    }
    attributes.text(&key("provider_name"), vendors::name(&last.deployment));
    attributes.text(&key("provider_slug"), vendors::slug(&last.deployment));
    let reason = answer::native_finish_reason(told.report);
    attributes.text_if(&key("finish_reason"), reason.as_deref());
    let price = told.report.prices.last().copied().flatten();
    attributes.number(&key("input_unit_price"), price.map(|price| price.input));
    attributes.number(&key("output_unit_price"), price.map(|price| price.output));
}

/// What each attempt came to, as JSON text.
fn provider_responses(told: &Told<'_>) -> String {
    let attempts = &told.facts().attempts;
    let mut json = Json::with_capacity(256 * attempts.len());
    json.open_list();
    for (index, attempt) in attempts.iter().enumerate() {
        let deployment = &attempt.deployment;
        let is_last = index + 1 == attempts.len();
        json.comma();
        json.open();
        if let Some(id) = told.report.response_id.as_deref().filter(|_| is_last) {
            json.field("id", id);
        }
        json.field("provider_name", vendors::name(deployment));
        json.field("status", attempt.status.map(u64::from));
        let latency = millis(told.answered_at(index).since(attempt.started_at));
        json.field("latency", Amount(latency.round()));
        json.field("is_byok", IS_BYOK);
        json.field("endpoint_id", deployment.id.as_str());
        json.field("model_permaslug", vendors::model(deployment, &deployment.model).as_ref());
        json.close();
    }
    json.close_list();
    String::from_utf8(json.into_bytes()).expect("JSON of texts is UTF-8")
}

/// Callers bring no keys of providers: those are the gateway's.
pub(super) const IS_BYOK: bool = false;

fn attempt_attributes(
    told: &Told<'_>,
    index: usize,
    attempt: &ProviderAttempt,
    response_id: &str,
    attributes: &mut Attributes<'_>,
) {
    let deployment = &attempt.deployment;
    attributes.text("span.type", "span");
    attributes.text("span.level", level(state_of(attempt)));
    attributes.count("span.metadata.attempt_index", u64::try_from(index).ok());
    attributes.count("span.metadata.status_code", attempt.status.map(u64::from));
    attributes.flag("span.metadata.is_byok", IS_BYOK);
    attributes.text("span.metadata.endpoint_id", &deployment.id);
    let slug = vendors::model(deployment, &deployment.model);
    attributes.text("span.metadata.model_permaslug", &slug);
    attributes.text("gen_ai.operation.name", told.operation());
    attributes.text("gen_ai.response.id", response_id);
    attributes.text("trace.metadata.openrouter.provider_name", vendors::name(deployment));
}
