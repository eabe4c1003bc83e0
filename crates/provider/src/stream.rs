//! Streams on their way to the caller, in the caller's protocol.
//!
//! [`passthrough`] is for a provider that speaks it, too; `anthropic::Translator` for one that does
//! not. What a failure means for the call is not decided here.

mod chunks;
mod deltas;
mod messages;
mod responses;
mod typed;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use domain::{call::Endpoint, event::Delta, failure::Failure};

use self::{chunks::Chunks, typed::Typed};
pub(crate) use self::{
    chunks::{cut_short, garbage},
    deltas::Deltas,
};
use crate::failure::error_body;

/// What goes to the caller of a stream.
pub trait CallerStream: Send {
    /// Takes bytes from the provider; appends to `out` what the caller gets now, in whole events.
    ///
    /// Of a failure of kind `StreamError` the caller has been told by the last bytes of `out`; of
    /// any other it has not. After a failure the stream takes nothing more.
    fn push(&mut self, bytes: Bytes, out: &mut Vec<Bytes>) -> Result<(), Failure>;

    /// Deltas seen since the last call; always empty unless built with `want_deltas`.
    fn take_deltas(&mut self) -> Vec<Delta>;

    /// Whether the protocol's end was seen, and all is in `out`. What follows it is ignored.
    fn is_complete(&self) -> bool;

    /// The provider's bytes ended: appends what is due, or says why this is no clean end.
    fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), Failure>;
}

/// A stream that is in the caller's protocol already.
///
/// `hide_usage`: the caller did not ask for the usage chunk; only chat and text completions have
/// one. `want_deltas`: collect deltas. No event may be larger than `event_bytes_max`.
pub fn passthrough(
    endpoint: Endpoint,
    hide_usage: bool,
    want_deltas: bool,
    event_bytes_max: usize,
) -> Box<dyn CallerStream> {
    match endpoint {
        // Embeddings do not stream; were one to, it would be in chunks.
        Endpoint::ChatCompletions | Endpoint::TextCompletions | Endpoint::Embeddings => {
            Box::new(Chunks::new(hide_usage, want_deltas, event_bytes_max))
        }
        Endpoint::Responses => {
            Box::new(Typed::new(responses::Responses, want_deltas, event_bytes_max))
        }
        Endpoint::Messages => {
            Box::new(Typed::new(messages::Messages, want_deltas, event_bytes_max))
        }
    }
}

/// The event that tells the caller of a stream that it failed, in its protocol.
pub fn error_event(endpoint: Endpoint, failure: &Failure) -> Bytes {
    let body = match endpoint {
        Endpoint::ChatCompletions | Endpoint::TextCompletions | Endpoint::Embeddings => {
            return Bytes::from(format!("data: {}\n\n", error_body(endpoint, failure)));
        }
        Endpoint::Messages => error_body(endpoint, failure),
        Endpoint::Responses => responses::error(failure),
    };
    Bytes::from(format!("event: error\ndata: {body}\n\n"))
}
