//! Anthropic's Messages API (version 2023-06-01), translated from and to `OpenAI`'s dialect.
//!
//! [`request()`] lists what becomes of each field on the way there, [`response()`] and [`Translator`]
//! do the way back. Texts, tool arguments and schemas are carried as the raw JSON that they came
//! as: the order of a schema's properties is part of what the model reads, and of what its prompt
//! cache compares.

mod request;
mod response;
mod translator;
mod usage;

pub use self::{request::request, response::response, translator::Translator};

/// The `anthropic-version` that we speak.
pub const VERSION: &str = "2023-06-01";

/// Why an answer ended, in `OpenAI`'s words.
pub(crate) fn finish_reason(stop_reason: &str) -> &'static str {
    match stop_reason {
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        // `end_turn`, `stop_sequence`, `pause_turn`, and what is yet unknown.
        _ => "stop",
    }
}

/// A `usage` object of Anthropic's in chat's shape, as JSON; `None` if it cannot be read.
pub(crate) fn usage_as_openai(json: &str) -> Option<String> {
    let reported: usage::Reported = serde_json::from_str(json).ok()?;
    serde_json::to_string(&reported.to_openai()).ok()
}

/// The tier that a `usage` object of Anthropic's names, in `OpenAI`'s words.
pub(crate) fn service_tier(json: &str) -> Option<&'static str> {
    let reported: usage::Reported = serde_json::from_str(json).ok()?;
    reported.service_tier()
}
