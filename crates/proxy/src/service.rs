//! One request to one reply: an LLM call goes the whole way, everything else to a door.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use bytes::Bytes;
use domain::{call::Endpoint, exchange::Outcome, failure::FailureKind};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use store::journal::{AppendError, Commit};
use tower::ServiceExt;

use crate::{
    admit::{Admitted, admit},
    auth::{Refusal, authorize},
    capture::{CaptureBody, unrecorded},
    config::Deployment,
    forward::{Answer, ErrorAnswer, Refused, forward},
    gateway::Gateway,
    reply::{Reply, ReplyBody, error_reply, json_reply, name_call},
    seal::{OpenCall, interrupted},
    upstream::failure,
};

/// Answers one request. It never fails: whatever goes wrong becomes an answer.
pub(crate) async fn serve(
    gateway: Arc<Gateway>,
    doors: Router,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Reply, Infallible> {
    let header_bytes: usize =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if header_bytes > gateway.config.limits.request_header_bytes_max {
        let message = "the request's headers are too large".to_owned();
        return Ok(error_reply(&failure(FailureKind::InvalidRequest, 431, message)));
    }
    let path = request.uri().path();
    if is_public(path) {
        return Ok(door(doors, request).await);
    }
    let caller = match authorize(&gateway.config, request.headers(), request.uri()) {
        Ok(caller) => caller,
        Err(refusal) => return Ok(refuse(&refusal)),
    };
    let Some(endpoint) = endpoint(path) else { return Ok(door(doors, request).await) };
    if request.method() != Method::POST {
        let message = format!("{path} takes POST");
        let mut reply = error_reply(&failure(FailureKind::InvalidRequest, 405, message));
        reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return Ok(reply);
    }
    let (parts, body) = request.into_parts();
    Ok(match admit(&gateway, endpoint, caller, Some(peer.ip()), parts, body).await {
        Ok(admitted) => {
            let id = admitted.open.call.id;
            let mut reply = run(admitted).await;
            name_call(&mut reply, id);
            reply
        }
        Err(failure) => error_reply(&failure),
    })
}

fn endpoint(path: &str) -> Option<Endpoint> {
    match path {
        "/v1/chat/completions" | "/chat/completions" => Some(Endpoint::ChatCompletions),
        _ => None,
    }
}

/// Paths that need no key: they say nothing but whether the gateway lives.
fn is_public(path: &str) -> bool {
    matches!(path, "/health/liveliness" | "/health/liveness" | "/health/readiness")
}

fn refuse(refusal: &Refusal) -> Reply {
    match refusal {
        Refusal::Key(message) => {
            let mut reply =
                error_reply(&failure(FailureKind::Unauthorized, 401, (*message).to_owned()));
            reply
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            reply
        }
        Refusal::Foreign(message) => {
            error_reply(&failure(FailureKind::Unauthorized, 403, (*message).to_owned()))
        }
    }
}

async fn door(doors: Router, request: Request<Incoming>) -> Reply {
    let request = request.map(axum::body::Body::new);
    match doors.oneshot(request).await {
        Ok(response) => response.map(ReplyBody::Door),
        Err(never) => match never {},
    }
}

/// How long an admission may wait for another record to be committed with. Short calls have their
/// outcome by then, and both are one commit.
const ADMISSION_LINGER: Duration = Duration::from_millis(1);

/// Takes an admitted call to its outcome, or, for a stream, to the beginning of its answer.
async fn run(admitted: Admitted) -> Reply {
    let Admitted { mut open, request, commit } = admitted;
    let gateway = Arc::clone(&open.gateway);
    let forwarded = tokio::select! {
        biased;
        forwarded = forward_and_commit(&gateway, &mut open, &request) => forwarded,
        () = gateway.cut.cancelled() => {
            Err(interrupted("the gateway was stopped while the call ran").into())
        }
    };
    match forwarded {
        Ok(Answer::Whole { headers, body, deployment }) => {
            let sealed = open.seal(Outcome::Completed);
            if let Some(refused) = not_recorded(commit, sealed).await {
                return refused;
            }
            let mut reply = json_reply(StatusCode::OK, body);
            reply.headers_mut().extend(headers);
            name_deployment(&mut reply, &open, &deployment);
            reply
        }
        Ok(Answer::Stream { headers, first, stream, source, deployment }) => {
            gateway.journal.hurry();
            if let Err(error) = commit.await {
                open.forget();
                return not_admitted(&error);
            }
            let mut reply = Reply::new(ReplyBody::Whole(None));
            *reply.headers_mut() = headers;
            name_deployment(&mut reply, &open, &deployment);
            *reply.body_mut() = ReplyBody::Stream(CaptureBody::new(open, stream, source, first));
            reply
        }
        Err(refused) => fail(open, commit, refused).await,
    }
}

async fn forward_and_commit(
    gateway: &Gateway,
    open: &mut OpenCall,
    request: &crate::admit::Request,
) -> Result<Answer, Refused> {
    let mut forwarding = std::pin::pin!(forward(open, request));
    let soon = tokio::time::timeout(ADMISSION_LINGER, forwarding.as_mut());
    if let Ok(forwarded) = soon.await {
        return forwarded;
    }
    gateway.journal.hurry();
    forwarding.await
}

/// Waits until a call's admission and its outcome are in the journal; the answer if they are not.
async fn not_recorded(admitted: Commit, sealed: Commit) -> Option<Reply> {
    if let Err(error) = admitted.await {
        return Some(not_admitted(&error));
    }
    sealed.await.err().map(|error| error_reply(&unrecorded(&error)))
}

async fn fail(mut open: OpenCall, admitted: Commit, refused: Refused) -> Reply {
    let Refused { failure, answer } = refused;
    let mut reply = match answer {
        Some(answer) => {
            let ErrorAnswer { status, headers, body } = *answer;
            let mut reply = json_reply(status, body);
            reply.headers_mut().extend(headers);
            reply
        }
        None => error_reply(&failure),
    };
    let sealed = open.seal(Outcome::Failed(failure));
    if let Some(refused) = not_recorded(admitted, sealed).await {
        return refused;
    }
    set_counts(&mut reply, &open);
    reply
}

fn not_admitted(error: &AppendError) -> Reply {
    let message = format!("the call could not be recorded, so it is not served: {error}");
    let mut failure = failure(FailureKind::Overloaded, 503, message);
    failure.retry_after_secs = Some(1);
    error_reply(&failure)
}

/// LiteLLM's headers that say which deployment answered, after how many attempts.
fn name_deployment(reply: &mut Reply, open: &OpenCall, deployment: &Deployment) {
    let facts = &deployment.facts;
    set(reply, "x-litellm-model-id", &facts.id);
    set(reply, "x-litellm-model-group", &facts.model_name);
    if !facts.api_base.is_empty() {
        set(reply, "x-litellm-model-api-base", &facts.api_base);
    }
    set_counts(reply, open);
}

fn set_counts(reply: &mut Reply, open: &OpenCall) {
    let headers = reply.headers_mut();
    headers.insert("x-litellm-attempted-retries", HeaderValue::from(open.retries));
    headers.insert("x-litellm-attempted-fallbacks", HeaderValue::from(open.fallbacks));
}

fn set(reply: &mut Reply, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::copy_from_slice(value.as_bytes())) {
        reply.headers_mut().insert(HeaderName::from_static(name), value);
    }
}
