//! Requests on their way to a provider that speaks the caller's protocol.
//!
//! A request keeps the caller's bytes but for the edits listed at [`passthrough`]. Which deployment
//! is asked is not decided here.

use std::borrow::Cow;

use bytes::Bytes;
use domain::call::Endpoint;

use crate::{
    scan::{Scan, key_text, scan},
    splice::{Edit, splice, splice_pieces},
};

/// The body that a provider gets which speaks the caller's protocol: the caller's, with these edits.
///
/// `model` becomes the deployment's; with `ask_usage` a streamed chat or text completion gets
/// `stream_options.include_usage: true`, the other members of its `stream_options` kept (the other
/// APIs report usage unasked); fields that are addressed to the gateway are removed, and so is what
/// of `metadata` the API would refuse. The body comes in pieces, so that a long prompt is not
/// copied; if nothing of this changes a byte, as the one that it was.
pub fn passthrough(
    endpoint: Endpoint,
    body: &Bytes,
    scan: &Scan,
    model: &str,
    ask_usage: bool,
) -> Vec<Bytes> {
    let model = quoted(model);
    let may_ask = matches!(endpoint, Endpoint::ChatCompletions | Endpoint::TextCompletions);
    let options = if ask_usage && may_ask && scan.bool(body, "stream") == Some(true) {
        with_usage(scan.raw(body, "stream_options"))
    } else {
        None
    };
    let ours: Vec<_> = scan
        .members
        .iter()
        .map(|member| key_text(body, member))
        .filter(|key| is_for_gateway(key) || (key == "user" && endpoint == Endpoint::Messages))
        .collect();
    let metadata = scan.raw(body, "metadata").map(|raw| metadata(endpoint, raw, body, scan));
    let mut edits = Vec::with_capacity(3 + ours.len());
    edits.push(Edit::Set { key: "model", value: &model });
    if let Some(options) = &options {
        edits.push(Edit::Set { key: "stream_options", value: options });
    }
    match &metadata {
        None | Some(Metadata::Whole) => {}
        Some(Metadata::Only(value)) => edits.push(Edit::Set { key: "metadata", value }),
        Some(Metadata::Gone) => edits.push(Edit::Remove { key: "metadata" }),
    }
    edits.extend(ours.iter().map(|key| Edit::Remove { key }));
    splice_pieces(body, scan, &edits)
}

/// The body with what a deployment's configuration sets and the caller did not, as far as the API
/// knows it; the same body if that is nothing. `defaults` are names and JSON.
pub fn with_defaults(
    endpoint: Endpoint,
    body: &Bytes,
    scan: &Scan,
    defaults: &[(String, String)],
) -> Bytes {
    let has = |key: &str| scan.member(body, key).is_some();
    // Two names of one thing: a provider refuses a request that has both.
    let is_given = |key: &str| match key {
        "max_tokens" | "max_completion_tokens" => has("max_tokens") || has("max_completion_tokens"),
        key => has(key),
    };
    let set: Vec<_> = defaults
        .iter()
        .filter(|(key, _)| is_default_of(endpoint, key) && !is_given(key))
        .map(|(key, value)| Edit::Set { key, value })
        .collect();
    if set.is_empty() { body.clone() } else { splice(body, scan, &set) }
}

/// Whether an API takes a default of that name. What is none of those that the APIs differ in is
/// the user's own, and goes to all.
fn is_default_of(endpoint: Endpoint, key: &str) -> bool {
    let is_chats_alone = matches!(
        key,
        "max_completion_tokens"
            | "parallel_tool_calls"
            | "reasoning_effort"
            | "response_format"
            | "verbosity"
    );
    let is_completions = matches!(
        key,
        "frequency_penalty" | "logit_bias" | "n" | "presence_penalty" | "seed" | "stop"
    );
    match endpoint {
        Endpoint::ChatCompletions => true,
        Endpoint::TextCompletions => !is_chats_alone && key != "thinking",
        Endpoint::Messages => !is_chats_alone && !is_completions,
        Endpoint::Responses => {
            !is_completions
                && (key == "parallel_tool_calls" || !is_chats_alone)
                && !matches!(key, "max_tokens" | "thinking")
        }
        Endpoint::Embeddings => {
            !is_chats_alone
                && !is_completions
                && !matches!(key, "max_tokens" | "thinking" | "temperature" | "top_p")
        }
    }
}

