//! An exchange: all raw facts of a call, from the caller's bytes to how it ended.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{call::Call, deployment::DeploymentFacts, failure::Failure, time::Timestamp};

/// What happened to one call. The journal keeps exactly one per admitted call.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// Everything but the bytes.
    pub facts: Facts,
    /// The request's body as the caller sent it, without credentials.
    pub request: Payload,
    /// The last attempt's response body as the provider sent it, in the attempt's dialect: JSON,
    /// or the server-sent events so far. Empty if there was none.
    pub response: Payload,
}

/// The facts of an exchange beside its two bodies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// How the call arrived.
    pub call: Arc<Call>,
    /// What was tried, in order; the last one made the outcome. Empty if no deployment was asked.
    #[serde(default)]
    pub attempts: Vec<ProviderAttempt>,
    /// How it ended.
    pub outcome: Outcome,
    /// When the first byte of the answer's body came from the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_at: Option<Timestamp>,
    /// When the last byte came, or the call failed.
    pub finished_at: Timestamp,
    /// Whether the response's bytes are server-sent events.
    #[serde(default)]
    pub response_is_stream: bool,
    /// Attempts beyond the first on the model that was asked for.
    #[serde(default)]
    pub retries: u32,
    /// Attempts on fallback models.
    #[serde(default)]
    pub fallbacks: u32,
}

/// A body, and whether some of it is missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Payload {
    /// The bytes kept.
    pub bytes: Bytes,
    /// Whether the body was longer than what is kept.
    pub truncated: bool,
}

impl Payload {
    /// A whole body.
    pub const fn whole(bytes: Bytes) -> Self {
        Self { bytes, truncated: false }
    }
}

/// One request to one deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProviderAttempt {
    /// Who was asked.
    pub deployment: Arc<DeploymentFacts>,
    /// When the request was sent.
    pub started_at: Timestamp,
    /// When its answer was complete, or it failed.
    pub finished_at: Timestamp,
    /// The provider's status, if it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The provider's headers that say something of the call: ids, rate limits, `retry-after`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The provider's answer is whole and went to the caller.
    Completed,
    /// It did not succeed.
    Failed(Failure),
}

impl Outcome {
    /// The failure, if it is one.
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Completed => None,
            Self::Failed(failure) => Some(failure),
        }
    }
}
