//! Why a call, or one attempt of it, did not succeed.

use serde::{Deserialize, Serialize};

/// A failure as data: policies match on it, nobody searches its text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong.
    pub kind: FailureKind,
    /// The HTTP status that the caller got, or would have got had it stayed.
    pub status: u16,
    /// In words: the provider's own where it gave any.
    pub message: String,
    /// The provider's error code (`invalid_value`), if it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The provider's error type (`invalid_request_error`), if it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_type: Option<String>,
    /// The parameter that the provider blamed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
    /// Seconds after which the provider, or the gateway, said to come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_secs: Option<u64>,
    /// Which of the gateway's own limits was reached, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Box<LimitReached>>,
}

impl Failure {
    /// A failure of which nothing but its kind, status and text is known.
    pub const fn new(kind: FailureKind, status: u16, message: String) -> Self {
        Self {
            kind,
            status,
            message,
            code: None,
            provider_type: None,
            param: None,
            retry_after_secs: None,
            limit: None,
        }
    }
}

/// A limit of the gateway's own that a call ran into.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimitReached {
    /// Whose limit: `key`, `deployment` or `gateway`; of a budget also `end_user` or `tag`.
    pub scope: String,
    /// The key, end user or tag whose budget it is; empty for any other limit.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub matched: String,
    /// Of what.
    pub kind: LimitKind,
    /// How much is allowed, per minute or at once; US dollars for a budget.
    pub limit: f64,
    /// How much of it is left: 0 or less.
    pub remaining: f64,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Requests a minute.
    Rpm,
    /// Tokens a minute.
    Tpm,
    /// Requests at once.
    Parallel,
    /// Whatever a provider limits.
    Provider,
    /// US dollars in a period.
    Budget,
}

impl LimitKind {
    /// The text form: a `rate_limit` event's `limit_type` (DESIGN, "Events").
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rpm => "rpm",
            Self::Tpm => "tpm",
            Self::Parallel => "parallel",
            Self::Provider => "provider",
            Self::Budget => "budget",
        }
    }
}

/// Kinds of failure. The text form is an event's `error_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The request was not one that the gateway can read (broken JSON, no model).
    InvalidRequest,
    /// The gateway refused the caller's key.
    Unauthorized,
    /// No deployment has that name.
    UnknownModel,
    /// The caller's key may not use that model.
    ModelDenied,
    /// The budget that the call counts against is spent.
    BudgetExceeded,
    /// The gateway is at one of its own bounds.
    Overloaded,
    /// The gateway itself failed.
    Internal,
    /// The gateway stopped or crashed while the call ran.
    Interrupted,
    /// The caller left before the end.
    ClientDisconnected,
    /// The provider, or the gateway in front of it, limited the rate.
    RateLimit,
    /// The provider refused the gateway's credential, or there is none to show it.
    Authentication,
    /// The provider refused the request as malformed.
    BadRequest,
    /// The prompt is longer than the model takes.
    ContextWindowExceeded,
    /// The provider's content policy refused it.
    ContentFilter,
    /// The provider does not know the model or path.
    NotFound,
    /// No answer, or no first token, in time.
    Timeout,
    /// No connection: refused, reset, no such host, no TLS.
    Connection,
    /// The provider answered with a 5xx.
    ProviderError,
    /// The provider's bytes are not what its protocol says.
    BadResponse,
    /// The stream ended before its end.
    StreamCut,
    /// The provider reported an error inside the stream.
    StreamError,
}

impl FailureKind {
    /// The text form, as in an event's `error_type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Unauthorized => "unauthorized",
            Self::UnknownModel => "unknown_model",
            Self::ModelDenied => "model_denied",
            Self::BudgetExceeded => "budget_exceeded",
            Self::Overloaded => "overloaded",
            Self::Internal => "internal",
            Self::Interrupted => "interrupted",
            Self::ClientDisconnected => "client_disconnected",
            Self::RateLimit => "rate_limit",
            Self::Authentication => "authentication",
            Self::BadRequest => "bad_request",
            Self::ContextWindowExceeded => "context_window_exceeded",
            Self::ContentFilter => "content_filter",
            Self::NotFound => "not_found",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::ProviderError => "provider_error",
            Self::BadResponse => "bad_response",
            Self::StreamCut => "stream_cut",
            Self::StreamError => "stream_error",
        }
    }

    /// How much a person should care (DESIGN, "Events"): refusals of the request, 429 and callers
    /// who leave are warnings, providers' failures errors, the gateway's own and provider
    /// authentication critical.
    pub const fn severity(self) -> Severity {
        match self {
            Self::InvalidRequest
            | Self::Unauthorized
            | Self::UnknownModel
            | Self::ModelDenied
            | Self::BudgetExceeded
            | Self::ClientDisconnected
            | Self::RateLimit
            | Self::BadRequest
            | Self::ContextWindowExceeded
            | Self::ContentFilter
            | Self::NotFound => Severity::Warning,
            Self::Timeout
            | Self::Connection
            | Self::ProviderError
            | Self::BadResponse
            | Self::StreamCut
            | Self::StreamError => Severity::Error,
            Self::Overloaded | Self::Internal | Self::Interrupted | Self::Authentication => {
                Severity::Critical
            }
        }
    }
}

/// How much a person should care about an error event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The request's own fault, or to be expected.
    Warning,
    /// A provider failed.
    Error,
    /// The gateway, or its credential, failed.
    Critical,
}

impl Severity {
    /// The text form, as filters and events write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}
