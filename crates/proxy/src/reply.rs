//! Answers of the gateway's own, in the shape that the caller's SDK expects.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use domain::{
    call::{Call, Endpoint},
    failure::Failure,
    time::Timestamp,
};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use provider::failure::error_body;

use crate::{capture::CaptureBody, quota::Quota};

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

/// The error answer that says what a failure was, in the shape of the API that was called.
pub(crate) fn error_reply(endpoint: Endpoint, failure: &Failure) -> Reply {
    let status = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = json_reply(status, error_body(endpoint, failure));
    if let Some(seconds) = failure.retry_after_secs {
        reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    reply
}

/// Names the call in the answer's headers, so that a caller can find it again in its events.
pub(crate) fn name_call(reply: &mut Reply, call: &Call) {
    let status = if reply.status().is_success() { "success" } else { "failed" };
    let headers = reply.headers_mut();
    headers.insert("helicone-status", HeaderValue::from_static(status));
    if let Ok(id) = HeaderValue::from_maybe_shared(Bytes::from(call.id.to_string())) {
        headers.insert("helicone-id", id.clone());
        headers.insert("x-litellm-call-id", id);
    }
    if let Some(own) = &call.own_id
        && let Ok(own) = HeaderValue::from_str(own)
    {
        headers.insert("helicone-id", own);
    }
    if let Ok(id) = HeaderValue::from_maybe_shared(Bytes::from(call.id.to_request_id())) {
        if !headers.contains_key("x-request-id") {
            headers.insert("x-request-id", id.clone());
        }
        headers.insert("x-hookgate-request-id", id);
    }
}

/// Says how much of its limits the caller's key has left. A provider's own limits, which the same
/// headers may tell of, are the gateway's and not the caller's.
pub(crate) fn set_limits(reply: &mut Reply, quota: &Quota, now: Timestamp) {
    const REQUESTS: [&str; 3] =
        ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-litellm-key-rpm-limit"];
    const TOKENS: [&str; 3] =
        ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-litellm-key-tpm-limit"];
    let (requests, tokens) = quota.left(now);
    for (left, [limit, remaining, of_key]) in [(requests, REQUESTS), (tokens, TOKENS)] {
        let Some(left) = left else { continue };
        let headers = reply.headers_mut();
        headers.insert(limit, HeaderValue::from(left.limit));
        headers.insert(remaining, HeaderValue::from(left.remaining));
        headers.insert(of_key, HeaderValue::from(left.limit));
    }
}
