//! The open call: what is known of it so far, and the one moment when it becomes an exchange.
//!
//! Invariant: an admitted call is sealed exactly once. If its handler or its body is dropped, the
//! caller has left (or the gateway cuts it off at the end of a drain), and that is its outcome.

use std::sync::Arc;

use bytes::Bytes;
use domain::{
    call::{Call, Logging},
    deployment::Dialect,
    event::{Captured, Delta},
    exchange::{Exchange, Facts, Outcome, Payload, ProviderAttempt},
    failure::{Failure, FailureKind},
    record::Record,
    time::Timestamp,
};
use provider::redact;
use store::journal::Commit;

use crate::{
    gateway::Gateway,
    limit::Held,
    quota::{Place, Quota},
    upstream::{self},
};

/// What the running or last attempt answered so far.
#[derive(Default)]
struct Answered {
    bytes: Vec<u8>,
    /// The end of a stream that did not fit into `bytes`: the usage stands there.
    tail: Vec<u8>,
    is_truncated: bool,
    is_stream: bool,
    first_byte_at: Option<Timestamp>,
}

/// How much of the end of a stream is kept if the stream is too long to be kept whole.
const TAIL_BYTES: usize = 64 << 10;

impl Answered {
    fn keep_tail(&mut self, bytes: &[u8]) {
        if !self.is_stream {
            return;
        }
        self.tail.extend_from_slice(bytes);
        if self.tail.len() > 2 * TAIL_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_BYTES);
        }
    }

    /// Puts the tail behind what is kept, from its first whole event on.
    fn join_tail(&mut self) {
        let tail = std::mem::take(&mut self.tail);
        let after = |end: &[u8]| {
            tail.windows(end.len()).position(|bytes| bytes == end).map(|at| at + end.len())
        };
        if let Some(start) = after(b"\n\n").or_else(|| after(b"\r\n\r\n")) {
            self.bytes.extend_from_slice(b"\n\n");
            self.bytes.extend_from_slice(&tail[start..]);
        }
    }
}

/// Members of an answer that are small and that accounting needs.
const ESSENTIAL: [&str; 5] = ["id", "object", "created", "model", "usage"];

/// A JSON object of the essential members of a JSON object; empty if it is none.
fn essence(body: &[u8]) -> Vec<u8> {
    let Ok(scan) = provider::scan::scan(body) else { return Vec::new() };
    let mut kept = vec![b'{'];
    for key in ESSENTIAL {
        if let Some(value) = scan.raw(body, key) {
            if kept.len() > 1 {
                kept.push(b',');
            }
            kept.extend_from_slice(format!("\"{key}\":").as_bytes());
            kept.extend_from_slice(value);
        }
    }
    kept.push(b'}');
    kept
}

/// A call's places in the limits that it falls under.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Held and never looked at.
    _all: Option<Place>,
    key: Option<Place>,
    deployment: Option<Place>,
}

impl Places {
    /// Among the calls of all callers, and among those of its key.
    pub(crate) fn new(all: Option<Place>, key: Option<Place>) -> Self {
        Self { _all: all, key, deployment: None }
    }

    /// Counts the tokens of an exchange where tokens are limited. To know them its answer is read,
    /// so nothing is done where they are not.
    fn count_tokens(&self, exchange: &Exchange, now: Timestamp) {
        let counting = || {
            let all = [&self.key, &self.deployment].into_iter().flatten();
            all.filter(|place| place.counts_tokens())
        };
        if counting().next().is_none() {
            return;
        }
        let Some(usage) = provider::answer::answer(exchange).usage else { return };
        let sum = || Some(usage.input_tokens.unwrap_or(0) + usage.output_tokens.unwrap_or(0));
        let tokens = usage.total_tokens.or_else(sum).unwrap_or_default();
        counting().for_each(|place| place.count_tokens(now, tokens));
    }
}

/// A call between its admission and its outcome.
pub(crate) struct OpenCall {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) call: Arc<Call>,
    request: Bytes,
    held: Held,
    places: Places,
    /// What of `held` is the request's, which each attempt needs.
    request_bytes: usize,
    attempts: Vec<ProviderAttempt>,
    running: Option<ProviderAttempt>,
    answered: Answered,
    pub(crate) retries: u32,
    pub(crate) fallbacks: u32,
    /// Whether pieces of its stream are recorded.
    pub(crate) pieces_wanted: bool,
    deltas: Vec<Delta>,
    piece: Option<Commit>,
    sealed: bool,
}

