//! OpenAI's dialect: requests on their way to a provider, streams on their way to the caller.

use bytes::Bytes;
use domain::{event::Delta, failure::Failure};

use crate::scan::Scan;

/// The caller's body with the edits that a provider must get: the model's name,
/// `stream_options.include_usage` if `ask_usage` and the call streams, and no fields that are
/// addressed to the gateway. Without edits the same bytes.
pub fn request(body: &Bytes, scan: &Scan, model: &str, ask_usage: bool) -> Bytes {
    let _ = (body, scan, model, ask_usage);
    unimplemented!()
}

/// What goes to the caller of a stream in OpenAI's dialect.
pub trait CallerStream: Send {
    /// Takes bytes from the provider; appends to `out` what the caller gets now.
    fn push(&mut self, bytes: Bytes, out: &mut Vec<Bytes>) -> Result<(), Failure>;
    /// Deltas seen since the last call; always empty unless built with `want_deltas`.
    fn take_deltas(&mut self) -> Vec<Delta>;
    /// Whether the protocol's end was seen.
    fn is_complete(&self) -> bool;
    /// The provider's bytes ended: appends what is due, or says why this is no clean end.
    fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), Failure>;
}

/// A stream that is in the caller's dialect already.
pub struct Passthrough {}

impl Passthrough {
    /// `hide_usage`: the caller did not ask for the usage chunk; `want_deltas`: collect deltas.
    pub fn new(hide_usage: bool, want_deltas: bool, event_bytes_max: usize) -> Self {
        let _ = (hide_usage, want_deltas, event_bytes_max);
        unimplemented!()
    }
}

impl CallerStream for Passthrough {
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
