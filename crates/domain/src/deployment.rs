//! A deployment: a provider, a model there and a credential, as far as an exchange must remember it.

use serde::{Deserialize, Serialize};

/// The wire format in which a provider was spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// `OpenAI`'s, and of everything compatible with it.
    OpenAi,
    /// Anthropic's Messages API.
    Anthropic,
    /// No provider: the answer was `mock_response`, in the form of the endpoint that was called.
    Mock,
}

/// What an exchange keeps of the deployment that it was sent to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeploymentFacts {
    /// Its id: configured, or a SHA-256 in hexadecimal of what defines it.
    pub id: String,
    /// The public model name that callers use.
    pub model_name: String,
    /// The provider, by LiteLLM's prefix: `openai`, `anthropic`, …
    pub provider: String,
    /// The model's name at the provider, without the prefix.
    pub model: String,
    /// The base URL without credentials; empty for the provider's own default.
    pub api_base: String,
    /// How it was spoken to.
    pub dialect: Dialect,
    /// The user's own prices, which win over the price data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<CustomPrices>,
}

/// Prices in US dollars per token, from LiteLLM's cost fields of the same names.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct CustomPrices {
    /// Per token of the prompt.
    pub input_cost_per_token: Option<f64>,
    /// Per token of the answer.
    pub output_cost_per_token: Option<f64>,
    /// Per token read from a prompt cache; the input price if absent.
    pub cache_read_input_token_cost: Option<f64>,
    /// Per token written to a prompt cache; the input price if absent.
    pub cache_creation_input_token_cost: Option<f64>,
}