impl OpenCall {
    /// Opens a call whose admission was appended.
    pub(crate) fn new(
        gateway: Arc<Gateway>,
        call: Arc<Call>,
        request: Bytes,
        held: Held,
        places: Places,
    ) -> Self {
        let pieces_wanted = call.stream && may_tell_pieces(&call) && (gateway.wants_pieces)(&call);
        Self {
            gateway,
            call,
            request,
            request_bytes: held.bytes(),
            held,
            places,
            attempts: Vec::with_capacity(1),
            running: None,
            answered: Answered::default(),
            retries: 0,
            fallbacks: 0,
            pieces_wanted,
            deltas: Vec::new(),
            piece: None,
            sealed: false,
        }
    }

    /// Notes that a deployment is being asked, and the call's place there. What an earlier attempt
    /// answered is forgotten.
    pub(crate) fn attempt_started(&mut self, attempt: ProviderAttempt, place: Option<Place>) {
        self.places.deployment = place;
        self.answered = Answered::default();
        self.held.shrink_to(self.request_bytes);
        self.running = Some(attempt);
    }

    /// Takes room for bytes of an answer that are read before any is passed on; `false` at the
    /// bound. The next attempt gives it back.
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        self.held.grow(bytes)
    }

    /// Notes the head of the provider's answer.
    pub(crate) fn answered(&mut self, status: u16, headers: Vec<(String, String)>, stream: bool) {
        self.answered.is_stream = stream;
        if let Some(attempt) = &mut self.running {
            attempt.status = Some(status);
            attempt.headers = headers;
        }
    }

    /// Keeps a copy of bytes that the provider sent, within the bounds.
    pub(crate) fn captured(&mut self, bytes: &[u8]) {
        self.first_byte_came();
        let room =
            self.gateway.config.limits.captured_bytes_max.saturating_sub(self.answered.bytes.len());
        let kept = bytes.len().min(room);
        let is_cut = self.answered.is_truncated;
        if is_cut || kept < bytes.len() || !self.held.grow(kept) {
            self.answered.is_truncated = true;
            self.answered.keep_tail(bytes);
            return;
        }
        self.answered.bytes.extend_from_slice(bytes);
    }

    /// Keeps a whole answer, or, if that is over the bound, what accounting needs of it. Room for it
    /// was taken when it was read: at the bound a call is refused, and not told without its text.
    pub(crate) fn captured_whole(&mut self, body: &[u8]) {
        self.first_byte_came();
        let bytes_max = self.gateway.config.limits.captured_bytes_max;
        let is_cut = body.len() > bytes_max;
        let kept = if is_cut { essence(body) } else { body.to_vec() };
        if kept.len() <= bytes_max {
            self.answered.bytes = kept;
        }
        self.answered.is_truncated = is_cut;
    }

    /// Takes back that a first byte came: there was no event in what came.
    pub(crate) fn nothing_came(&mut self) {
        self.answered.first_byte_at = None;
    }

    fn first_byte_came(&mut self) {
        if self.answered.first_byte_at.is_none() {
            self.answered.first_byte_at = Some(self.gateway.clock.now());
        }
    }

    /// Notes how the running attempt ended.
    pub(crate) fn attempt_ended(&mut self, failure: Option<Failure>) {
        if let Some(mut attempt) = self.running.take() {
            attempt.finished_at = self.gateway.clock.now();
            attempt.failure = failure;
            self.attempts.push(attempt);
        }
    }

    /// The limits of the caller's key, if it has any.
    pub(crate) fn key_quota(&self) -> Option<&Quota> {
        self.places.key.as_ref().map(Place::quota)
    }

    /// The deployment's provider of the running or last attempt, for messages.
    pub(crate) fn provider(&self) -> &str {
        let attempt = self.running.as_ref().or_else(|| self.attempts.last());
        attempt.map_or("", |attempt| attempt.deployment.provider.as_str())
    }

    /// Whether deltas wait for the commit of those before them.
    pub(crate) fn has_waiting_deltas(&self) -> bool {
        !self.deltas.is_empty()
    }

    /// Waits for the running commit of a piece, if there is one.
    pub(crate) async fn piece_committed(&mut self) {
        if let Some(commit) = &mut self.piece {
            // A refused piece is no reason to end the stream: the outcome holds its text, too.
            commit.await.ok();
            self.piece = None;
        }
    }

    /// Records pieces of the stream, at most one commit at a time and nobody waiting for it: what
    /// comes meanwhile goes into the next one.
    pub(crate) fn stream_deltas(&mut self, deltas: Vec<Delta>) {
        self.deltas.extend(deltas);
        if let Some(mut commit) = self.piece.take() {
            let waker = std::task::Waker::noop();
            let mut cx = std::task::Context::from_waker(waker);
            if std::future::Future::poll(std::pin::Pin::new(&mut commit), &mut cx).is_pending() {
                self.piece = Some(commit);
                return;
            }
        }
        self.append_deltas();
    }

    fn append_deltas(&mut self) {
        if self.deltas.is_empty() {
            return;
        }
        let captured = Captured {
            call: Arc::clone(&self.call),
            at: self.gateway.clock.now(),
            deltas: std::mem::take(&mut self.deltas),
        };
        self.piece = Some(self.gateway.journal.append(Record::Captured(Arc::new(captured))));
    }

    /// Appends the outcome. The answer's last byte may leave once the commit resolves.
    pub(crate) fn seal(&mut self, outcome: Outcome) -> Commit {
        debug_assert!(!self.sealed, "a call has one outcome");
        self.sealed = true;
        self.attempt_ended(outcome.failure().cloned());
        self.append_deltas();
        let exchange = self.exchange(outcome);
        self.places.count_tokens(&exchange, exchange.facts.finished_at);
        self.gateway.journal.append(Record::Sealed(Arc::new(exchange)))
    }

    /// Gives up a call whose admission was not taken: there is nothing to settle.
    pub(crate) fn forget(&mut self) {
        self.sealed = true;
    }

    fn exchange(&mut self, outcome: Outcome) -> Exchange {
        let mut request = Payload::whole(std::mem::take(&mut self.request));
        self.answered.join_tail();
        let mut response = Payload {
            bytes: Bytes::from(std::mem::take(&mut self.answered.bytes)),
            truncated: self.answered.is_truncated,
        };
        let is_full = self.call.logging == Logging::Full;
        if !is_full || self.call.omit_request {
            request.bytes = redact::request(self.call.endpoint, &request.bytes);
        }
        if !is_full || self.call.omit_response {
            response.bytes = self.redacted(&response.bytes);
        }
        if self.call.logging == Logging::Off {
            // The tokens still count as spend, so the answer's usage must stay readable.
            request.bytes = Bytes::new();
        }
        let bytes_max = self.gateway.config.limits.captured_bytes_max;
        if request.bytes.len() > bytes_max {
            request = Payload { bytes: request.bytes.slice(..bytes_max), truncated: true };
        }
        Exchange {
            facts: Facts {
                call: Arc::clone(&self.call),
                attempts: std::mem::take(&mut self.attempts),
                outcome,
                first_byte_at: self.answered.first_byte_at,
                finished_at: self.gateway.clock.now(),
                response_is_stream: self.answered.is_stream,
                retries: self.retries,
                fallbacks: self.fallbacks,
            },
            request,
            response,
        }
    }

    fn redacted(&self, response: &[u8]) -> Bytes {
        if self.answered.is_stream {
            redact::stream(self.call.endpoint, response)
        } else {
            redact::response(self.call.endpoint, response)
        }
    }

    /// Makes the bytes that a mock or the gateway itself answered the response of a mock attempt.
    pub(crate) fn mocked(&mut self, stream: bool) {
        debug_assert!(
            self.running.as_ref().is_some_and(|a| a.deployment.dialect == Dialect::Mock),
            "only a mock answers without a provider"
        );
        self.answered(200, Vec::new(), stream);
    }
}

