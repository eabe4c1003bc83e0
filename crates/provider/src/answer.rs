//! One OpenAI-shaped answer out of what a provider sent.

use std::sync::Arc;

use domain::{exchange::Exchange, usage::Usage};

/// What the bytes of an answer say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// The answer as one `OpenAI`-shaped JSON object; `None` if no answer was seen.
    pub response: Option<Arc<str>>,
    /// Its id at the provider.
    pub id: Option<String>,
    /// The first choice's text, if it has any.
    pub text: Option<String>,
    /// Why the first choice ended.
    pub finish_reason: Option<String>,
    /// The tier that the provider says it served the call in.
    pub service_tier: Option<String>,
    /// Tokens, if the provider reported any.
    pub usage: Option<Usage>,
    /// The `usage` object in `OpenAI`'s shape, as JSON.
    pub usage_json: Option<String>,
}

/// Reads the answer out of an exchange's bytes, whole or not.
pub fn answer(_exchange: &Exchange) -> Answer {
    unimplemented!()
}
