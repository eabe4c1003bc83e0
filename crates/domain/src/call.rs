//! A call: one LLM API request, as it stood when the gateway admitted it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{id::CallId, time::Timestamp};

/// The facts of a call's arrival. They never hold a credential.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Its id, made at arrival.
    pub id: CallId,
    /// When the gateway had read the request's head.
    pub arrived_at: Timestamp,
    /// Which API was called.
    pub endpoint: Endpoint,
    /// The path as the caller wrote it, without the query.
    pub path: String,
    /// The model as the caller named it; empty if the request named none.
    pub model: String,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Which key let the caller in.
    pub caller: Caller,
    /// The peer's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<IpAddr>,
    /// The end user that the caller named (`user`, or a header).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_user: Option<String>,
    /// Tags from the body's metadata and from headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The caller's trace, if it named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The caller's session, if it named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// How much of the call may be kept and told.
    #[serde(default, skip_serializing_if = "Logging::is_full")]
    pub logging: Logging,
    /// Request headers without credentials, names in lower case, in order of arrival.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
}

impl Call {
    /// The value of a request header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// An LLM API that callers speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `OpenAI` chat completions.
    ChatCompletions,
}

/// Who called, by the key that was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Caller {
    /// The gateway asks for no key.
    Anonymous,
    /// The master key.
    Master,
    /// A named key, with the SHA-256 of its text in hexadecimal.
    Key {
        /// Its name.
        name: String,
        /// Its hash.
        hash: String,
    },
    /// A key that was refused, or none where one was needed.
    Refused,
}

/// How much of a call may be kept in the journal and told to destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Logging {
    /// Everything but credentials.
    #[default]
    Full,
    /// No message texts: they are replaced before the journal sees them.
    Redacted,
    /// The call has an outcome and counts as spend, but makes no events (`no-log`).
    Off,
}

impl Logging {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    fn is_full(&self) -> bool {
        *self == Self::Full
    }
}
