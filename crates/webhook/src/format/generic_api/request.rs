//! What a payload tells of the request: `messages`, `model_parameters` and built-in tools.

use std::{borrow::Cow, fmt::Write as _};

use domain::{call::Endpoint, deployment::Dialect};

use super::{hide::REDACTED, post::Post};
use crate::format::json::{Json, Members, Null, Raw, Value, elements};

/// A base64 text up to this length stays (`MAX_BASE64_LENGTH_FOR_LOGGING` in LiteLLM).
const BASE64_CHARS_MAX: usize = 64;

/// Whether LiteLLM tells a member of a request to that API as a parameter: what the API knows, but
/// for what holds the prompt, the metadata and the model's name. `extra_headers` is not among ours:
/// it may hold a credential.
fn is_parameter(endpoint: Endpoint, name: &str) -> bool {
    match endpoint {
        Endpoint::ChatCompletions => is_chats(name),
        Endpoint::TextCompletions => {
            is_completions(name) || matches!(name, "best_of" | "echo" | "suffix")
        }
        Endpoint::Embeddings => matches!(name, "dimensions" | "encoding_format" | "user"),
        Endpoint::Responses => is_responses(name),
        Endpoint::Messages => is_messages(name),
    }
}

/// What chat and text completions share.
fn is_completions(name: &str) -> bool {
    matches!(
        name,
        "frequency_penalty"
            | "logit_bias"
            | "logprobs"
            | "max_tokens"
            | "n"
            | "presence_penalty"
            | "seed"
            | "stop"
            | "stream"
            | "stream_options"
            | "temperature"
            | "top_p"
            | "user"
    )
}

fn is_chats(name: &str) -> bool {
    is_completions(name)
        || matches!(
            name,
            "audio"
                | "function_call"
                | "functions"
                | "max_completion_tokens"
                | "modalities"
                | "parallel_tool_calls"
                | "prediction"
                | "prompt_cache_key"
                | "prompt_cache_retention"
                | "reasoning_effort"
                | "response_format"
                | "safety_identifier"
                | "service_tier"
                | "store"
                | "thinking"
                | "tool_choice"
                | "tools"
                | "top_logprobs"
                | "verbosity"
                | "web_search_options"
        )
}

fn is_responses(name: &str) -> bool {
    matches!(
        name,
        "background"
            | "context_management"
            | "conversation"
            | "include"
            | "instructions"
            | "max_output_tokens"
            | "max_tool_calls"
            | "parallel_tool_calls"
            | "previous_response_id"
            | "prompt_cache_key"
            | "prompt_cache_retention"
            | "reasoning"
            | "safety_identifier"
            | "service_tier"
            | "store"
            | "stream"
            | "stream_options"
            | "temperature"
            | "text"
            | "tool_choice"
            | "tools"
            | "top_logprobs"
            | "top_p"
            | "truncation"
            | "user"
    )
}

fn is_messages(name: &str) -> bool {
    matches!(
        name,
        "container"
            | "context_management"
            | "inference_geo"
            | "max_tokens"
            | "mcp_servers"
            | "output_config"
            | "output_format"
            | "service_tier"
            | "speed"
            | "stop_sequences"
            | "stream"
            | "temperature"
            | "thinking"
            | "tool_choice"
            | "tools"
            | "top_k"
            | "top_p"
    )
}

/// The parameters that hold text of the caller's.
const TEXTUAL: [&str; 13] = [
    "tools",
    "functions",
    "response_format",
    "prediction",
    "stop",
    "stop_sequences",
    "suffix",
    "instructions",
    "text",
    "web_search_options",
    "mcp_servers",
    "output_config",
    "output_format",
];

/// Writes what was asked as messages, long base64 texts cut out; null if it cannot be read.
///
/// Without its texts it is one message, whatever was asked. Else messages stay as the caller wrote
/// them; a prompt or an input becomes a user's message for each
/// text in it, and stays as it is if it is neither a text nor a list of texts.
pub(super) fn write_messages(json: &mut Json, post: &Post<'_>) {
    let name = match post.call.endpoint {
        Endpoint::ChatCompletions | Endpoint::Messages => "messages",
        Endpoint::TextCompletions => "prompt",
        Endpoint::Embeddings | Endpoint::Responses => "input",
    };
    let Some(said) = post.request.get(name) else { return json.value(Null) };
    if post.is_redacted() {
        json.open_list();
        write_message(json, "user", REDACTED);
        return json.close_list();
    }
    let said = without_base64(said);
    match post.call.endpoint {
        Endpoint::ChatCompletions => json.value(Raw(&said)),
        Endpoint::Messages => write_after_system(json, post.request.get("system"), &said),
        _ => write_as_users(json, &said),
    }
}

fn write_message(json: &mut Json, role: &'static str, content: impl Value) {
    json.comma();
    json.open();
    json.field("role", role);
    json.field("content", content);
    json.close();
}

/// Writes Anthropic's messages after its system prompt, if that is one text, as LiteLLM does.
fn write_after_system(json: &mut Json, system: Option<&str>, messages: &str) {
    let system = system.filter(|system| system.starts_with('"'));
    let list = messages.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let (Some(system), Some(list)) = (system, list) else { return json.value(Raw(messages)) };
    json.open_list();
    write_message(json, "system", Raw(system));
    if !list.trim_ascii().is_empty() {
        json.element(Raw(list));
    }
    json.close_list();
}

