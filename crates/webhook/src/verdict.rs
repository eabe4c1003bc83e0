//! What a receiver's answer means.

use std::time::Duration;

use bytes::Bytes;
use domain::{destination::RetryPolicy, time::Timestamp};

use crate::address::Refusal;

/// What a receiver answered, as far as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The `Retry-After` header as it came.
    pub retry_after: Option<String>,
    /// The `Location` header as it came; never followed.
    pub location: Option<String>,
    /// The beginning of the body.
    pub body_start: Bytes,
}

/// Why there is no answer. The message is for people; policies look at the kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SendError {
    /// What went wrong.
    pub kind: SendErrorKind,
    /// In words, causes included.
    pub message: String,
}

/// Kinds of failure to get an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendErrorKind {
    /// The request itself is not one that HTTP can carry (URL, header).
    Request,
    /// The name has no address.
    Dns,
    /// An address is one that the destination must not have.
    Refused(Refusal),
    /// No TCP connection.
    Connect,
    /// No TLS session.
    Tls,
    /// The deadline passed.
    Timeout(Phase),
    /// The connection ended before an answer.
    Reset,
    /// The answer is not HTTP, or its head is over the limits.
    Protocol,
}

/// Where an attempt was when its deadline passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Resolving, connecting or in the TLS handshake.
    Connect,
    /// Sending, or waiting for the answer's status.
    Answer,
}

/// What follows from an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has it.
    Delivered,
    /// Worth another attempt.
    Retry {
        /// How long the receiver asked to be left alone.
        after: Option<Duration>,
        /// Why, in words.
        reason: String,
    },
    /// Another attempt would end the same way.
    GiveUp {
        /// Why, in words.
        reason: String,
    },
    /// The receiver said 410: it wants nothing any more, and the destination is to be disabled.
    Gone,
}

/// Decides what follows from an attempt that ended `now`.
pub fn judge(
    answer: Result<&Answer, &SendError>,
    policy: &RetryPolicy,
    now: Timestamp,
) -> Verdict {
    let _ = (answer, policy, now);
    unimplemented!()
}
