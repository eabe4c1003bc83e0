//! Answers of the gateway's own, in the shape that `OpenAI`'s SDKs expect.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use domain::{
    failure::{Failure, FailureKind},
    id::CallId,
};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use serde_json::json;

use crate::capture::CaptureBody;

/// An answer on its way to the caller.
pub(crate) type Reply = Response<ReplyBody>;

/// The body of an answer.
pub(crate) enum ReplyBody {
    /// All of it.
    Whole(Option<Bytes>),
    /// A stream, as the provider sends it.
    Stream(CaptureBody),
    /// A management door's.
    Door(axum::body::Body),
}

/// Why a body ended before its end; the connection is closed, so that nobody takes it for whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// A stream was cut; the error event before it said why.
    #[error("stream ended before its end")]
    Cut,
    /// A door's body failed.
    #[error("could not write a door's answer")]
    Door(#[source] axum::Error),
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(stream) => Pin::new(stream).poll_frame(cx),
            Self::Door(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|f| f.map_err(BodyError::Door)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Stream(_) => false,
            Self::Door(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Stream(_) => SizeHint::default(),
            Self::Door(body) => body.size_hint(),
        }
    }
}

/// An answer with a whole JSON body.
pub(crate) fn json_reply(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(ReplyBody::Whole(Some(body.into())));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// The error answer that says what a failure was.
pub(crate) fn error_reply(failure: &Failure) -> Reply {
    let status = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = json_reply(status, error_body(failure));
    if let Some(seconds) = failure.retry_after_secs {
        reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    reply
}

/// `{"error": {"message", "type", "param", "code"}}`, the shape of `OpenAI`'s error answers.
pub(crate) fn error_body(failure: &Failure) -> String {
    let kind = failure.provider_type.as_deref().unwrap_or_else(|| error_type(failure));
    let code = failure.code.clone().unwrap_or_else(|| failure.kind.as_str().to_owned());
    json!({"error": {
        "message": failure.message,
        "type": kind,
        "param": failure.param,
        "code": code,
    }})
    .to_string()
}

/// The event that ends a stream which failed on its way.
pub(crate) fn error_event(failure: &Failure) -> Bytes {
    Bytes::from(format!("data: {}\n\n", error_body(failure)))
}

/// `OpenAI`'s error types, as its SDKs and LiteLLM's users know them.
fn error_type(failure: &Failure) -> &'static str {
    match failure.kind {
        FailureKind::Unauthorized | FailureKind::Authentication => "authentication_error",
        FailureKind::RateLimit => "rate_limit_error",
        FailureKind::Timeout => "timeout_error",
        FailureKind::BudgetExceeded => "budget_exceeded",
        FailureKind::ModelDenied => "key_model_access_denied",
        FailureKind::Overloaded => "overloaded_error",
        FailureKind::Internal | FailureKind::Interrupted => "internal_server_error",
        FailureKind::InvalidRequest
        | FailureKind::UnknownModel
        | FailureKind::BadRequest
        | FailureKind::ContextWindowExceeded
        | FailureKind::ContentFilter
        | FailureKind::NotFound
        | FailureKind::ClientDisconnected => "invalid_request_error",
        FailureKind::Connection
        | FailureKind::ProviderError
        | FailureKind::BadResponse
        | FailureKind::StreamCut
        | FailureKind::StreamError => "api_error",
    }
}

/// Names the call in the answer's headers, so that a caller can find it again in its events.
pub(crate) fn name_call(reply: &mut Reply, call: CallId) {
    let headers = reply.headers_mut();
    if let Ok(id) = HeaderValue::from_maybe_shared(Bytes::from(call.to_string())) {
        headers.insert("x-litellm-call-id", id);
    }
    if let Ok(id) = HeaderValue::from_maybe_shared(Bytes::from(call.to_request_id())) {
        if !headers.contains_key("x-request-id") {
            headers.insert("x-request-id", id.clone());
        }
        headers.insert("x-hookgate-request-id", id);
    }
}
