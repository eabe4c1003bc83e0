//! `OpenAI`-compatible vendors: a table.

use domain::deployment::Dialect;

/// What is known of a provider by its LiteLLM prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vendor {
    /// The prefix of model names: `openai`, `anthropic`, …
    pub prefix: &'static str,
    /// The base URL without a final slash; `None` if the user must name it.
    pub base_url: Option<&'static str>,
    /// The environment variable that holds the key; `None` if no key is needed.
    pub key_variable: Option<&'static str>,
    /// How it is spoken to.
    pub dialect: Dialect,
}

/// The vendor of a prefix.
pub fn vendor(prefix: &str) -> Option<&'static Vendor> {
    let _ = prefix;
    unimplemented!()
}
