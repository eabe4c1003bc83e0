//! What a payload tells of the answer: `response` and the usage objects.
//!
//! An answer is told as the object of the API that was called, but for Anthropic's messages, which
//! LiteLLM turns into a chat completion before it tells of them, and the usage of `/v1/responses`,
//! which it tells in the names of chat.

use domain::{call::Endpoint, deployment::Dialect};
use serde_json::value::RawValue;

use super::{
    hide::{self, REDACTED},
    post::Post,
};
use crate::format::json::{Json, Members, Null, Raw, elements};

/// Keys of a message that receivers may index, null where the provider left them out.
const MESSAGE_KEYS: [&str; 2] = ["tool_calls", "function_call"];

/// Keys of a usage object that receivers may index, null where the provider left them out.
const USAGE_KEYS: [&str; 2] = ["completion_tokens_details", "prompt_tokens_details"];

/// What LiteLLM counts apart, null where the provider did not.
const COMPLETION_DETAILS: [&str; 7] = [
    "accepted_prediction_tokens",
    "audio_tokens",
    "reasoning_tokens",
    "rejected_prediction_tokens",
    "text_tokens",
    "image_tokens",
    "video_tokens",
];
const PROMPT_DETAILS: [&str; 6] = [
    "audio_tokens",
    "cached_tokens",
    "text_tokens",
    "image_tokens",
    "video_tokens",
    "initial_prompt_tokens",
];

/// Members of an answer that hold no text of the model's.
const WITHOUT_TEXT: [&str; 19] = [
    "id",
    "created",
    "created_at",
    "completed_at",
    "object",
    "status",
    "system_fingerprint",
    "service_tier",
    "background",
    "error",
    "incomplete_details",
    "max_output_tokens",
    "max_tool_calls",
    "parallel_tool_calls",
    "previous_response_id",
    "store",
    "temperature",
    "top_p",
    "truncation",
];

/// Writes the answer of a success; `{}` for a failure, as LiteLLM does.
pub(super) fn write_response(json: &mut Json, post: &Post<'_>) {
    if post.is_failure() {
        json.value(Raw("{}"));
    } else {
        write_answer(json, post);
    }
}

/// Writes what was seen of an answer, under the model's public name; `{}` if that is nothing.
pub(super) fn write_answer(json: &mut Json, post: &Post<'_>) {
    let response = post.report.response.as_deref().filter(|_| post.has_answer);
    if response.is_some() && post.call.endpoint == Endpoint::Messages {
        return write_as_chat(json, post);
    }
    let members = response.map(Members::of).unwrap_or_default();
    let is_redacted = post.is_answer_redacted();
    json.open();
    for (name, value) in members.iter() {
        match name {
            "model" => json.field("model", public_name(post)),
            "usage" => {
                json.name("usage");
                let is_responses = post.call.endpoint == Endpoint::Responses;
                let usage = post.usage_json().filter(|_| is_responses);
                let has_nulls = is_responses || post.is_streamed_success();
                write_usage(json, usage.unwrap_or(value), has_nulls, post);
            }
            "object" if is_told_as_chat(post) => json.field("object", "chat.completion"),
            "choices" => {
                json.name("choices");
                write_choices(json, value, post);
            }
            "data" if is_redacted => json.field("data", Raw("[]")),
            "output" if post.hides_text => {
                json.name("output");
                hide::write(json, value);
            }
            "instructions" if post.hides_text && value != "null" => {
                json.field("instructions", REDACTED);
            }
            "reasoning" if is_redacted => json.field("reasoning", Null),
            _ if post.hides_text && !WITHOUT_TEXT.contains(&name) => {}
            _ => json.field_named(name, Raw(value)),
        }
    }
    if is_put_together(post) && members.get("system_fingerprint").is_none() && !members.is_empty() {
        json.field("system_fingerprint", Null);
    }
    json.close();
}

/// Whether it is what LiteLLM puts together from a stream of completions.
fn is_put_together(post: &Post<'_>) -> bool {
    let endpoint = post.call.endpoint;
    post.is_streamed_success()
        && matches!(endpoint, Endpoint::ChatCompletions | Endpoint::TextCompletions)
}

/// LiteLLM puts a stream of text together as if it were chat. The text stays beside the message.
fn is_told_as_chat(post: &Post<'_>) -> bool {
    is_put_together(post) && post.call.endpoint == Endpoint::TextCompletions
}

fn public_name<'a>(post: &Post<'a>) -> Option<&'a str> {
    post.attempt.map(|attempt| attempt.deployment.model_name.as_str())
}