/// What a provider gets of `metadata`.
enum Metadata {
    Whole,
    Only(String),
    Gone,
}

/// What of `metadata` the API knows; more would be refused, and LiteLLM's callers put into it what
/// is for the gateway: tags, sessions, traces.
///
/// `OpenAI` takes it with a response, and with a chat completion that it is asked to store; not with
/// text completions and embeddings. Anthropic knows its `user_id` alone.
fn metadata(endpoint: Endpoint, raw: &[u8], body: &[u8], fields: &Scan) -> Metadata {
    match endpoint {
        Endpoint::Responses => Metadata::Whole,
        Endpoint::ChatCompletions if fields.bool(body, "store") == Some(true) => Metadata::Whole,
        Endpoint::ChatCompletions | Endpoint::TextCompletions | Endpoint::Embeddings => {
            Metadata::Gone
        }
        Endpoint::Messages => {
            // What is no object is left to the provider to refuse.
            let Ok(members) = scan(raw) else { return Metadata::Whole };
            let user_id = members.raw(raw, "user_id");
            match user_id.and_then(|id| std::str::from_utf8(id).ok()) {
                _ if members.members.is_empty() => Metadata::Whole,
                Some(_) if members.members.len() == 1 => Metadata::Whole,
                Some(id) => Metadata::Only(format!(r#"{{"user_id":{id}}}"#)),
                None => Metadata::Gone,
            }
        }
    }
}

/// The field that a body of this API must have beside `model`, and has not; `None` if it has it.
///
/// A response may do without `input` where it goes on from something that the provider keeps.
pub fn missing_field(endpoint: Endpoint, body: &[u8], scan: &Scan) -> Option<&'static str> {
    let has = |key| scan.member(body, key).is_some();
    let field = required_field(endpoint);
    let goes_on = endpoint == Endpoint::Responses
        && ["prompt", "previous_response_id", "conversation"].into_iter().any(has);
    (!goes_on && !has(field)).then_some(field)
}

/// The field that holds what a call of this API is about.
const fn required_field(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::ChatCompletions | Endpoint::Messages => "messages",
        Endpoint::TextCompletions => "prompt",
        Endpoint::Embeddings | Endpoint::Responses => "input",
    }
}

/// Whether a top-level field is addressed to the gateway and unknown to providers: LiteLLM's
/// parameters of a call (`litellm.types.utils.all_litellm_params`, as far as callers send them), and
/// those of the other systems.
pub(crate) fn is_for_gateway(key: &str) -> bool {
    const OURS: [&str; 64] = [
        "additional_drop_params",
        "allowed_model_region",
        "allowed_openai_params",
        "api_base",
        "api_key",
        "api_version",
        "authorization",
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
        "azure_ad_token",
        "base_url",
        "budget_duration",
        "cache",
        "caching",
        "caching_groups",
        "content_policy_fallbacks",
        "context_window_fallbacks",
        "cooldown_time",
        "custom_llm_provider",
        "disable_fallbacks",
        "drop_params",
        "enable_json_schema_validation",
        "extra_headers",
        "fallbacks",
        "force_timeout",
        "guardrails",
        "headers",
        "include_fallback_errors",
        "input_cost_per_second",
        "input_cost_per_token",
        "keepalive_seconds",
        "max_budget",
        "max_fallbacks",
        "max_retries",
        "merge_reasoning_content_in_choices",
        "mock_delay",
        "mock_response",
        "mock_testing_content_policy_fallbacks",
        "mock_testing_context_fallbacks",
        "mock_testing_fallbacks",
        "mock_testing_rate_limit_error",
        "mock_timeout",
        "mock_tool_calls",
        "model_info",
        "no-log",
        "num_retries",
        "output_cost_per_second",
        "output_cost_per_token",
        "region_name",
        "request_timeout",
        "retry_policy",
        "routing_strategy",
        "rpm",
        "session_id",
        "stream_timeout",
        "supports_system_message",
        "tags",
        "timeout",
        "tpm",
        "trace",
        "turn_off_message_logging",
        "user_config",
        "vertex_credentials",
    ];
    OURS.binary_search(&key).is_ok() || key.starts_with("litellm_") || key.starts_with("helicone-")
}

