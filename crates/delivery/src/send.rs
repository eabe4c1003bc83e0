//! The one guarded HTTP client for everything that goes to destinations.
//!
//! Makes one attempt and reports what came of it. `webhook::request` says what is sent,
//! `webhook::address` where it may go, `webhook::verdict` what the answer means, the lane whether
//! there is another attempt. Redirects are not followed.
//!
//! Invariant: a receiver gets at most `timeout` of our time and [`ANSWER_BYTES_MAX`] of its body
//! into our memory, whatever it does; nothing that it sends can cause a panic.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use domain::destination::Method;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{
        Client,
        connect::{CaptureConnection, HttpInfo, capture_connection},
    },
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use tokio::time::{Instant, timeout_at};
use url::Url;
use webhook::request::Request;
pub use webhook::verdict::{Answer, Phase, SendError, SendErrorKind};

use self::{connect::Connector, pieces::Pieces};

mod connect;

mod explain;

mod pieces;

/// The most of an answer's body that is read. The connection of a longer one is closed.
pub const ANSWER_BYTES_MAX: usize = 16 << 10;

/// The most that an answer's head may take, 1xx answers before it not counted.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// How long an unused connection is kept: less than the 5 s after which common servers (Node,
/// uvicorn) close theirs, so that we seldom send into a connection that is just being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Unused connections kept for one receiver.
const IDLE_CONNECTIONS_MAX: usize = 32;

/// What a timeout that is out of any range is taken for.
const TIMEOUT_MAX: Duration = Duration::from_hours(24);

type HttpClient = Client<Connector, Pieces>;

/// Sends requests. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct Sender {
    /// For destinations that may be private.
    private: HttpClient,
    /// For all others. Two clients, so that no destination gets a connection that it could not
    /// have made itself.
    strict: HttpClient,
}

/// Why there is no sender.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    /// The TLS library refused its own defaults.
    #[error("could not set up TLS")]
    Tls(#[source] rustls::Error),
}

/// What one attempt may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendLimits {
    /// One deadline for resolving, connecting, sending and reading the answer.
    pub timeout: Duration,
    /// Whether private addresses may be dialled.
    pub allow_private: bool,
}

/// What came of one attempt.
#[derive(Debug, Clone)]
pub struct Sent {
    /// How long it took.
    pub duration: Duration,
    /// Whom it spoke to, if a connection was made.
    pub address: Option<SocketAddr>,
    /// The receiver's answer, or why there is none.
    pub answer: Result<Answer, SendError>,
}

impl Sender {
    /// Makes a sender that trusts the bundled root certificates.
    pub fn new() -> Result<Self, SenderError> {
        let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned();
        Self::with_roots(RootCertStore { roots: roots.collect() })
    }

    /// Makes a sender that trusts these root certificates and no others: a company's own, say.
    pub fn with_roots(roots: RootCertStore) -> Result<Self, SenderError> {
        let mut tls = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(SenderError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tls = Arc::new(tls);
        let client = |allow_private| {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
                .http1_max_buf_size(HEAD_BYTES_MAX)
                // Receivers that compare names by case expect the documents' spelling.
                .http1_title_case_headers(true)
                .build(Connector::new(allow_private, Arc::clone(&tls)))
        };
        Ok(Self { private: client(true), strict: client(false) })
    }

    /// Makes one attempt: no retry but for a pooled connection that was dead before any byte was
    /// sent, no redirect. Must run inside a tokio runtime with network and time.
    ///
    /// Once the status is there it is the answer, whatever becomes of the body: a body that does
    /// not end ends at the deadline.
    pub async fn send(&self, request: Request, limits: SendLimits) -> Sent {
        let started = Instant::now();
        let deadline = started + limits.timeout.min(TIMEOUT_MAX);
        let client = if limits.allow_private { &self.private } else { &self.strict };
        let (address, answer) = attempt(client, request, deadline).await;
        Sent { duration: started.elapsed(), address, answer }
    }
}

async fn attempt(
    client: &HttpClient,
    request: Request,
    deadline: Instant,
) -> (Option<SocketAddr>, Result<Answer, SendError>) {
    let mut request = match http_request(request) {
        Ok(request) => request,
        Err(message) => {
            let message = message.to_owned();
            return (None, Err(SendError { kind: SendErrorKind::Request, message }));
        }
    };
    let connection = capture_connection(&mut request);
    let outcome = timeout_at(deadline, client.request(request)).await;
    let address = address_of(&connection);
    let answer = match outcome {
        Ok(Ok(response)) => Ok(read(response, deadline).await),
        Ok(Err(error)) => Err(explain::failed(&error)),
        Err(_) => {
            let phase = if address.is_some() { Phase::Answer } else { Phase::Connect };
            Err(explain::timed_out(phase))
        }
    };
    (address, answer)
}

/// The request as the client takes it, or why there is none. `Host` and `Content-Length` are the
/// client's. The message shows no URL and no value: both may hold secrets.
fn http_request(request: Request) -> Result<http::Request<Pieces>, &'static str> {
    // `Url` brings every spelling of a host into one form; `Uri` would take some as they are.
    let url = Url::parse(&request.url).map_err(|_| "destination's URL is not absolute")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("destination's URL is neither http nor https");
    }
    let uri = Uri::try_from(String::from(url))
        .map_err(|_| "destination's URL has characters that HTTP cannot carry")?;
    let mut headers = HeaderMap::with_capacity(request.headers.len() + 2);
    // Nothing is unpacked here, so nothing small can become large.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    for (name, value) in request.headers {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| "a header's name is not a token")?;
        let value = HeaderValue::from_maybe_shared(Bytes::from(value))
            .map_err(|_| "a header's value has a control character")?;
        headers.append(name, value);
    }
    let mut made = http::Request::new(Pieces::new(&request.body));
    *made.method_mut() = match request.method {
        Method::Post => http::Method::POST,
        Method::Put => http::Method::PUT,
    };
    *made.uri_mut() = uri;
    *made.headers_mut() = headers;
    Ok(made)
}

fn address_of(connection: &CaptureConnection) -> Option<SocketAddr> {
    let mut extras = http::Extensions::new();
    connection.connection_metadata().as_ref()?.get_extras(&mut extras);
    extras.get::<HttpInfo>().map(HttpInfo::remote_addr)
}

async fn read(response: http::Response<Incoming>, deadline: Instant) -> Answer {
    let text = |name| {
        let value: Option<&HeaderValue> = response.headers().get(name);
        value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Answer {
        status: response.status().as_u16(),
        retry_after: text(header::RETRY_AFTER),
        location: text(header::LOCATION),
        body_start: read_start(response.into_body(), deadline).await,
    }
}

/// The body up to [`ANSWER_BYTES_MAX`], its end, its failure or the deadline. A body read to its
/// end leaves its connection for the next attempt; any other closes it.
async fn read_start(mut body: Incoming, deadline: Instant) -> Bytes {
    let mut start = BytesMut::new();
    while let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await {
        let Some(data) = frame.data_ref() else { continue };
        let room = ANSWER_BYTES_MAX - start.len();
        if room < data.len() {
            start.extend_from_slice(&data[..room]);
            break;
        }
        start.extend_from_slice(data);
    }
    start.freeze()
}
