//! One request to one reply: an LLM call goes the whole way, everything else to a door.

use std::{
    borrow::Cow,
    convert::Infallible,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::Router;
use bytes::Bytes;
use domain::{
    call::{Caller, Endpoint, Refusal},
    exchange::Outcome,
    failure::{Failure, FailureKind},
};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use store::journal::{AppendError, Commit};
use tower::ServiceExt;

use crate::{
    admit::{Admitted, admit},
    arrival::Arrival,
    auth::authorize,
    capture::{CaptureBody, unrecorded},
    config::Deployment,
    count::count_tokens,
    forward::{Answer, ErrorAnswer, Refused, forward},
    gateway::Gateway,
    paths::{self, Api},
    refused::{NotAdmitted, refuse_stranger},
    reply::{Reply, ReplyBody, error_reply, json_reply, name_call, set_limits},
    seal::{OpenCall, interrupted},
    server::{AllDoors, ClientAddr},
    upstream::failure,
};

/// Answers one request. It never fails: whatever goes wrong becomes an answer.
pub(crate) async fn serve(
    gateway: Arc<Gateway>,
    doors: AllDoors,
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> Result<Reply, Infallible> {
    let target = paths::target(request.uri().path());
    let shape = target.as_ref().map_or(Endpoint::ChatCompletions, |target| target.api.endpoint());
    let header_bytes: usize =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if header_bytes > gateway.config.limits.request_header_bytes_max {
        let message = "the request's headers are too large".to_owned();
        return Ok(error_reply(shape, &failure(FailureKind::InvalidRequest, 431, message)));
    }
    if is_public(request.uri().path()) {
        return Ok(door(doors.own, request).await);
    }
    let authorized = authorize(&gateway.config, request.headers(), request.uri());
    if (doors.others.owns)(request.uri().path()) {
        request.extensions_mut().insert(authorized);
        request.extensions_mut().insert(ClientAddr(peer));
        return Ok(door(doors.others.router, request).await);
    }
    let Some(target) = target else {
        return Ok(match authorized {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                door(doors.own, request).await
            }
            Err(refusal) => NotAdmitted::from(unauthorized(&refusal)).reply(shape).await,
        });
    };
    let (api, model) = (target.api, target.model.map(Cow::into_owned));
    Ok(call(&gateway, api, model, authorized, peer, request).await)
}

/// Answers a request at the path of an LLM API.
async fn call(
    gateway: &Arc<Gateway>,
    api: Api,
    model: Option<String>,
    authorized: Result<Caller, Refusal>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Reply {
    let endpoint = api.endpoint();
    let is_post = request.method() == Method::POST;
    let (parts, body) = request.into_parts();
    let (caller, refusal) = match authorized {
        Ok(caller) => (caller, None),
        Err(refusal) => (Caller::Refused, Some(refusal)),
    };
    let (client_ip, arrived_at) = (Some(peer.ip()), gateway.clock.now());
    let arrival = Arrival { endpoint, model, caller, client_ip, arrived_at, parts };
    if let Some(refusal) = refusal {
        let failure = unauthorized(&refusal);
        let is_call = is_post && matches!(api, Api::Call(_));
        let refused = match refusal {
            Refusal::NoKey(_) | Refusal::WrongKey(_) if is_call => {
                refuse_stranger(gateway, arrival, body, failure).await
            }
            _ => failure.into(),
        };
        return refused.reply(endpoint).await;
    }
    if !is_post {
        let message = format!("{} takes POST", arrival.parts.uri.path());
        let mut reply = error_reply(endpoint, &failure(FailureKind::InvalidRequest, 405, message));
        reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return reply;
    }
    if api == Api::CountTokens {
        return count_tokens(gateway, &arrival, body).await;
    }
    match admit(gateway, arrival, body).await {
        Ok(admitted) => {
            let call = Arc::clone(&admitted.open.call);
            let mut reply = run(admitted).await;
            name_call(&mut reply, &call);
            reply
        }
        Err(refused) => refused.reply(endpoint).await,
    }
}

/// Paths that need no key: they say nothing but whether the gateway lives.
fn is_public(path: &str) -> bool {
    matches!(path, "/health/liveliness" | "/health/liveness" | "/health/readiness")
}

fn unauthorized(refusal: &Refusal) -> Failure {
    let (status, message) = match refusal {
        Refusal::NoKey(message) | Refusal::WrongKey(message) => (401, message),
        Refusal::Foreign(message) => (403, message),
    };
    failure(FailureKind::Unauthorized, status, (*message).to_owned())
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

/// A call's admission on its way into the journal. A commit tells its result once, so that it was
/// taken is remembered here.
struct Admission(Option<Commit>);

impl Admission {
    /// Waits until the admission is in the journal, or was refused. After a refusal there is nothing
    /// to go on with.
    async fn taken(&mut self) -> Result<(), AppendError> {
        if let Some(commit) = &mut self.0 {
            commit.await?;
            self.0 = None;
        }
        Ok(())
    }

    /// Says whether it is refused already, without waiting.
    fn refused(&mut self) -> Option<AppendError> {
        let mut cx = Context::from_waker(Waker::noop());
        match pin!(self.taken()).poll(&mut cx) {
            Poll::Ready(taken) => taken.err(),
            Poll::Pending => None,
        }
    }
}

/// Takes an admitted call to its outcome, or, for a stream, to the beginning of its answer.
pub(crate) async fn run(admitted: Admitted) -> Reply {
    let Admitted { mut open, request, commit } = admitted;
    let mut admission = Admission(Some(commit));
    if let Some(error) = admission.refused() {
        return not_admitted(&mut open, &error);
    }
    let gateway = Arc::clone(&open.gateway);
    let forwarded = tokio::select! {
        biased;
        forwarded = forward_and_commit(&gateway, &mut open, &request, &mut admission) => forwarded,
        () = gateway.cut.cancelled() => {
            Ok(Err(interrupted("the gateway was stopped while the call ran").into()))
        }
    };
    let forwarded = match forwarded {
        Ok(forwarded) => forwarded,
        Err(error) => return not_admitted(&mut open, &error),
    };
    match forwarded {
        Ok(Answer::Whole { headers, body, deployment, failure }) => {
            let sealed = open.seal(failure.map_or(Outcome::Completed, Outcome::Failed));
            if let Some(refused) = not_recorded(&mut open, admission, sealed).await {
                return refused;
            }
            let mut reply = json_reply(StatusCode::OK, body);
            reply.headers_mut().extend(headers);
            name_deployment(&mut reply, &open, &deployment);
            reply
        }
        Ok(Answer::Stream { headers, first, stream, source, deployment }) => {
            gateway.journal.hurry();
            if let Err(error) = admission.taken().await {
                return not_admitted(&mut open, &error);
            }
            let mut reply = Reply::new(ReplyBody::Whole(None));
            *reply.headers_mut() = headers;
            name_deployment(&mut reply, &open, &deployment);
            *reply.body_mut() = ReplyBody::Stream(CaptureBody::new(open, stream, source, first));
            reply
        }
        Err(refused) => fail(open, admission, refused).await,
    }
}

/// Asks providers while the admission is committed. An admission that is refused ends the asking: an
/// answer could not be served, and would be paid for all the same.
async fn forward_and_commit(
    gateway: &Gateway,
    open: &mut OpenCall,
    request: &crate::admit::Request,
    admission: &mut Admission,
) -> Result<Result<Answer, Refused>, AppendError> {
    let mut forwarding = pin!(forward(open, request));
    let soon = tokio::time::timeout(ADMISSION_LINGER, forwarding.as_mut());
    if let Ok(forwarded) = soon.await {
        return Ok(forwarded);
    }
    gateway.journal.hurry();
    tokio::select! {
        biased;
        taken = admission.taken() => taken?,
        forwarded = forwarding.as_mut() => return Ok(forwarded),
    }
    Ok(forwarding.await)
}

/// Waits until a call's admission and its outcome are in the journal; the answer if they are not.
async fn not_recorded(
    open: &mut OpenCall,
    mut admission: Admission,
    sealed: Commit,
) -> Option<Reply> {
    if let Err(error) = admission.taken().await {
        return Some(not_admitted(open, &error));
    }
    let endpoint = open.call.endpoint;
    sealed.await.err().map(|error| error_reply(endpoint, &unrecorded(&error)))
}

async fn fail(mut open: OpenCall, admission: Admission, refused: Refused) -> Reply {
    let Refused { failure, answer } = refused;
    let mut reply = match answer {
        Some(answer) => {
            let ErrorAnswer { status, headers, body } = *answer;
            let mut reply = json_reply(status, body);
            reply.headers_mut().extend(headers);
            reply
        }
        None => error_reply(open.call.endpoint, &failure),
    };
    let sealed = open.seal(Outcome::Failed(failure));
    if let Some(refused) = not_recorded(&mut open, admission, sealed).await {
        return refused;
    }
    set_counts(&mut reply, &open);
    reply
}

/// Gives up a call whose admission was refused; the answer that says so.
fn not_admitted(open: &mut OpenCall, error: &AppendError) -> Reply {
    open.forget();
    let message = format!("the call could not be recorded, so it is not served: {error}");
    let mut failure = failure(FailureKind::Overloaded, 503, message);
    failure.retry_after_secs = Some(1);
    error_reply(open.call.endpoint, &failure)
}

/// LiteLLM's headers that say which deployment answered, after how many attempts.
fn name_deployment(reply: &mut Reply, open: &OpenCall, deployment: &Deployment) {
    let facts = &deployment.facts;
    set(reply, "x-litellm-model-id", &facts.id);
    set(reply, "x-litellm-model-name", &format!("{}/{}", facts.provider, facts.model));
    set(reply, "x-litellm-model-group", &facts.model_name);
    if !facts.api_base.is_empty() {
        set(reply, "x-litellm-model-api-base", &facts.api_base);
    }
    set_counts(reply, open);
}

fn set_counts(reply: &mut Reply, open: &OpenCall) {
    if let Some(quota) = open.key_quota() {
        set_limits(reply, quota, open.gateway.clock.now());
    }
    let headers = reply.headers_mut();
    headers.insert("x-litellm-attempted-retries", HeaderValue::from(open.retries));
    headers.insert("x-litellm-attempted-fallbacks", HeaderValue::from(open.fallbacks));
}

fn set(reply: &mut Reply, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::copy_from_slice(value.as_bytes())) {
        reply.headers_mut().insert(HeaderName::from_static(name), value);
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use domain::record::Record;
    use tokio::net::TcpListener;

    use super::*;
    use crate::fakes::{self, Fate};

    async fn refused(fate: fn(&Record) -> Fate) -> (Reply, TcpListener) {
        // It takes connections, and never answers.
        let provider = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = provider.local_addr().expect("it is bound");
        let base_url = format!("http://{address}/v1");
        let config = fakes::config(vec![fakes::deployment(&base_url)]);
        let gateway = fakes::gateway(config, fakes::Journal::new(fate));
        let run = run(fakes::admitted(&gateway, false));
        let reply = tokio::time::timeout(Duration::from_secs(20), run).await;
        (reply.expect("the provider is not waited for"), provider)
    }

    #[tokio::test]
    async fn a_call_whose_admission_is_refused_at_once_goes_to_no_provider() {
        let (reply, provider) = refused(|_| Fate::Refuse).await;
        assert_eq!(
            (reply.status().as_u16(), reply.headers()["retry-after"].as_bytes()),
            (503, &b"1"[..])
        );
        // Without waiting: a connection would be in its queue.
        let asked = provider.into_std().expect("it is no runtime's now").accept();
        assert_eq!(asked.map_err(|error| error.kind()).err(), Some(ErrorKind::WouldBlock));
    }

    #[tokio::test]
    async fn a_call_whose_admission_is_refused_while_it_runs_ends_at_once() {
        let (reply, _provider) = refused(|_| Fate::RefuseLater).await;
        assert_eq!(reply.status().as_u16(), 503);
    }
}
