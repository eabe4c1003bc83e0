//! The caller's bytes to a provider, and the beginning of its answer; again, or elsewhere, while no
//! byte has gone out to the caller.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use domain::{
    call::Endpoint,
    deployment::Dialect,
    exchange::ProviderAttempt,
    failure::{Failure, FailureKind},
};
use http::{HeaderMap, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use provider::{
    anthropic,
    failure::{error_body, of_whole_answer},
    mock,
    protocol::{self, Pair, pair},
    request::{passthrough, with_defaults},
    scan::Scan,
    stream::{self, CallerStream},
};

use crate::{
    admit::{NO_ROOM, Request, overloaded},
    config::{Config, Credential, Deployment},
    headers,
    route::{Plan, Step, Timeouts},
    seal::OpenCall,
    upstream::{RequestBody, connection_failure, failure, is_length_limit},
};

/// The largest server-sent event that a provider may send.
const EVENT_BYTES_MAX: usize = 8 << 20;

/// Shorter keys are no secrets (`none`, `EMPTY` for local servers), and words of messages.
const KEY_BYTES_MIN: usize = 8;

/// A provider's answer, as far as it is known before the first byte goes out.
pub(crate) enum Answer {
    /// All of it, in the caller's dialect.
    Whole {
        headers: HeaderMap,
        body: Bytes,
        deployment: Arc<Deployment>,
        /// Why it is no completion, if it says so itself.
        failure: Option<Failure>,
    },
    /// A stream whose first events are in `first`.
    Stream {
        headers: HeaderMap,
        first: Vec<Bytes>,
        stream: Box<dyn CallerStream>,
        source: Source,
        deployment: Arc<Deployment>,
    },
}

/// Where the rest of a stream comes from.
pub(crate) enum Source {
    /// A provider.
    Provider {
        body: Incoming,
        /// The longest silence between two reads.
        silence_max: Duration,
    },
    /// A mock: chunks left, and the failure after them.
    Mock { chunks: std::collections::VecDeque<Bytes>, failure: Option<Failure> },
    /// Nowhere: the stream has ended.
    Ended,
}

/// Why no deployment gave an answer, and what the last one said.
pub(crate) struct Refused {
    pub(crate) failure: Failure,
    /// The provider's own error answer, in the caller's dialect, to pass on as it is.
    pub(crate) answer: Option<Box<ErrorAnswer>>,
}

/// A provider's error answer, in the caller's dialect.
pub(crate) struct ErrorAnswer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self { failure, answer: None }
    }
}

/// Asks deployments until one begins to answer.
pub(crate) async fn forward(open: &mut OpenCall, request: &Request) -> Result<Answer, Refused> {
    let gateway = Arc::clone(&open.gateway);
    let mut plan = Plan::new(&request.route, &gateway.config.routing);
    let mut last: Option<Refused> = None;
    loop {
        let failure = last.as_ref().map(|refused| &refused.failure);
        let Some(step) = plan.next(failure, gateway.clock.now()) else { break };
        if step.wait > Duration::ZERO {
            tokio::time::sleep(step.wait).await;
        }
        open.retries += u32::from(step.is_retry);
        open.fallbacks += u32::from(step.is_fallback && !step.is_retry);
        match attempt(open, request, step).await {
            Ok(answer) => return Ok(answer),
            Err(refused) => {
                open.attempt_ended(Some(refused.failure.clone()));
                last = Some(refused);
            }
        }
    }
    Err(last.unwrap_or_else(|| plan.nobody().into()))
}

async fn attempt(open: &mut OpenCall, request: &Request, step: Step) -> Result<Answer, Refused> {
    let Step { deployment, place, .. } = step;
    let now = open.gateway.clock.now();
    let mock = Mock::of(open, request, &deployment);
    let mut facts = Arc::clone(&deployment.facts);
    if mock.is_some() {
        Arc::make_mut(&mut facts).dialect = Dialect::Mock;
    }
    let attempt = ProviderAttempt {
        deployment: facts,
        started_at: now,
        finished_at: now,
        status: None,
        headers: Vec::new(),
        failure: None,
    };
    open.attempt_started(attempt, place);
    if let Some(mock) = mock {
        return mock.answer(open, request, &deployment).await;
    }
    has_credential(&deployment)?;
    ask(open, request, &deployment).await
}