/// Writes the answer as a chat completion, from what is known of it whatever its protocol.
fn write_as_chat(json: &mut Json, post: &Post<'_>) {
    let report = post.report;
    json.open();
    json.field("id", report.response_id.as_deref());
    json.field("created", u64::try_from(post.ended_at.as_secs()).unwrap_or_default());
    json.field("model", public_name(post));
    json.field("object", "chat.completion");
    json.name("choices");
    json.open_list();
    json.comma();
    json.open();
    json.field("finish_reason", report.finish_reason.as_deref());
    json.field("index", 0);
    json.name("message");
    json.open();
    let text = shown(report.text.as_deref(), post.hides_text);
    json.field("content", text);
    json.field("role", "assistant");
    json.name("tool_calls");
    match &report.tool_calls {
        Some(calls) if post.hides_text => hide::write(json, calls),
        calls => json.value(calls.as_deref().map(Raw)),
    }
    json.field("function_call", Null);
    if let Some(reasoning) = shown(report.reasoning.as_deref(), post.hides_text) {
        json.field("reasoning_content", reasoning);
    }
    write_thinking(json, post);
    if !post.call.stream {
        json.name("provider_specific_fields");
        json.open();
        json.field("citations", Null);
        if !write_thinking(json, post) {
            json.field("thinking_blocks", Null);
        }
        json.close();
    }
    json.close();
    json.close();
    json.close_list();
    if let Some(usage) = post.usage_json() {
        json.name("usage");
        write_usage(json, usage, true, post);
    }
    json.close();
}