/// Pieces are texts of the answer.
fn may_tell_pieces(call: &Call) -> bool {
    call.logging == Logging::Full && !call.omit_response
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if self.sealed {
            return;
        }
        let failure = if std::thread::panicking() {
            upstream::failure(FailureKind::Internal, 500, "the gateway failed on this call".into())
        } else if self.gateway.cut.is_cancelled() {
            interrupted("the gateway was stopped while the call ran")
        } else {
            let left = "the caller left before the answer was complete";
            upstream::failure(FailureKind::ClientDisconnected, 499, left.into())
        };
        // Nobody is left to wait for the commit; the record is queued all the same.
        drop(self.seal(Outcome::Failed(failure)));
    }
}

/// The failure of a call that the gateway did not see to its end.
pub(crate) fn interrupted(message: &str) -> Failure {
    upstream::failure(FailureKind::Interrupted, 503, message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_stream_too_long_to_keep_the_last_events_are_kept_whole() {
        let mut answered = Answered { is_stream: true, ..Answered::default() };
        answered.bytes.extend_from_slice(b"data: 1\n\nda");
        for number in 0..40_000 {
            answered.keep_tail(format!("data: {number}\n\n").as_bytes());
        }
        assert!(answered.tail.len() <= 2 * TAIL_BYTES);
        answered.join_tail();
        let text = String::from_utf8(answered.bytes).expect("it is text");
        assert!(text.starts_with("data: 1\n\nda\n\ndata: "), "{}", &text[..40]);
        assert!(text.ends_with("data: 39998\n\ndata: 39999\n\n"));
    }

    #[test]
    fn of_an_answer_too_long_to_keep_the_usage_is_kept() {
        let body =
            br#"{"id":"x","choices":[{"message":{"content":"long"}}],"usage":{"total_tokens":3}}"#;
        assert_eq!(essence(body), br#"{"id":"x","usage":{"total_tokens":3}}"#);
        assert_eq!(essence(b"no json"), b"");
    }
}