/// Fails if the deployment's key should be there and is not.
pub(crate) fn has_credential(deployment: &Deployment) -> Result<(), Failure> {
    let Credential::Missing { variable } = &deployment.credential else { return Ok(()) };
    let message = format!(
        "model `{}` has no API key: environment variable {variable} is not set where the gateway \
         runs",
        deployment.facts.model_name,
    );
    Err(failure(FailureKind::Authentication, 401, message))
}

/// The caller's own value of a mock's field, if callers may bring their answers.
fn clients(config: &Config, body: &[u8], scan: &Scan, key: &str) -> Option<serde_json::Value> {
    let raw = config.allow_client_mock_response.then(|| scan.raw(body, key)).flatten()?;
    serde_json::from_slice(raw).ok().filter(|value: &serde_json::Value| !value.is_null())
}

/// Whether a request brings its answer: then no provider is asked.
pub(crate) fn brings_answer(config: &Config, body: &[u8], scan: &Scan) -> bool {
    clients(config, body, scan, "mock_timeout") == Some(true.into())
        || clients(config, body, scan, "mock_response").is_some()
}

/// What answers instead of a provider: the caller's own, if callers may, else the deployment's.
struct Mock {
    /// `None` if it only times out.
    response: Option<serde_json::Value>,
    tool_calls: Option<serde_json::Value>,
    /// How long it waits before it answers.
    delay: Duration,
}

impl Mock {
    fn of(open: &OpenCall, request: &Request, deployment: &Deployment) -> Option<Self> {
        let config = &open.gateway.config;
        let client = |key| clients(config, &request.body, &request.scan, key);
        let is_mocked = request.route.is_mocked;
        let limit = request.route.timeouts(deployment, &config.routing).whole;
        let seconds = |key| {
            let seconds = client(key).and_then(|value| value.as_f64());
            seconds.and_then(|secs| Duration::try_from_secs_f64(secs).ok()).map(|d| d.min(limit))
        };
        if is_mocked && client("mock_timeout") == Some(true.into()) {
            return Some(Self { response: None, tool_calls: None, delay: limit });
        }
        let own = if is_mocked { client("mock_response") } else { None };
        let response = own.or_else(|| deployment.mock_response.clone())?;
        let (tool_calls, delay) = (client("mock_tool_calls"), seconds("mock_delay"));
        Some(Self { response: Some(response), tool_calls, delay: delay.unwrap_or_default() })
    }

    async fn answer(
        self,
        open: &mut OpenCall,
        request: &Request,
        deployment: &Arc<Deployment>,
    ) -> Result<Answer, Refused> {
        if self.delay > Duration::ZERO {
            tokio::time::sleep(self.delay).await;
        }
        let Some(response) = self.response else {
            let message = "This is a mock timeout error".to_owned();
            return Err(failure(FailureKind::Timeout, 408, message).into());
        };
        let asked = mock::MockRequest {
            endpoint: open.call.endpoint,
            model: &deployment.facts.model_name,
            stream: open.call.stream,
            include_usage: true,
            id: open.call.id,
            created: open.call.arrived_at.as_secs(),
            mock_tool_calls: self.tool_calls.as_ref(),
        };
        let (chunks, failure) = match mock::answer(&response, &asked) {
            mock::MockAnswer::Whole(body) => {
                open.mocked(false);
                open.captured(&body);
                let deployment = Arc::clone(deployment);
                let scan = provider::scan::scan(&body).ok();
                let failure =
                    scan.and_then(|scan| of_whole_answer(open.call.endpoint, &body, &scan));
                return Ok(Answer::Whole { headers: HeaderMap::new(), body, deployment, failure });
            }
            mock::MockAnswer::Failure(failure) => return Err(failure.into()),
            mock::MockAnswer::Stream(chunks) => (chunks, None),
            mock::MockAnswer::StreamThenFailure(chunks, failure) => (chunks, Some(failure)),
        };
        open.mocked(true);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("text/event-stream"));
        Ok(Answer::Stream {
            headers,
            first: Vec::new(),
            stream: unchanged(open, request),
            source: Source::Mock { chunks: chunks.into(), failure },
            deployment: Arc::clone(deployment),
        })
    }
}

