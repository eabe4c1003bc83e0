//! Anthropic's token counts in `OpenAI`'s shape, with LiteLLM's extra members.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A `usage` object of Anthropic's. `None` is "not reported", which is not 0.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Reported {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    /// Tokens written to the cache, by how long they live there.
    cache_creation: Option<Box<RawValue>>,
    server_tool_use: Option<Box<RawValue>>,
    service_tier: Option<String>,
}

impl Reported {
    /// Takes over what a later report says. Streams report the input first, the output at the end.
    pub(super) fn update(&mut self, later: Self) {
        fn take<T>(field: &mut Option<T>, later: Option<T>) {
            if later.is_some() {
                *field = later;
            }
        }
        take(&mut self.input_tokens, later.input_tokens);
        take(&mut self.output_tokens, later.output_tokens);
        take(&mut self.cache_creation_input_tokens, later.cache_creation_input_tokens);
        take(&mut self.cache_read_input_tokens, later.cache_read_input_tokens);
        take(&mut self.cache_creation, later.cache_creation);
        take(&mut self.server_tool_use, later.server_tool_use);
        take(&mut self.service_tier, later.service_tier);
    }

    /// The tier that served the call, in `OpenAI`'s words; `None` if those have none for it.
    pub(super) fn service_tier(&self) -> Option<&'static str> {
        match self.service_tier.as_deref()? {
            "standard" => Some("default"),
            "priority" => Some("priority"),
            _ => None,
        }
    }

    /// In `OpenAI`'s shape: there, the prompt includes what the cache held and what went into it.
    pub(super) fn to_openai(&self) -> Usage<'_> {
        let cached = self.cache_read_input_tokens;
        let written = self.cache_creation_input_tokens;
        let sum = |a: u64, b: Option<u64>| a.saturating_add(b.unwrap_or_default());
        let prompt_tokens = self.input_tokens.map(|input| sum(sum(input, cached), written));
        let total = prompt_tokens.zip(self.output_tokens);
        Usage {
            prompt_tokens,
            completion_tokens: self.output_tokens,
            total_tokens: total.map(|(prompt, completion)| prompt.saturating_add(completion)),
            prompt_tokens_details: (cached.is_some() || written.is_some())
                .then_some(Details { cached_tokens: cached, cache_creation_tokens: written }),
            cache_creation_input_tokens: written,
            cache_read_input_tokens: cached,
            cache_creation: self.cache_creation.as_deref(),
            server_tool_use: self.server_tool_use.as_deref(),
        }
    }
}

/// A `usage` object in `OpenAI`'s shape. What was not reported is left out.
#[derive(Debug, Serialize)]
pub(super) struct Usage<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<Details>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_creation_input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_read_input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_creation: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_tool_use: Option<&'a RawValue>,
}

#[derive(Debug, Serialize)]
struct Details {
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_creation_tokens: Option<u64>,
}
