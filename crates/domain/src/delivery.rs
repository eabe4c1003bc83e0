//! Deliveries, and what becomes of them.

use serde::{Deserialize, Serialize};

use crate::{
    carried::Carried,
    id::{DeliveryId, DestinationName, EventId},
    record::Sequence,
    time::Timestamp,
};

/// One event in a delivery: its id, and the record to derive it from again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRef {
    /// The record's position.
    pub sequence: Sequence,
    /// The event's id.
    pub event: EventId,
}

/// A delivery that failed and waits for its next attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// Its id, the same in every attempt.
    pub id: DeliveryId,
    /// What it carries, in order.
    pub events: Vec<EventRef>,
    /// Attempts so far that count against `max_attempts`.
    pub attempts: u32,
    /// Not before this time.
    pub due_at: Timestamp,
    /// What the last attempt ended with, in words.
    pub reason: String,
}

/// A delivery that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The destination that did not get it.
    pub destination: DestinationName,
    /// Its id, the same when it is sent again.
    pub id: DeliveryId,
    /// What it carries, in order.
    pub events: Vec<EventRef>,
    /// Attempts made.
    pub attempts: u32,
    /// When it was given up.
    pub buried_at: Timestamp,
    /// Why, in words.
    pub reason: String,
}

/// One try to send a delivery, as people look at it. Nothing is decided from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// Which of the attempts that count against `max_attempts` it would be: from 1. Several have the
    /// same number where those before were not the delivery's fault.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// Where those milliseconds went, as far as it came.
    pub timings: Timings,
    /// The address that was dialled, with its port, if one was.
    pub address: Option<String>,
    /// The receiver's status, if it answered.
    pub status: Option<u16>,
    /// The beginning of its answer's body, as text.
    pub answer_start: String,
    /// `delivered`, or why not.
    pub result: String,
    /// How many events it carried.
    pub event_count: u32,
    /// Which; empty if an older version made it.
    pub carried: Carried,
}

/// The phases of an attempt, in milliseconds each; `None` for one that was not reached or, on a
/// connection that was open already, not needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Timings {
    /// Resolving the name.
    pub dns_ms: Option<u32>,
    /// Connecting.
    pub connect_ms: Option<u32>,
    /// The TLS handshake.
    pub tls_ms: Option<u32>,
    /// From the request's first byte to the answer's head.
    pub answer_ms: Option<u32>,
    /// Reading the answer's body.
    pub body_ms: Option<u32>,
}
