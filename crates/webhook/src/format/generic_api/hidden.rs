//! `hidden_params` and `model_map_information`: how the provider was asked, and what it costs.

use std::borrow::Cow;

use domain::{call::Endpoint, deployment::Dialect, exchange::ProviderAttempt};

use super::{Told, post::Post};
use crate::format::json::{Json, Null};

/// Headers in which providers tell their limits: `OpenAI`'s, Anthropic's, and LiteLLM's names for the
/// numbers in them.
const RATE_LIMITS: [(&str, &str, &str); 4] = [
    (
        "x-ratelimit-limit-requests",
        "anthropic-ratelimit-requests-limit",
        "x_ratelimit_limit_requests",
    ),
    ("x-ratelimit-limit-tokens", "anthropic-ratelimit-tokens-limit", "x_ratelimit_limit_tokens"),
    (
        "x-ratelimit-remaining-requests",
        "anthropic-ratelimit-requests-remaining",
        "x_ratelimit_remaining_requests",
    ),
    (
        "x-ratelimit-remaining-tokens",
        "anthropic-ratelimit-tokens-remaining",
        "x_ratelimit_remaining_tokens",
    ),
];

/// The same for texts (`6ms`), which LiteLLM names so on failures only.
const RATE_RESETS: [(&str, &str); 2] = [
    ("x-ratelimit-reset-requests", "x_ratelimit_reset_requests"),
    ("x-ratelimit-reset-tokens", "x_ratelimit_reset_tokens"),
];

pub(super) fn write(json: &mut Json, post: &Post<'_>) {
    let is_success = matches!(post.told, Told::Success | Told::Left);
    let success = post.attempt.filter(|_| is_success);
    // Of a message LiteLLM's router tells nothing here.
    let routed = success.filter(|_| post.call.endpoint != Endpoint::Messages);
    json.open();
    json.field("model_id", routed.map(|attempt| attempt.deployment.id.as_str()));
    json.field("cache_key", Null);
    json.field("api_base", routed.and_then(|attempt| api_base(post, attempt)).as_deref());
    json.field("response_cost", post.cost().map_or(0.0, |cost| cost.total));
    json.name("additional_headers");
    match (post.attempt, success) {
        (_, Some(attempt)) => write_headers_of_success(json, post, attempt),
        (Some(attempt), None) if !attempt.headers.is_empty() => {
            write_headers_of_failure(json, attempt);
        }
        _ => json.value(Null),
    }
    json.field("litellm_overhead_time_ms", success.and_then(|_| overhead_ms(post)));
    json.nulls(&["batch_models", "batch_successful_requests", "batch_failed_requests"]);
    let name = routed.filter(|_| !post.call.stream).map(|_| post.model());
    json.field("litellm_model_name", name.as_deref());
    json.field("usage_object", Null);
    json.close();
}

/// Where the model was asked: for `OpenAI`'s own, LiteLLM names its address for plain calls and
/// nothing for streams; for streams of others, the whole URL.
fn api_base<'a>(post: &Post<'a>, attempt: &'a ProviderAttempt) -> Option<Cow<'a, str>> {
    let deployment = &attempt.deployment;
    match deployment.api_base.as_str() {
        "" if post.call.stream => Some("".into()),
        "" if deployment.provider == "openai" => Some("https://api.openai.com".into()),
        "" => None,
        _ if post.call.stream => Some(post.api_base()),
        base => Some(base.into()),
    }
}

