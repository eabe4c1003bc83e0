//! What a payload tells of the request: `messages` and `model_parameters`.

use std::{borrow::Cow, fmt::Write as _};

use super::post::Post;
use crate::format::json::{Json, Members, Null, Raw};

/// What stands where a text was taken out, as in LiteLLM.
pub(super) const REDACTED: &str = "redacted-by-litellm";

/// A base64 text up to this length stays (`MAX_BASE64_LENGTH_FOR_LOGGING` in LiteLLM).
const BASE64_CHARS_MAX: usize = 64;

/// The parameters that LiteLLM knows of a chat request. `extra_headers` is not among ours: it may
/// hold a credential.
const PARAMETERS: [&str; 33] = [
    "temperature",
    "max_tokens",
    "max_completion_tokens",
    "stream",
    "stream_options",
    "user",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "top_p",
    "n",
    "stop",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "modalities",
    "prediction",
    "function_call",
    "functions",
    "max_retries",
    "audio",
    "web_search_options",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "store",
    "reasoning_effort",
    "thinking",
];

/// The parameters that hold text of the caller's.
const TEXTUAL: [&str; 6] =
    ["tools", "functions", "response_format", "prediction", "stop", "web_search_options"];

/// Writes the messages as the caller wrote them, long base64 texts cut out; null if the request
/// cannot be read.
pub(super) fn write_messages(json: &mut Json, post: &Post<'_>) {
    match post.request.get("messages") {
        Some(_) if post.hides_text => {
            json.open_list();
            json.open();
            json.field("role", "user");
            json.field("content", REDACTED);
            json.close();
            json.close_list();
        }
        Some(messages) => json.value(Raw(&without_base64(messages))),
        None => json.value(Null),
    }
}

/// Writes the known parameters. A stream always shows `include_usage`, which is asked for upstream
/// whether the caller did or not.
pub(super) fn write_parameters(json: &mut Json, post: &Post<'_>) {
    json.open();
    if post.attempt.is_some() {
        for (name, value) in post.request.iter() {
            let is_told = PARAMETERS.contains(&name)
                && !matches!(name, "stream" | "stream_options")
                && !(post.is_redacted() && TEXTUAL.contains(&name));
            if is_told {
                json.field_named(name, Raw(value));
            }
        }
        json.field("stream", post.call.stream);
        if post.call.stream {
            json.name("stream_options");
            json.open();
            let options = post.request.get("stream_options").map(Members::of).unwrap_or_default();
            for (name, value) in options.iter().filter(|(name, _)| *name != "include_usage") {
                json.field_named(name, Raw(value));
            }
            json.field("include_usage", true);
            json.close();
        }
    }
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
