//! Anthropic's dialect, translated both ways.

use bytes::Bytes;
use domain::{event::Delta, failure::Failure};

use crate::openai::CallerStream;

/// The `anthropic-version` that we speak.
pub const VERSION: &str = "2023-06-01";

/// An `OpenAI` chat request as a Messages request.
pub fn request(body: &[u8], model: &str) -> Result<Bytes, Failure> {
    let _ = (body, model);
    unimplemented!()
}

/// A Message as an `OpenAI` `chat.completion`; `created` is unix seconds.
pub fn response(body: &[u8], created: i64) -> Result<Bytes, Failure> {
    let _ = (body, created);
    unimplemented!()
}

/// A Messages stream as an `OpenAI` stream.
pub struct Translator {}

impl Translator {
    /// `created` is unix seconds; `include_usage`: the caller asked for the usage chunk.
    pub fn new(
        created: i64,
        include_usage: bool,
        want_deltas: bool,
        event_bytes_max: usize,
    ) -> Self {
        let _ = (created, include_usage, want_deltas, event_bytes_max);
        unimplemented!()
    }
}

impl CallerStream for Translator {
    fn push(&mut self, bytes: Bytes, out: &mut Vec<Bytes>) -> Result<(), Failure> {
        let _ = (bytes, out);
        unimplemented!()
    }

    fn take_deltas(&mut self) -> Vec<Delta> {
        unimplemented!()
    }

    fn is_complete(&self) -> bool {
        unimplemented!()
    }

    fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), Failure> {
        let _ = out;
        unimplemented!()
    }
}
