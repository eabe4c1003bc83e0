//! Identifiers. Those of events and deliveries follow from what they name, so that deriving an
//! event twice gives the same id.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{event::EventType, time::Timestamp};

/// Names one call, from its admission on. A `UUIDv7` (RFC 9562), so ids sort by arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(Uuid);

impl CallId {
    /// Makes an id from the time of arrival and ten random bytes.
    pub fn new(arrived_at: Timestamp, random: [u8; 10]) -> Self {
        let millis = u64::try_from(arrived_at.as_millis()).unwrap_or_default();
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// From its sixteen bytes, as a record stores it.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Its sixteen bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// 32 hexadecimal digits, without hyphens.
    pub fn to_simple(self) -> String {
        self.0.simple().to_string()
    }

    /// The id that callers and receivers see: `req_` and 32 hexadecimal digits.
    pub fn to_request_id(self) -> String {
        format!("req_{}", self.0.simple())
    }
}

/// The hyphenated form, as in `x-litellm-call-id`.
impl std::fmt::Display for CallId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// Names one event, in every attempt and to every destination: what `webhook-id` carries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(Arc<str>);

impl EventId {
    /// The id of a call's one outcome: `evt_<call>_completion` or `evt_<call>_error`.
    pub fn of_outcome(call: CallId, kind: EventType) -> Self {
        Self(format!("evt_{}_{}", call.to_simple(), kind.as_str()).into())
    }

    /// The id of a group of failed attempts before a call's outcome, by the group's number from 1:
    /// `evt_<call>_error_<number>`. For formats that tell of attempts.
    pub fn of_failed_attempts(call: CallId, number: usize) -> Self {
        Self(format!("evt_{}_error_{number}", call.to_simple()).into())
    }

    /// The id of a piece of a stream, by its range of tokens.
    pub fn of_piece(call: CallId, choice: u32, first_token: u32, last_token: u32) -> Self {
        let call = call.to_simple();
        Self(format!("evt_{call}_streaming_{choice}_{first_token}_{last_token}").into())
    }

    /// The id of a limit that a call ran into: by the number of the attempt from 1, or 0 for the
    /// gateway's own limit.
    pub fn of_rate_limit(call: CallId, attempt: usize) -> Self {
        Self(format!("evt_{}_rate_limit_{attempt}", call.to_simple()).into())
    }

    /// From text that a record or a row stored, or that a note's maker composed.
    pub fn from_stored(text: &str) -> Self {
        Self(text.into())
    }

    /// The call that it tells of; `None` for news of the gateway's own.
    pub fn call_id(&self) -> Option<CallId> {
        let digits = self.0.strip_prefix("evt_")?.get(..32)?;
        digits.parse().ok().map(CallId)
    }

    /// The id as text. It never holds a `.` (Standard Webhooks, "signature scheme").
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names a destination, and the lane that works for it. Unique within one gateway.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DestinationName(Arc<str>);

impl DestinationName {
    /// Takes the name as the configuration writes it.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for DestinationName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names one delivery: a body for a destination. Its `webhook-id` is the event's id when it holds
/// one event, else `bat_` and a hash of the ids in it, so that a retry has the same id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeliveryId(Arc<str>);

impl DeliveryId {
    /// Takes an id that `webhook::batch_id` made or a row stored.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_events_id_tells_its_call_and_other_news_tell_of_none() {
        let call = CallId::new(Timestamp::from_millis(1_700_000_000_000), [7; 10]);
        let ids = [
            EventId::of_outcome(call, EventType::Completion),
            EventId::of_failed_attempts(call, 2),
            EventId::of_piece(call, 0, 1, 2),
            EventId::of_rate_limit(call, 0),
        ];
        for id in ids {
            assert_eq!(id.call_id(), Some(call), "{id}");
        }
        for text in ["evt_delivery_d6fca44bf1f718037e192d46cd2a3660", "evt_budget", "record_7", ""]
        {
            assert_eq!(EventId::from_stored(text).call_id(), None, "{text}");
        }
    }
}