fn write_headers_of_success(json: &mut Json, post: &Post<'_>, attempt: &ProviderAttempt) {
    json.open();
    write_rate_limits(json, attempt);
    for (name, value) in &attempt.headers {
        json.field_named(&format!("llm_provider-{name}"), value.as_str());
    }
    for (name, anthropics, _) in RATE_LIMITS {
        if let (None, Some(value)) = (header(attempt, name), header(attempt, anthropics)) {
            json.field_named(&format!("llm_provider-{name}"), value);
        }
    }
    let own_id = header(attempt, "request-id");
    let id = own_id.or_else(|| header(attempt, "x-request-id"));
    if let (None, Some(id)) = (own_id, id) {
        json.field("llm_provider-request-id", id);
    }
    if let Some(id) = id {
        json.field("request-id", id);
    }
    // The answer that LiteLLM puts together from a stream has lost these.
    if !post.call.stream {
        let facts = &post.report.exchange.facts;
        json.field("x-litellm-model-group", attempt.deployment.model_name.as_str());
        json.field("x-litellm-attempted-retries", u64::from(facts.retries));
        json.field("x-litellm-attempted-fallbacks", u64::from(facts.fallbacks));
    }
    json.close();
}

fn write_headers_of_failure(json: &mut Json, attempt: &ProviderAttempt) {
    let is_rate_limit = |name: &str| {
        RATE_LIMITS.iter().any(|(header, ..)| *header == name)
            || RATE_RESETS.iter().any(|(header, _)| *header == name)
    };
    json.open();
    write_rate_limits(json, attempt);
    for (name, key) in RATE_RESETS {
        if let Some(value) = header(attempt, name) {
            json.field(key, value);
        }
    }
    for (name, value) in attempt.headers.iter().filter(|(name, _)| !is_rate_limit(name)) {
        json.field_named(name, value.as_str());
    }
    json.close();
}

fn write_rate_limits(json: &mut Json, attempt: &ProviderAttempt) {
    for (name, anthropics, key) in RATE_LIMITS {
        let count = header(attempt, name).or_else(|| header(attempt, anthropics));
        if let Some(count) = count.and_then(|text| text.parse::<u64>().ok()) {
            json.field(key, count);
        }
    }
}

pub(super) fn header<'a>(attempt: &'a ProviderAttempt, name: &str) -> Option<&'a str> {
    attempt.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// The call's time without that of its attempts; `None` where no provider was asked.
fn overhead_ms(post: &Post<'_>) -> Option<f64> {
    let facts = &post.report.exchange.facts;
    if facts.attempts.iter().all(|attempt| attempt.deployment.dialect == Dialect::Mock) {
        return None;
    }
    let whole = facts.finished_at.since(post.call.arrived_at);
    let asked = facts.attempts.iter().map(|a| a.finished_at.since(a.started_at)).sum();
    Some(whole.saturating_sub(asked).as_micros() as f64 / 1e3)
}

/// Writes what is known of the model: its price and how much it takes. A model without a known
/// price costs 0 here, as in LiteLLM.
pub(super) fn write_model_map(json: &mut Json, post: &Post<'_>) {
    json.open();
    let Some(attempt) = post.attempt else {
        json.field("model_map_key", "");
        json.field("model_map_value", Null);
        json.close();
        return;
    };
    let name = post.model();
    let price = post.price;
    json.field("model_map_key", name.as_str());
    json.name("model_map_value");
    json.open();
    let key = if price.is_some() { attempt.deployment.model.as_str() } else { &name };
    json.field("key", key);
    json.field("max_tokens", Null);
    json.field("max_input_tokens", price.and_then(|price| price.context_window));
    json.field("max_output_tokens", Null);
    json.field("input_cost_per_token", price.map_or(0.0, |price| price.input));
    json.field("cache_creation_input_token_cost", price.and_then(|price| price.cache_write));
    json.field("cache_read_input_token_cost", price.and_then(|price| price.cache_read));
    json.field("output_cost_per_token", price.map_or(0.0, |price| price.output));
    json.field("litellm_provider", attempt.deployment.provider.as_str());
    json.field("mode", price.map(|_| mode(post.call.endpoint)));
    json.close();
    json.close();
}

/// What the price map calls a model that is asked in that API.
const fn mode(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::ChatCompletions | Endpoint::Responses | Endpoint::Messages => "chat",
        Endpoint::TextCompletions => "completion",
        Endpoint::Embeddings => "embedding",
    }
}