/// The caller's `stream_options` asking for usage; `None` if they are something that the provider
/// should refuse.
fn with_usage(raw: Option<&[u8]>) -> Option<String> {
    let raw = match raw {
        None | Some(b"null") => return Some(r#"{"include_usage":true}"#.to_owned()),
        Some(raw) => Bytes::copy_from_slice(raw),
    };
    let options = scan(&raw).ok()?;
    let edited = splice(&raw, &options, &[Edit::Set { key: "include_usage", value: "true" }]);
    String::from_utf8(edited.into()).ok()
}

/// Text as a JSON string.
pub(crate) fn quoted(text: &str) -> Cow<'_, str> {
    serde_json::to_string(text).map_or_else(|_| Cow::Borrowed("\"\""), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: &str, ask_usage: bool) -> String {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let scan = scan(&body).unwrap();
        let asked =
            passthrough(Endpoint::ChatCompletions, &body, &scan, "gpt-4o", ask_usage).concat();
        String::from_utf8(asked).unwrap()
    }

    #[test]
    fn a_request_changes_in_the_listed_places_only() {
        let cases = [
            (r#"{"model": "fast", "x_new":[1.10]}"#, r#"{"model": "gpt-4o", "x_new":[1.10]}"#),
            (
                r#"{"model":"gpt-4o","stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"model":"gpt-4o","stream":true}"#,
            ),
            (
                r#"{"model":"gpt-4o","stream":true,"stream_options":null}"#,
                r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":false}}"#,
                r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"model":"gpt-4o","stream":true,"stream_options":{"a":1}}"#,
                r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true,"a":1}}"#,
            ),
            (
                r#"{"model":"gpt-4o","stream":true,"stream_options":7}"#,
                r#"{"model":"gpt-4o","stream":true,"stream_options":7}"#,
            ),
            (r#"{"model":"gpt-4o","stream":false}"#, r#"{"model":"gpt-4o","stream":false}"#),
            (
                r#"{"no-log":true,"model":"a","metadata":{"tags":[]},"litellm_x":1,"user":"u"}"#,
                r#"{"model":"gpt-4o","user":"u"}"#,
            ),
            (
                r#"{"model":"a","store":true,"metadata":{"a":"b"},"cache":{"no-cache":true}}"#,
                r#"{"model":"gpt-4o","store":true,"metadata":{"a":"b"}}"#,
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(asked(body, true), expected);
        }
        let streamed = r#"{"model":"gpt-4o","stream":true}"#;
        assert_eq!(asked(streamed, false), streamed);
    }

    #[test]
    fn defaults_fill_in_what_the_caller_left_out_and_the_api_knows() {
        let defaults = [("temperature", "0.2"), ("max_tokens", "9"), ("seed", "1"), ("own", "[]")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let cases = [
            (
                Endpoint::ChatCompletions,
                r#"{"model":"m"}"#,
                r#"{"temperature":0.2,"max_tokens":9,"seed":1,"own":[],"model":"m"}"#,
            ),
            (
                Endpoint::ChatCompletions,
                r#"{"temperature":null,"max_completion_tokens":3,"own":{}}"#,
                r#"{"seed":1,"temperature":null,"max_completion_tokens":3,"own":{}}"#,
            ),
            (Endpoint::Messages, "{}", r#"{"temperature":0.2,"max_tokens":9,"own":[]}"#),
            (Endpoint::Responses, "{}", r#"{"temperature":0.2,"own":[]}"#),
            (Endpoint::Embeddings, r#"{"own":1}"#, r#"{"own":1}"#),
        ];
        for (endpoint, body, expected) in cases {
            let body = Bytes::from_static(body.as_bytes());
            let scan = scan(&body).unwrap();
            let filled = with_defaults(endpoint, &body, &scan, &defaults);
            assert_eq!(String::from_utf8(filled.into()).unwrap(), expected, "{endpoint:?}");
        }
    }

    #[test]
    fn usage_is_asked_for_only_where_it_must_be() {
        let body = Bytes::from_static(br#"{"model":"m","stream":true,"stream_options":{"a":1}}"#);
        let scan = scan(&body).unwrap();
        for (endpoint, is_asked) in [
            (Endpoint::ChatCompletions, true),
            (Endpoint::TextCompletions, true),
            (Endpoint::Responses, false),
            (Endpoint::Messages, false),
        ] {
            let asked = passthrough(endpoint, &body, &scan, "m", true).concat();
            assert_eq!(memchr::memmem::find(&asked, b"include_usage").is_some(), is_asked);
        }
    }

    #[test]
    fn what_an_api_knows_itself_stays_and_what_is_ours_goes() {
        let cases = [
            (
                Endpoint::Messages,
                r#"{"model":"c","metadata":{"user_id":"u"},"tags":["a"],"mcp_servers":[]}"#,
                r#"{"model":"gpt-4o","metadata":{"user_id":"u"},"mcp_servers":[]}"#,
            ),
            (
                Endpoint::Messages,
                r#"{"model":"c","metadata":{"tags":["a"], "user_id" : "u\"v"},"user":"u"}"#,
                r#"{"model":"gpt-4o","metadata":{"user_id":"u\"v"}}"#,
            ),
            (
                Endpoint::Messages,
                r#"{"model":"c","metadata":{"tags":["a"]},"top_k":1}"#,
                r#"{"model":"gpt-4o","top_k":1}"#,
            ),
            (
                Endpoint::Messages,
                r#"{"model":"c","metadata":["x"]}"#,
                r#"{"model":"gpt-4o","metadata":["x"]}"#,
            ),
            (
                Endpoint::ChatCompletions,
                r#"{"store":false,"metadata":{"a":"b"},"model":"m"}"#,
                r#"{"store":false,"model":"gpt-4o"}"#,
            ),
            (
                Endpoint::TextCompletions,
                r#"{"store":true,"metadata":{"a":"b"},"model":"m"}"#,
                r#"{"store":true,"model":"gpt-4o"}"#,
            ),
            (
                Endpoint::Embeddings,
                r#"{"input":"x","model":"m","metadata":{"tags":["a"]}}"#,
                r#"{"input":"x","model":"gpt-4o"}"#,
            ),
            (
                Endpoint::Responses,
                r#"{"trace":{},"metadata":{"a":"b"},"mock_response":"x","input":"","model":"r"}"#,
                r#"{"metadata":{"a":"b"},"input":"","model":"gpt-4o"}"#,
            ),
        ];
        for (endpoint, body, expected) in cases {
            let body = Bytes::from_static(body.as_bytes());
            let scan = scan(&body).unwrap();
            let asked = passthrough(endpoint, &body, &scan, "gpt-4o", true).concat();
            assert_eq!(String::from_utf8(asked).unwrap(), expected);
        }
    }

    #[test]
    fn the_field_that_a_body_lacks_is_named() {
        let cases = [
            (Endpoint::ChatCompletions, "{}", Some("messages")),
            (Endpoint::Messages, r#"{"messages":[]}"#, None),
            (Endpoint::TextCompletions, r#"{"input":""}"#, Some("prompt")),
            (Endpoint::Embeddings, r#"{"prompt":""}"#, Some("input")),
            (Endpoint::Responses, "{}", Some("input")),
            (Endpoint::Responses, r#"{"input":[]}"#, None),
            (Endpoint::Responses, r#"{"prompt":{"id":"p"}}"#, None),
            (Endpoint::Responses, r#"{"previous_response_id":"r"}"#, None),
        ];
        for (endpoint, body, expected) in cases {
            let scan = scan(body.as_bytes()).unwrap();
            assert_eq!(missing_field(endpoint, body.as_bytes(), &scan), expected, "{body}");
        }
    }

    #[test]
    fn a_request_that_needs_no_edit_is_not_copied() {
        let body = Bytes::from_static(br#"{"model":"gpt-4o","messages":[]}"#);
        let scan = scan(&body).unwrap();
        let asked = passthrough(Endpoint::ChatCompletions, &body, &scan, "gpt-4o", true);
        assert_eq!(asked[0].as_ptr(), body.as_ptr());
    }
}