/// Whether the caller asked for the usage chunk itself.
fn asks_usage(request: &Request) -> bool {
    #[derive(serde::Deserialize)]
    struct StreamOptions {
        include_usage: Option<bool>,
    }
    let raw = request.scan.raw(&request.body, "stream_options");
    let options: Option<StreamOptions> = raw.and_then(|raw| serde_json::from_slice(raw).ok());
    options.and_then(|options| options.include_usage) == Some(true)
}

/// A stream that is in the caller's protocol already.
fn unchanged(open: &OpenCall, request: &Request) -> Box<dyn CallerStream> {
    let endpoint = open.call.endpoint;
    stream::passthrough(endpoint, !asks_usage(request), open.pieces_wanted, EVENT_BYTES_MAX)
}

/// What is done with the call's bytes at the deployment.
fn way(open: &OpenCall, deployment: &Deployment) -> Pair {
    pair(open.call.endpoint, deployment.facts.dialect)
}

async fn ask(
    open: &mut OpenCall,
    request: &Request,
    deployment: &Arc<Deployment>,
) -> Result<Answer, Refused> {
    let routing = &open.gateway.config.routing;
    let Timeouts { whole: timeout, first_byte } = request.route.timeouts(deployment, routing);
    let provider = &deployment.facts.provider;
    let too_late = |what: &str, limit: Duration| {
        let message = format!("provider `{provider}` gave no {what} within {limit:?}");
        Refused::from(failure(FailureKind::Timeout, 408, message))
    };
    if open.call.stream {
        let started = async {
            let response = send(open, request, deployment).await?;
            if is_stream(&response) {
                begin_stream(open, request, deployment, response, timeout).await
            } else {
                whole(open, deployment, response).await
            }
        };
        return tokio::time::timeout(first_byte, started)
            .await
            .unwrap_or_else(|_| Err(too_late("first token", first_byte)));
    }
    let answered = async {
        let response = send(open, request, deployment).await?;
        whole(open, deployment, response).await
    };
    tokio::time::timeout(timeout, answered)
        .await
        .unwrap_or_else(|_| Err(too_late("answer", timeout)))
}

async fn send(
    open: &OpenCall,
    request: &Request,
    deployment: &Deployment,
) -> Result<Response<Incoming>, Refused> {
    let upstream = &open.gateway.upstream;
    let mut answered = upstream.send(provider_request(open, request, deployment)?).await;
    if answered.as_ref().is_err_and(|error| error.on_dead_connection) {
        answered = upstream.send(provider_request(open, request, deployment)?).await;
    }
    let provider = &deployment.facts.provider;
    answered.map_err(|error| connection_failure(provider, &error.cause).into())
}

fn provider_request(
    open: &OpenCall,
    request: &Request,
    deployment: &Deployment,
) -> Result<http::Request<RequestBody>, Refused> {
    let model = &deployment.facts.model;
    let endpoint = open.call.endpoint;
    let filled = filled(endpoint, request, deployment);
    let (asked, scan) = filled.as_ref().map_or((&request.body, &request.scan), |(b, s)| (b, s));
    let (path, body) = match way(open, deployment) {
        Pair::Translate => {
            let body = vec![anthropic::request(asked, model)?];
            (protocol::path(Endpoint::Messages), body)
        }
        Pair::Passthrough => {
            let ask_usage = open.call.stream && deployment.include_usage;
            let body = passthrough(endpoint, asked, scan, model, ask_usage);
            (protocol::path(endpoint), body)
        }
        Pair::Unsupported => return Err(protocol::unsupported(endpoint, &deployment.facts).into()),
    };
    Ok(addressed(deployment, endpoint, path, &request.headers, body)?)
}

