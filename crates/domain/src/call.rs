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
    /// The id that the caller gave the call, if it may give one (`Helicone-Request-Id`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_id: Option<String>,
    /// How much of the call may be kept and told.
    #[serde(default, skip_serializing_if = "Logging::is_full")]
    pub logging: Logging,
    /// Whether the request's texts are left out even so (`Helicone-Omit-Request`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub omit_request: bool,
    /// Whether the answer's texts are left out even so (`Helicone-Omit-Response`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub omit_response: bool,
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
    /// `OpenAI` chat completions (`/v1/chat/completions`).
    ChatCompletions,
    /// `OpenAI` text completions (`/v1/completions`).
    TextCompletions,
    /// `OpenAI` embeddings (`/v1/embeddings`).
    Embeddings,
    /// `OpenAI` responses (`/v1/responses`).
    Responses,
    /// Anthropic messages (`/v1/messages`).
    Messages,
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

/// Why a request was not let in. The texts are for whoever sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No key was shown where one is needed.
    NoKey(&'static str),
    /// The key is not one of the gateway's.
    WrongKey(&'static str),
    /// Without a master key the gateway serves this machine only, and no web page on it.
    Foreign(&'static str),
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
