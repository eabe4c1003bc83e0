//! What our own door says when it does not do as asked: one shape for every route.
//!
//! Other systems' doors have shapes of their own, which stand beside their handlers.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// What went wrong.
    error: ProblemDetail,
    #[serde(skip)]
    #[schema(ignore)]
    kind: Kind,
}

/// What went wrong, for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProblemDetail {
    /// What kind of problem it is.
    #[schema(example = "invalid")]
    r#type: Kind,
    /// In words.
    #[schema(example = "the request has 1 problem; nothing was done")]
    message: String,
    /// Everything that is wrong with the request, if its parts were looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    problems: Vec<FieldProblem>,
}

/// What is wrong with one part of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldProblem {
    /// The part, as a path: `filters.completion.models`.
    #[schema(example = "sample_rate")]
    pub field: String,
    /// What is wrong, in words that fit after the path.
    #[schema(example = "must be from 0 to 1")]
    pub message: String,
}

impl FieldProblem {
    /// Puts a path and a text together.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }

    /// Whether it is about a key at the top, or about something in it.
    pub(crate) fn is_in(&self, key: &str) -> bool {
        let rest = self.field.strip_prefix(key);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    }
}

/// Kinds of problems; each has one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// 400: the request itself cannot be read.
    BadRequest,
    /// 401: no key, or a wrong one.
    Unauthorized,
    /// 403: a key that may not manage.
    Forbidden,
    /// 403: what the configuration file says is changed there.
    ReadOnly,
    /// 404: there is no such thing.
    NotFound,
    /// 405: the path does not take this method.
    MethodNotAllowed,
    /// 409: it does not fit what is there.
    Conflict,
    /// 413: more bytes than are taken.
    TooLarge,
    /// 422: values that cannot be; `problems` lists them.
    Invalid,
    /// 500: the gateway failed; its log says why.
    Internal,
}

impl Kind {
    /// The status of an answer of this kind.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::ReadOnly => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl Problem {
    /// A problem of a kind, in words.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        let error = ProblemDetail { r#type: kind, message: message.into(), problems: Vec::new() };
        Self { error, kind }
    }

    /// Values that cannot be: all of them at once.
    pub fn invalid(problems: Vec<FieldProblem>) -> Self {
        let message = match problems.len() {
            1 => "the request has 1 problem; nothing was done".to_owned(),
            count => format!("the request has {count} problems; nothing was done"),
        };
        let error = ProblemDetail { r#type: Kind::Invalid, message, problems };
        Self { error, kind: Kind::Invalid }
    }

    /// Its status.
    pub(crate) const fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// What went wrong, in words.
    pub(crate) fn message(&self) -> &str {
        &self.error.message
    }

    /// Everything that is wrong with the request's parts.
    pub(crate) fn fields(&self) -> &[FieldProblem] {
        &self.error.problems
    }

    /// A failure of the gateway's own: its cause goes into the log, not to the caller.
    pub fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = report(error), "A management request failed.");
        Self::new(Kind::Internal, "the gateway failed at this; its log says why")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.kind.status(), Json(self)).into_response()
    }
}

/// An error and its causes on one line.
pub(crate) fn report(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
