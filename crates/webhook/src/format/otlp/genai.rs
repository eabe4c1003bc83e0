//! The profile `genai`: `OpenTelemetry`'s semantic conventions for generative AI, as of 1.41 and the
//! commits after it (`gen_ai.provider.name`, messages as JSON text).
//!
//! The root is the inference span. Attempts have spans of their own where there were several; they
//! are no inferences, so that nobody counts tokens twice. Cost has no convention: its keys are those
//! that `OpenRouter` and others use.

use domain::{call::Endpoint, destination::OtlpIntegers, exchange::ProviderAttempt};

use super::{
    answer, ids, messages,
    span::{Attributes, CLIENT, Spans},
    told::{Told, state_of},
    vendors,
};
use crate::{
    format::{
        json::{Members, elements, text_of},
        prompt,
    },
    matching::{answered_model, user_id},
};

/// The elements of a call's trace.
pub(super) fn trace(told: &Told<'_>, integers: OtlpIntegers) -> Vec<u8> {
    let mut spans = Spans::new(integers, "hookgate", |resource| {
        resource.text("service.name", "hookgate");
    });
    let name = name_of(told.operation(), &told.call().model);
    spans.push(&told.root(&name, false), |attributes| root(told, attributes));
    let attempts = &told.facts().attempts;
    for (index, attempt) in attempts.iter().enumerate().filter(|_| attempts.len() > 1) {
        let id = ids::span_id(&format!("{}:attempt-{index}", told.generation_id));
        let name = name_of("attempt", &attempt.deployment.model);
        let times = [attempt.started_at, told.answered_at(index)];
        let span = told.child([&id, &name], CLIENT, times, state_of(attempt));
        spans.push(&span, |attributes| attempt_attributes(index, attempt, attributes));
    }
    spans.into_bytes()
}

fn name_of(operation: &str, model: &str) -> String {
    if model.is_empty() { operation.to_owned() } else { format!("{operation} {model}") }
}

fn root(told: &Told<'_>, attributes: &mut Attributes<'_>) {
    let (call, facts, report) = (told.call(), told.facts(), told.report);
    attributes.text("gen_ai.operation.name", told.operation());
    if let Some(last) = told.last_attempt() {
        attributes.text("gen_ai.provider.name", vendors::convention(&last.deployment));
    }
    let failure = facts.outcome.failure();
    attributes.text_if("error.type", failure.map(|failure| failure.kind.as_str()));
    attributes.text_if("gen_ai.conversation.id", call.session_id.as_deref());
    if !call.model.is_empty() {
        attributes.text("gen_ai.request.model", &call.model);
    }
    asked(told, attributes);
    if let Some(last) = told.last_attempt() {
        server(&last.deployment.api_base, attributes);
    }
    attributes.text_if("gen_ai.response.id", report.response_id.as_deref());
    attributes.text_if("gen_ai.response.model", answered_model(report).as_deref());
    let reasons = answer::finish_reasons(report);
    if !reasons.is_empty() {
        let reasons = reasons.iter().map(String::as_str);
        attributes.texts("gen_ai.response.finish_reasons", reasons);
    }
    let first = told.first_token_at().map(|at| at.since(call.arrived_at).as_secs_f64());
    attributes.number("gen_ai.response.time_to_first_chunk", first);
    usage(told, attributes);
    openais(told, attributes);
    attributes.text_if("user.id", user_id(call));
    told.write_metadata(attributes, "trace.metadata.");
    told.write_own_metadata(attributes);
    texts(told, attributes);
}

/// What the request asks for, in the conventions' names.
fn asked(told: &Told<'_>, attributes: &mut Attributes<'_>) {
    let request = &told.request;
    attributes.text_if("gen_ai.output.type", output_type(told));
    if let Some(count) = integer(request, &["n"]).filter(|count| *count != 1) {
        attributes.count("gen_ai.request.choice.count", Some(count));
    }
    if let Some(seed) = request.get("seed").filter(|seed| seed.parse::<i64>().is_ok()) {
        attributes.any("gen_ai.request.seed", seed);
    }
    if told.call().stream {
        attributes.flag("gen_ai.request.stream", true);
    }
    let most = ["max_completion_tokens", "max_tokens", "max_output_tokens"];
    attributes.count("gen_ai.request.max_tokens", integer(request, &most));
    for name in ["temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty"] {
        let number = request.get(name).and_then(|raw| raw.parse().ok());
        attributes.number(&format!("gen_ai.request.{name}"), number);
    }
    let stop = request.get("stop").or_else(|| request.get("stop_sequences"));
    let stop = match stop {
        Some(text) if text.starts_with('"') => vec![text],
        Some(list) => elements(list).into_iter().map(serde_json::value::RawValue::get).collect(),
        None => Vec::new(),
    };
    // They are texts of the caller's.
    if !told.hides_prompt() && !stop.is_empty() {
        let stop = stop.into_iter().filter(|text| serde_json::from_str::<String>(text).is_ok());
        attributes.texts("gen_ai.request.stop_sequences", stop);
    }
    if told.call().endpoint == Endpoint::Embeddings {
        let dimensions = integer(request, &["dimensions"]);
        attributes.count("gen_ai.embeddings.dimension.count", dimensions);
        if let Some(format) = request.get("encoding_format").filter(|text| is_text(text)) {
            attributes.texts("gen_ai.request.encoding_formats", std::iter::once(format));
        }
    }
}

