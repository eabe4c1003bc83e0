//! What a call consumed.

use serde::{Deserialize, Serialize};

/// Tokens that a provider reported. `None` is "not reported", which is not 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt, those read from and written to a cache included.
    pub input_tokens: Option<u64>,
    /// Tokens of the answer, reasoning included.
    pub output_tokens: Option<u64>,
    /// The sum, as reported or added up from both.
    pub total_tokens: Option<u64>,
    /// Of the input: read from a prompt cache.
    pub cache_read_tokens: Option<u64>,
    /// Of the input: written to a prompt cache.
    pub cache_write_tokens: Option<u64>,
    /// Of those written: to be kept for an hour, which Anthropic bills higher.
    #[serde(default)]
    pub cache_write_1h_tokens: Option<u64>,
    /// Of the output: spent on reasoning.
    pub reasoning_tokens: Option<u64>,
    /// Whether the numbers are ours and not the provider's.
    pub estimated: bool,
}

/// What a call cost, in US dollars.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// For the input, cached parts included.
    pub input: f64,
    /// For the output, reasoning included.
    pub output: f64,
    /// Both.
    pub total: f64,
    /// Of `input`: for tokens read from a cache; `None` if none were reported.
    pub cache_read: Option<f64>,
    /// Of `input`: for tokens written to a cache; `None` if none were reported.
    pub cache_write: Option<f64>,
    /// Of `output`: for tokens spent on reasoning; `None` if none were reported.
    #[serde(default)]
    pub reasoning: Option<f64>,
}

/// What a model costs, in US dollars per token, and how much it takes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ModelPrice {
    /// Per token of the prompt.
    pub input: f64,
    /// Per token of the answer.
    pub output: f64,
    /// Per token read from a prompt cache, where it differs from `input`.
    pub cache_read: Option<f64>,
    /// Per token written to a prompt cache, where it differs from `input`.
    pub cache_write: Option<f64>,
    /// Tokens that prompt and answer may have together, where the price data know it.
    pub context_window: Option<u64>,
}