/// Writes the blocks in which an Anthropic model thought, with their signatures, if there are any;
/// null in place of those that must not be seen. Says whether there are any.
fn write_thinking(json: &mut Json, post: &Post<'_>) -> bool {
    let response = post.report.response.as_deref().map(Members::of).unwrap_or_default();
    let blocks = response.get("content").map(elements).unwrap_or_default();
    let is_thought = |block: &&&RawValue| {
        let kind = Members::of(block.get()).get("type");
        matches!(kind, Some(r#""thinking""# | r#""redacted_thinking""#))
    };
    let mut thoughts = blocks.iter().filter(is_thought).peekable();
    if thoughts.peek().is_none() {
        return false;
    }
    if post.is_answer_redacted() {
        json.field("thinking_blocks", Null);
        return true;
    }
    json.name("thinking_blocks");
    json.open_list();
    for block in thoughts {
        json.element(Raw(block.get()));
    }
    json.close_list();
    true
}

/// A text, or the mark in its place.
fn shown(text: Option<&str>, hides_text: bool) -> Option<&str> {
    if hides_text { text.map(|_| REDACTED) } else { text }
}

/// Writes the usage for `metadata.usage_object`; `{}` if none was reported.
pub(super) fn write_usage_object(json: &mut Json, post: &Post<'_>) {
    write_usage(json, post.usage_json().unwrap_or("{}"), true, post);
}

/// Writes a usage; `has_nulls` if what was not counted apart is null there.
fn write_usage(json: &mut Json, usage: &str, has_nulls: bool, post: &Post<'_>) {
    let members = Members::of(usage);
    if members.is_empty() {
        json.value(Raw(usage));
        return;
    }
    let dialect = post.attempt.map(|attempt| attempt.deployment.dialect);
    let is_anthropics = dialect == Some(Dialect::Anthropic);
    json.open();
    for (name, value) in members.iter() {
        match name {
            "prompt_tokens_details" | "completion_tokens_details" if is_anthropics => {}
            "completion_tokens_details" if has_nulls && value.starts_with('{') => {
                json.name("completion_tokens_details");
                write_details(json, value, &COMPLETION_DETAILS);
            }
            "prompt_tokens_details" if has_nulls && value.starts_with('{') => {
                json.name("prompt_tokens_details");
                write_details(json, value, &PROMPT_DETAILS);
            }
            _ => json.field_named(name, Raw(value)),
        }
    }
    // There is nothing to count in an embedding; LiteLLM writes so.
    if post.call.endpoint == Endpoint::Embeddings && members.get("completion_tokens").is_none() {
        json.field("completion_tokens", 0);
    }
    if is_anthropics {
        write_anthropics(json, &members, post);
    } else {
        for name in USAGE_KEYS {
            if members.get(name).is_none() {
                json.field(name, Null);
            }
        }
    }
    // LiteLLM adds the cost to the usage of streams, and of streams only.
    if let (true, Some(cost), None) = (post.is_streamed_success(), post.cost(), members.get("cost"))
    {
        json.field("cost", cost.total);
    }
    json.close();
}

/// Writes what LiteLLM adds to Anthropic's usage: what its cache held of the prompt, what went into
/// it, and the rest, which alone Anthropic counts as input; 0 where it says nothing of a cache. Of a
/// model that thought, nobody knows how much of the answer that was.
fn write_anthropics(json: &mut Json, usage: &Members<'_>, post: &Post<'_>) {
    let count = |value: Option<&str>| value.and_then(|value| value.parse::<u64>().ok());
    let known = |name| count(usage.get(name));
    let written = known("cache_creation_input_tokens").unwrap_or_default();
    let cached = known("cache_read_input_tokens").unwrap_or_default();
    let apart = cached.saturating_add(written);
    let has_thought = post.report.reasoning.is_some();
    json.name("completion_tokens_details");
    json.open();
    json.nulls(&["accepted_prediction_tokens", "audio_tokens"]);
    json.field("reasoning_tokens", (!has_thought).then_some(0));
    json.nulls(&["rejected_prediction_tokens"]);
    json.field("text_tokens", known("completion_tokens").filter(|_| !has_thought));
    json.nulls(&["image_tokens", "video_tokens"]);
    json.close();
    json.name("prompt_tokens_details");
    json.open();
    json.field("audio_tokens", Null);
    json.field("cache_write_tokens", written);
    json.field("cached_tokens", cached);
    let prompt = known("prompt_tokens");
    json.field("text_tokens", prompt.and_then(|prompt| prompt.checked_sub(apart)));
    json.nulls(&["image_tokens", "video_tokens", "initial_prompt_tokens"]);
    json.field("cache_creation_tokens", written);
    let by_time = usage.get("cache_creation").map(Members::of).unwrap_or_default();
    if !by_time.is_empty() {
        json.name("cache_creation_token_details");
        json.open();
        for name in [
            "ephemeral_5m_input_tokens",
            "ephemeral_30m_input_tokens",
            "ephemeral_1h_input_tokens",
            "ephemeral_12h_input_tokens",
        ] {
            json.field(name, by_time.get(name).map(Raw));
        }
        json.close();
    }
    json.close();
    for name in ["cache_creation_input_tokens", "cache_read_input_tokens"] {
        if usage.get(name).is_none() {
            json.field(name, 0);
        }
    }
    if !post.call.stream {
        for name in ["iterations", "inference_geo", "speed", "service_tier"] {
            if usage.get(name).is_none() {
                json.field(name, Null);
            }
        }
    }
}

fn write_details(json: &mut Json, details: &str, known: &[&'static str]) {
    let members = Members::of(details);
    json.open();
    for (name, value) in members.iter() {
        json.field_named(name, Raw(value));
    }
    for name in known {
        if members.get(name).is_none() {
            json.field(name, Null);
        }
    }
    json.close();
}

fn write_choices(json: &mut Json, choices: &str, post: &Post<'_>) {
    let hides_text = post.hides_text;
    // LiteLLM has a room for what only one provider says, empty with those that speak OpenAI's.
    let is_plain_chat = post.call.endpoint == Endpoint::ChatCompletions && !post.call.stream;
    let dialect = post.attempt.map(|attempt| attempt.deployment.dialect);
    let is_from_openai = is_plain_chat && dialect == Some(Dialect::OpenAi);
    json.open_list();
    for choice in elements(choices) {
        let members = Members::of(choice.get());
        json.comma();
        json.open();
        for (name, value) in members.iter() {
            match name {
                "message" => {
                    json.name("message");
                    write_message(json, value, post);
                }
                "index" | "finish_reason" => json.field_named(name, Raw(value)),
                "text" if hides_text => {
                    json.field("text", REDACTED);
                    if is_told_as_chat(post) {
                        write_text_message(json, None);
                    }
                }
                "text" => {
                    json.field_named(name, Raw(value));
                    if is_told_as_chat(post) {
                        write_text_message(json, Some(value));
                    }
                }
                "logprobs" if hides_text => json.field("logprobs", Null),
                _ if hides_text => {}
                _ => json.field_named(name, Raw(value)),
            }
        }
        if is_from_openai && members.get("provider_specific_fields").is_none() {
            json.field("provider_specific_fields", Raw("{}"));
        }
        json.close();
    }
    json.close_list();
}

/// Writes the message that a text is told as; the mark in its place if it is `None`.
fn write_text_message(json: &mut Json, text: Option<&str>) {
    json.name("message");
    json.open();
    match text {
        Some(text) => json.field("content", Raw(text)),
        None => json.field("content", REDACTED),
    }
    json.field("role", "assistant");
    for name in MESSAGE_KEYS {
        json.field(name, Null);
    }
    json.close();
}

fn write_message(json: &mut Json, message: &str, post: &Post<'_>) {
    let members = Members::of(message);
    json.open();
    for (name, value) in members.iter() {
        match name {
            "thinking_blocks" if post.is_answer_redacted() => json.field("thinking_blocks", Null),
            _ if !post.hides_text => json.field_named(name, Raw(value)),
            "role" => json.field_named(name, Raw(value)),
            "content" | "reasoning_content" if value != "null" => json.field_named(name, REDACTED),
            "content" | "reasoning_content" => json.field_named(name, Null),
            "tool_calls" | "function_call" => {
                json.field_named(name, hide::Hidden(value));
            }
            // Refusals hold text, as may annotations, audio and what else there may be.
            _ => {}
        }
    }
    for name in MESSAGE_KEYS {
        if members.get(name).is_none() {
            json.field(name, Null);
        }
    }
    let dialect = post.attempt.map(|attempt| attempt.deployment.dialect);
    if dialect == Some(Dialect::Anthropic) && !post.call.stream {
        let blocks = members.get("thinking_blocks").filter(|_| !post.is_answer_redacted());
        json.name("provider_specific_fields");
        json.open();
        json.field("citations", Null);
        json.field("thinking_blocks", blocks.map(Raw));
        json.close();
    }
    json.close();
}