fn write_as_users(json: &mut Json, said: &str) {
    let texts = match said.as_bytes() {
        [b'"', ..] => vec![said],
        [b'[', ..] => {
            let elements = elements(said);
            let is_texts = elements.first().is_some_and(|first| first.get().starts_with('"'));
            if !is_texts {
                return json.value(Raw(said));
            }
            elements.into_iter().map(serde_json::value::RawValue::get).collect()
        }
        _ => return json.value(Raw(said)),
    };
    json.open_list();
    for text in texts {
        write_message(json, "user", Raw(text));
    }
    json.close_list();
}

/// Writes the parameters that the API knows.
///
/// For the two kinds of completions they are what goes upstream: chat always has `stream`, and a
/// stream asks for its usage whether the caller did or not. A call that went nowhere shows what the
/// caller wrote, without the end user.
pub(super) fn write_parameters(json: &mut Json, post: &Post<'_>) {
    let endpoint = post.call.endpoint;
    let is_chat = endpoint == Endpoint::ChatCompletions;
    let is_completion = is_chat || endpoint == Endpoint::TextCompletions;
    let is_asked = post.attempt.is_some();
    let is_made = is_asked && is_completion && (is_chat || post.call.stream);
    json.open();
    for (name, value) in post.request.iter() {
        let is_told = is_parameter(endpoint, name)
            && !(is_made && matches!(name, "stream" | "stream_options"))
            && (is_asked || name != "user")
            && !(post.is_redacted() && TEXTUAL.contains(&name));
        if is_told {
            json.field_named(name, Raw(value));
        }
    }
    // Of a plain message LiteLLM tells so where its provider was asked.
    let is_plain_message = endpoint == Endpoint::Messages
        && post.attempt.is_some_and(|attempt| attempt.deployment.dialect != Dialect::Mock)
        && post.request.get("stream").is_none();
    if is_made {
        json.field("stream", post.call.stream);
    } else if is_plain_message {
        json.field("stream", false);
    }
    if is_made && post.call.stream {
        json.name("stream_options");
        json.open();
        let options = post.request.get("stream_options").map(Members::of).unwrap_or_default();
        for (name, value) in options.iter().filter(|(name, _)| *name != "include_usage") {
            json.field_named(name, Raw(value));
        }
        json.field("include_usage", true);
        json.close();
    }
    json.close();
}

/// Writes the provider's own tools that the request names: how to search the web, and files.
pub(super) fn write_built_in_tools(json: &mut Json, post: &Post<'_>) {
    let is_shown = !post.is_redacted();
    let tools = post.request.get("tools").filter(|_| is_shown).map(elements).unwrap_or_default();
    let tool_of = |is_kind: fn(&str) -> bool| {
        tools.iter().map(|tool| tool.get()).find(|tool| {
            let kind = Members::of(tool).get("type");
            kind.is_some_and(|kind| is_kind(kind.trim_matches('"')))
        })
    };
    let options = post.request.get("web_search_options").filter(|_| is_shown);
    let search = options.or_else(|| tool_of(|kind| kind.starts_with("web_search")));
    let files = tool_of(|kind| kind == "file_search");
    json.open();
    json.field("web_search_options", search.map(Raw));
    json.field("file_search", files.map(Raw));
    json.close();
}

/// The text with each long base64 part of a data URL replaced by its size, as LiteLLM does:
/// `data:image/png;base64,[base64_data truncated: 2.9KB]`.
fn without_base64(json: &str) -> Cow<'_, str> {
    const MARK: &str = ";base64,";
    let finder = memchr::memmem::Finder::new(MARK);
    let mut out = String::new();
    let mut copied = 0;
    let mut from = 0;
    while let Some(found) = finder.find(&json.as_bytes()[from..]) {
        let start = from + found + MARK.len();
        let length = json.as_bytes()[start..]
            .iter()
            // JSON may write the solidus of the alphabet as `\/`.
            .take_while(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'\\')
            })
            .count();
        if length > BASE64_CHARS_MAX {
            out.push_str(&json[copied..start]);
            write!(out, "[base64_data truncated: {}]", size(length)).expect("a string takes it");
            copied = start + length;
        }
        from = start + length;
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    out.push_str(&json[copied..]);
    Cow::Owned(out)
}

/// The size of what a base64 text of that length stands for.
fn size(base64_chars: usize) -> String {
    let bytes = base64_chars as f64 * 0.75;
    if bytes < 1_024.0 {
        format!("{bytes:.0}B")
    } else if bytes < 1_048_576.0 {
        format!("{:.1}KB", bytes / 1_024.0)
    } else {
        format!("{:.1}MB", bytes / 1_048_576.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_base64_text_gives_way_to_its_size() {
        let url = |chars: usize| format!(r#"["data:image/png;base64,{}"]"#, "A".repeat(chars));
        assert_eq!(
            without_base64(&url(4_000)),
            r#"["data:image/png;base64,[base64_data truncated: 2.9KB]"]"#
        );
        assert_eq!(without_base64(&url(64)), url(64));
        let two = format!("{}{}", url(100), url(4_000_000));
        assert_eq!(
            without_base64(&two),
            concat!(
                r#"["data:image/png;base64,[base64_data truncated: 75B]"]"#,
                r#"["data:image/png;base64,[base64_data truncated: 2.9MB]"]"#
            )
        );
    }
}
