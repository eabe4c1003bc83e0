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
