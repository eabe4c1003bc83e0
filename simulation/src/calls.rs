//! Calls as the gateway would journal them.

use std::sync::Arc;

use bytes::Bytes;
use domain::{
    call::Call,
    event::{Captured, Delta},
    exchange::{Exchange, Outcome, Payload},
    failure::{Failure, FailureKind},
    id::CallId,
    record::Record,
    sample,
    time::Timestamp,
};

/// How a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With an answer of about so many bytes.
    Completed(usize),
    /// The provider failed.
    Failed,
    /// The provider refused for its rate: an `error` event and a `rate_limit` event.
    Limited,
}

/// A call that arrives now. `random` tells it apart.
pub fn arrive(now: Timestamp, random: u64, stream: bool) -> Arc<Call> {
    let mut bytes = [0; 10];
    bytes[2..].copy_from_slice(&random.to_be_bytes());
    Arc::new(Call { id: CallId::new(now, bytes), arrived_at: now, stream, ..sample::call() })
}

/// What told a call apart, below 2^62, by the id of an event of it: the low bits of a `UUIDv7`.
pub fn number(event: &str) -> Option<u64> {
    const BITS: u32 = 62;
    let low = event.strip_prefix("evt_")?.get(16..32)?;
    Some(u64::from_str_radix(low, 16).ok()? & ((1 << BITS) - 1))
}

/// When a call arrived, in milliseconds of the wall clock, by the id of an event of it.
pub fn arrived_at_ms(event: &str) -> Option<u64> {
    u64::from_str_radix(event.strip_prefix("evt_")?.get(..12)?, 16).ok()
}

/// Tokens of its stream, counted from `first`.
pub fn piece(call: &Arc<Call>, now: Timestamp, first: u32, count: u32) -> Record {
    let delta = |token_index| Delta {
        choice_index: 0,
        token_index,
        content: token(token_index),
        finish_reason: None,
    };
    let deltas = (first..first + count).map(delta).collect();
    Record::Captured(Arc::new(Captured { call: Arc::clone(call), at: now, deltas }))
}

/// The text of a token.
pub fn token(index: u32) -> String {
    format!("token{index} ")
}

/// Its outcome.
pub fn outcome(call: &Arc<Call>, now: Timestamp, end: End) -> Record {
    let failure = |kind, status, text: &str| Failure::new(kind, status, text.to_owned());
    let mut facts = sample::facts(Call::clone(call));
    facts.finished_at = now;
    let response = match end {
        End::Completed(bytes) => answer(bytes),
        End::Failed | End::Limited => Bytes::new(),
    };
    facts.outcome = match end {
        End::Completed(_) => Outcome::Completed,
        End::Failed => Outcome::Failed(failure(FailureKind::Internal, 502, "it broke")),
        End::Limited => Outcome::Failed(failure(FailureKind::RateLimit, 429, "slow down")),
    };
    if let (Outcome::Failed(failed), Some(attempt)) = (&facts.outcome, facts.attempts.last_mut()) {
        attempt.status = Some(failed.status);
        attempt.failure = Some(failed.clone());
    }
    let request = br#"{"model":"smart","messages":[{"role":"user","content":"hi"}]}"#;
    Record::Sealed(Arc::new(Exchange {
        facts,
        request: Payload::whole(Bytes::from_static(request)),
        response: Payload::whole(response),
    }))
}

/// What the gateway says of a call that a crash cut off.
pub fn interrupted(call: &Arc<Call>, now: Timestamp) -> Record {
    let mut facts = sample::facts(Call::clone(call));
    facts.finished_at = now;
    facts.attempts.clear();
    let text = "the gateway stopped while the call ran".to_owned();
    facts.outcome = Outcome::Failed(Failure::new(FailureKind::Interrupted, 502, text));
    Record::Sealed(Arc::new(Exchange {
        facts,
        request: Payload::default(),
        response: Payload::default(),
    }))
}

fn answer(bytes: usize) -> Bytes {
    let text = "x".repeat(bytes);
    format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"gpt-4o","choices":[{{"index":0,"finish_reason":"stop","message":{{"role":"assistant","content":"{text}"}}}}],"usage":{{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}}}"#
    )
    .into()
}
