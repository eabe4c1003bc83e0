//! Reads `usage` objects.

use domain::usage::Usage;

/// Reads a `usage` object in `OpenAI`'s or Anthropic's shape; `None` if it reports no tokens.
pub fn read(_json: &str) -> Option<Usage> {
    unimplemented!()
}