/// The caller's body with the deployment's defaults, if it has any.
fn filled(endpoint: Endpoint, request: &Request, deployment: &Deployment) -> Option<(Bytes, Scan)> {
    if deployment.defaults.is_empty() {
        return None;
    }
    let body = with_defaults(endpoint, &request.body, &request.scan, &deployment.defaults);
    let scan = provider::scan::scan(&body).ok()?;
    Some((body, scan))
}

/// A request to a path of a deployment's.
pub(crate) fn addressed(
    deployment: &Deployment,
    endpoint: Endpoint,
    path: &str,
    headers: &HeaderMap,
    body: Vec<Bytes>,
) -> Result<http::Request<RequestBody>, Failure> {
    let uri = format!("{}{path}", deployment.base_url);
    let mut asked = http::Request::builder()
        .method(Method::POST)
        .uri(uri)
        .body(RequestBody::from(body))
        .map_err(|error| failure(FailureKind::Internal, 500, format!("api_base: {error}")))?;
    *asked.headers_mut() = headers::to_provider(headers, deployment, endpoint);
    Ok(asked)
}

fn is_stream<B>(response: &Response<B>) -> bool {
    response.status().is_success()
        && response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("text/event-stream"))
}

/// Reads a whole answer: a completion, or the provider's word that there is none.
async fn whole(
    open: &mut OpenCall,
    deployment: &Arc<Deployment>,
    response: Response<Incoming>,
) -> Result<Answer, Refused> {
    let (parts, body) = response.into_parts();
    let kept = headers::kept(&parts.headers);
    open.answered(parts.status.as_u16(), kept.clone(), false);
    let mut body = read_whole(open, body).await?;
    if !parts.status.is_success() {
        body = without_key(body, &deployment.credential);
    }
    open.captured_whole(&body);
    if !parts.status.is_success() {
        let failure = provider::failure::from_response(parts.status.as_u16(), &kept, &body);
        let answer = error_answer(open.call.endpoint, deployment, &parts, body, &failure);
        return Err(Refused { failure, answer });
    }
    let Ok(scan) = provider::scan::scan(&body) else {
        let provider = open.provider();
        let message = format!("provider `{provider}` answered {} without JSON", parts.status);
        return Err(failure(FailureKind::BadResponse, 502, message).into());
    };
    let failure = of_whole_answer(open.call.endpoint, &body, &scan);
    let body = match way(open, deployment) {
        Pair::Translate => anthropic::response(&body, open.call.arrived_at.as_secs())?,
        Pair::Passthrough | Pair::Unsupported => body,
    };
    let mut headers = headers::to_caller(&parts.headers);
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    Ok(Answer::Whole { headers, body, deployment: Arc::clone(deployment), failure })
}

/// Reads a body within its own bound and that of all running calls.
async fn read_whole(open: &mut OpenCall, body: Incoming) -> Result<Bytes, Failure> {
    let bytes_max = open.gateway.config.limits.response_body_bytes_max;
    let mut body = Limited::new(body, bytes_max);
    // Most answers come in one piece, which is not copied.
    let (mut only, mut joined) = (Bytes::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            if is_length_limit(&*error) {
                let message = format!("the provider's answer is larger than {bytes_max} bytes");
                return failure(FailureKind::BadResponse, 502, message);
            }
            connection_failure(open.provider(), &*error)
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if !open.hold(data.len()) {
            return Err(overloaded(NO_ROOM.to_owned()));
        }
        if only.is_empty() && joined.is_empty() {
            only = data;
        } else {
            joined.extend_from_slice(&std::mem::take(&mut only));
            joined.extend_from_slice(&data);
        }
    }
    Ok(if joined.is_empty() { only } else { joined.into() })
}