fn is_text(json: &str) -> bool {
    json.starts_with('"') && serde_json::from_str::<String>(json).is_ok()
}

fn integer(request: &Members<'_>, names: &[&str]) -> Option<u64> {
    names.iter().find_map(|name| request.get(name)?.parse().ok())
}

/// The kind of output that was asked for, if the request names one.
fn output_type(told: &Told<'_>) -> Option<&'static str> {
    let format = match told.call().endpoint {
        Endpoint::ChatCompletions => told.request.get("response_format")?,
        Endpoint::Responses => Members::of(told.request.get("text")?).get("format")?,
        _ => return None,
    };
    match Members::of(format).get("type").and_then(text_of).as_deref() {
        Some("json_object" | "json_schema") => Some("json"),
        Some("text") => Some("text"),
        _ => None,
    }
}

/// Where the provider is, if the configuration says it.
fn server(api_base: &str, attributes: &mut Attributes<'_>) {
    let Some((scheme, rest)) = api_base.split_once("://") else { return };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // An IPv6 address has colons, too.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
        _ => (authority, None),
    };
    if host.is_empty() {
        return;
    }
    attributes.text("server.address", host.trim_matches(['[', ']']));
    let usual = if scheme.eq_ignore_ascii_case("http") { 80 } else { 443 };
    attributes.count("server.port", port.or(Some(usual)));
}

/// Tokens and cost, as far as they are known.
fn usage(told: &Told<'_>, attributes: &mut Attributes<'_>) {
    let usage = told.report.usage.unwrap_or_default();
    let counts = [
        ("input_tokens", usage.input_tokens),
        ("output_tokens", usage.output_tokens),
        ("cache_read.input_tokens", usage.cache_read_tokens),
        ("cache_creation.input_tokens", usage.cache_write_tokens),
        ("reasoning.output_tokens", usage.reasoning_tokens),
    ];
    for (name, count) in counts {
        attributes.count(&format!("gen_ai.usage.{name}"), count);
    }
    let cost = told.report.cost;
    attributes.number("gen_ai.usage.input_cost", cost.map(|cost| cost.input));
    attributes.number("gen_ai.usage.output_cost", cost.map(|cost| cost.output));
    attributes.number("gen_ai.usage.total_cost", cost.map(|cost| cost.total));
}

/// What `OpenAI`'s APIs have of their own.
fn openais(told: &Told<'_>, attributes: &mut Attributes<'_>) {
    let is_openais =
        told.last_attempt().is_some_and(|attempt| attempt.deployment.provider == "openai");
    if !is_openais {
        return;
    }
    let api = match told.call().endpoint {
        Endpoint::ChatCompletions => Some("chat_completions"),
        Endpoint::Responses => Some("responses"),
        _ => None,
    };
    attributes.text_if("openai.api.type", api);
    let answer = told.report.response.as_deref().map(Members::of).unwrap_or_default();
    let text = |members: &Members<'_>, name: &str| {
        let raw = members.get(name).filter(|raw| raw.starts_with('"'))?;
        text_of(raw).map(std::borrow::Cow::into_owned)
    };
    let tier = text(&told.request, "service_tier");
    attributes.text_if("openai.request.service_tier", tier.as_deref());
    for name in ["service_tier", "system_fingerprint"] {
        let key = format!("openai.response.{name}");
        attributes.text_if(&key, text(&answer, name).as_deref());
    }
}

/// Messages, instructions and tools, unless they may not be told.
fn texts(told: &Told<'_>, attributes: &mut Attributes<'_>) {
    let endpoint = told.call().endpoint;
    if !told.hides_prompt() {
        if let Some(asked) = prompt::messages(endpoint, &told.request, false) {
            attributes.text("gen_ai.input.messages", &messages::input(&asked));
        }
        if let Some(system) = prompt::system(endpoint, &told.request) {
            attributes.text("gen_ai.system_instructions", &messages::instructions(system));
        }
        if let Some(tools) = told.request.get("tools").filter(|tools| tools.starts_with('[')) {
            attributes.any("gen_ai.tool.definitions", tools);
        }
    }
    if !told.hides_answer() {
        attributes.text_if("gen_ai.output.messages", messages::output(told.report).as_deref());
    }
}

fn attempt_attributes(index: usize, attempt: &ProviderAttempt, attributes: &mut Attributes<'_>) {
    let deployment = &attempt.deployment;
    attributes.text("gen_ai.provider.name", vendors::convention(deployment));
    attributes.text("gen_ai.request.model", &deployment.model);
    let failure = attempt.failure.as_ref();
    attributes.text_if("error.type", failure.map(|failure| failure.kind.as_str()));
    attributes.count("http.response.status_code", attempt.status.map(u64::from));
    attributes.count("http.request.resend_count", u64::try_from(index).ok().filter(|n| *n > 0));
    server(&deployment.api_base, attributes);
}
