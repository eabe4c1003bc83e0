//! LLM dialects: bytes in, bytes out. Reads requests and answers of providers, translates between
//! their dialects, and derives events from what was recorded.
//!
//! Invariant: nothing here knows a socket, a clock, a database or a destination. Time and dice are
//! passed in; the same bytes always give the same result.

pub mod json;

pub mod scan;

pub mod splice;

pub mod sse;

pub mod failure;

pub mod protocol;

pub mod request;

pub mod stream;

pub mod anthropic;

pub mod vendor;

pub mod mock;

pub mod redact;

pub mod price;

pub mod usage;

pub mod answer;

pub mod derive;

/// The names that chat calls knew before there were other APIs.
pub mod openai {
    use bytes::Bytes;
    use domain::call::Endpoint;

    pub use crate::stream::{CallerStream, Chunks as Passthrough};
    use crate::{request::passthrough, scan::Scan};

    /// See [`passthrough`].
    pub fn request(body: &Bytes, scan: &Scan, model: &str, ask_usage: bool) -> Vec<Bytes> {
        passthrough(Endpoint::ChatCompletions, body, scan, model, ask_usage)
    }
}