/// A refused key is often said aloud ("Incorrect API key provided: …"). It is not the caller's to
/// know, and nobody's to keep.
pub(crate) fn without_key(body: Bytes, credential: &Credential) -> Bytes {
    let Credential::Key(key) = credential else { return body };
    let text = String::from_utf8_lossy(&body);
    if key.expose().len() < KEY_BYTES_MIN || !text.contains(key.expose()) {
        return body;
    }
    text.replace(key.expose(), "[redacted]").into()
}

/// A provider's error answer with its own headers: byte for byte if it has the shape of the API that
/// was called, else what it says in that shape. `None` for what is no error, such as a redirection.
fn error_answer(
    endpoint: Endpoint,
    deployment: &Deployment,
    parts: &http::response::Parts,
    body: Bytes,
    failure: &Failure,
) -> Option<Box<ErrorAnswer>> {
    let status = parts.status;
    if !status.is_client_error() && !status.is_server_error() {
        return None;
    }
    let has_error_object = || {
        let scan = provider::scan::scan(&body).ok();
        scan.is_some_and(|scan| {
            scan.raw(&body, "error").is_some_and(|error| error.starts_with(b"{"))
        })
    };
    let is_same_protocol = pair(endpoint, deployment.facts.dialect) == Pair::Passthrough;
    let is_own_shape = is_same_protocol && has_error_object();
    let body = if is_own_shape { body } else { error_body(endpoint, failure).into() };
    let mut headers = headers::to_caller(&parts.headers);
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    Some(Box::new(ErrorAnswer { status, headers, body }))
}

/// Comments before the first event that are held back; with more of them a stream has begun.
const COMMENT_BYTES_MAX: usize = 64 << 10;

/// Whether no event has come yet: some providers send comments while the model has yet to begin.
fn are_comments(pieces: &[Bytes]) -> bool {
    let bytes: usize = pieces.iter().map(Bytes::len).sum();
    let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let mut lines = pieces.iter().flat_map(|piece| piece.split(is_end));
    bytes < COMMENT_BYTES_MAX && lines.all(|line| line.is_empty() || line.starts_with(b":"))
}

/// Reads a stream until its first events for the caller are there, so that a provider which fails
/// before them can still be replaced by another.
async fn begin_stream(
    open: &mut OpenCall,
    request: &Request,
    deployment: &Arc<Deployment>,
    response: Response<Incoming>,
    silence_max: Duration,
) -> Result<Answer, Refused> {
    let (parts, mut body) = response.into_parts();
    open.answered(parts.status.as_u16(), headers::kept(&parts.headers), true);
    let mut stream: Box<dyn CallerStream> = match way(open, deployment) {
        Pair::Translate => Box::new(anthropic::Translator::new(
            open.call.arrived_at.as_secs(),
            asks_usage(request),
            open.pieces_wanted,
            EVENT_BYTES_MAX,
        )),
        Pair::Passthrough | Pair::Unsupported => unchanged(open, request),
    };
    let mut first = Vec::new();
    while are_comments(&first) {
        match body.frame().await {
            Some(Ok(frame)) => {
                let Ok(bytes) = frame.into_data() else { continue };
                open.captured(&bytes);
                stream.push(bytes, &mut first)?;
                if !first.is_empty() && are_comments(&first) {
                    open.nothing_came();
                }
            }
            Some(Err(error)) => return Err(connection_failure(open.provider(), &error).into()),
            None => {
                stream.finish(&mut first)?;
                let headers = headers::to_caller(&parts.headers);
                let (source, deployment) = (Source::Ended, Arc::clone(deployment));
                return Ok(Answer::Stream { headers, first, stream, source, deployment });
            }
        }
    }
    Ok(Answer::Stream {
        headers: headers::to_caller(&parts.headers),
        first,
        stream,
        source: Source::Provider { body, silence_max },
        deployment: Arc::clone(deployment),
    })
}
