//! The one guarded HTTP client for everything that goes to destinations.
//!
//! Makes one attempt and reports what came of it. `webhook::request` says what is sent,
//! `webhook::address` where it may go, `webhook::verdict` what the answer means, the lane whether
//! there is another attempt. Redirects are not followed.
//!
//! Invariant: a receiver gets at most `timeout` of our time and [`ANSWER_BYTES_MAX`] of its body
//! into our memory, whatever it does; nothing that it sends can cause a panic.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use domain::{
    delivery::Timings,
    destination::{Destination, Method, Tls},
    network::Network,
    outbound::ForwardProxy,
};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use rustls::RootCertStore;
use store::journal::BoxFuture;
use tokio::time::{Instant, timeout_at};
use url::Url;
use webhook::request::Request;
pub use webhook::verdict::{Answer, Phase, SendError, SendErrorKind};

use self::{
    clients::{Clients, HttpClient},
    pieces::Pieces,
    stream::Origin,
    trace::{TRACE, Trace, millis},
};
pub use self::{
    clients::{TlsError, check_tls},
    guard::{Resolve, Resolving, SystemResolver},
};

mod clients;

mod guard;

mod tunnel;

mod connect;

mod stream;

mod trace;

mod explain;

mod pieces;

/// The most of an answer's body that is read. The connection of a longer one is closed.
pub const ANSWER_BYTES_MAX: usize = 16 << 10;

/// Connections at once, unless the machine sets another bound.
const CONNECTIONS_MAX: usize = 10_000;

/// By which receivers say that they want no more (Svix's convention).
const WEBHOOK_DELIVERY: HeaderName = HeaderName::from_static("webhook-delivery");

/// How long an answer's body may take after its head: the status is known, so nobody waits for a
/// body that drips.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a timeout that is out of any range is taken for.
const TIMEOUT_MAX: Duration = Duration::from_hours(24);

/// What makes attempts: the guarded client, or a model of receivers in a simulation.
pub trait Transport: Send + Sync + 'static {
    /// Makes one attempt, as [`Sender::send`] does.
    fn send<'a>(&'a self, request: Request, limits: SendLimits<'a>) -> BoxFuture<'a, Sent>;
}

impl Transport for Sender {
    fn send<'a>(&'a self, request: Request, limits: SendLimits<'a>) -> BoxFuture<'a, Sent> {
        Box::pin(Self::send(self, request, limits))
    }
}

/// Sends requests. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct Sender(Arc<Clients>);

/// What a sender may reach, how, and whom it believes.
pub struct Egress {
    /// Root certificates, for destinations that have none of their own.
    pub roots: RootCertStore,
    /// What makes connections, if the gateway itself may not. It gets addresses that were vetted
    /// here, never names.
    pub proxy: Option<ForwardProxy>,
    /// Connections at once, those included that wait in the pool to be used again.
    pub connections_max: usize,
    /// Private networks that every destination may be in.
    pub networks: Vec<Network>,
    /// What makes addresses of names.
    pub resolver: Box<dyn Resolve>,
}

impl Egress {
    /// The bundled root certificates, the machine's resolver, and no private network.
    pub fn bundled() -> Self {
        let roots = webpki_roots::TLS_SERVER_ROOTS.to_vec();
        Self {
            roots: RootCertStore { roots },
            proxy: None,
            connections_max: CONNECTIONS_MAX,
            networks: Vec::new(),
            resolver: Box::new(SystemResolver),
        }
    }
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
pub struct SendLimits<'a> {
    /// One deadline for resolving, connecting, sending and reading the answer.
    pub timeout: Duration,
    /// Whether private addresses may be dialled.
    pub allow_private: bool,
    /// Whom it believes and what it shows, where that differs from the sender's own.
    pub tls: Option<&'a Tls>,
}

impl<'a> SendLimits<'a> {
    /// What attempts at a destination may do.
    pub fn of(destination: &'a Destination) -> Self {
        Self {
            timeout: destination.timeout,
            allow_private: destination.allow_private,
            tls: destination.tls.as_ref(),
        }
    }
}

/// What came of one attempt.
#[derive(Debug, Clone)]
pub struct Sent {
    /// How long it took.
    pub duration: Duration,
    /// Where that time went.
    pub timings: Timings,
    /// Whom it spoke to, or tried to.
    pub address: Option<SocketAddr>,
    /// The receiver's answer, or why there is none.
    pub answer: Result<Answer, SendError>,
}

impl Sent {
    /// How long it took, in whole milliseconds.
    pub fn duration_ms(&self) -> u32 {
        millis(self.duration)
    }

    fn refused(message: &str) -> Self {
        let (kind, message) = (SendErrorKind::Request, message.to_owned());
        Self {
            duration: Duration::ZERO,
            timings: Timings::default(),
            address: None,
            answer: Err(SendError { kind, message }),
        }
    }
}

impl Sender {
    /// Makes a sender that trusts the bundled root certificates.
    pub fn new() -> Result<Self, SenderError> {
        Self::with(Egress::bundled())
    }

    /// Makes a sender of one's own: with a company's certificates, say.
    pub fn with(egress: Egress) -> Result<Self, SenderError> {
        Ok(Self(Arc::new(Clients::new(egress)?)))
    }

    /// The gateway listens there: from now on no connection to it is made.
    pub fn refuse_listener(&self, listener: SocketAddr) {
        self.0.guard().refuse(listener);
    }

    /// Makes one attempt: no retry but for a pooled connection that was dead before any byte was
    /// sent, no redirect. Must run inside a tokio runtime with network and time.
    ///
    /// Once the status is there it is the answer, whatever becomes of the body: a body that does
    /// not end ends at the deadline.
    pub async fn send(&self, request: Request, limits: SendLimits<'_>) -> Sent {
        let client = match self.0.get(limits.allow_private, limits.tls) {
            Ok(client) => client,
            Err(error) => return Sent::refused(&explain::chain(&error)),
        };
        let started = Instant::now();
        let deadline = started + limits.timeout.min(TIMEOUT_MAX);
        let trace = Arc::new(Trace::default());
        let attempt = attempt(&client, request, deadline, &trace);
        let (address, timings, answer) = TRACE.scope(Arc::clone(&trace), attempt).await;
        Sent { duration: started.elapsed(), timings, address, answer }
    }
}

type Seen = (Option<SocketAddr>, Timings, Result<Answer, SendError>);

async fn attempt(
    client: &HttpClient,
    request: Request,
    deadline: Instant,
    trace: &Arc<Trace>,
) -> Seen {
    let mut request = match http_request(request) {
        Ok(request) => request,
        Err(message) => {
            let Sent { address, timings, answer, .. } = Sent::refused(message);
            return (address, timings, answer);
        }
    };
    let begun = Instant::now();
    let taken = request.body().taken();
    let connection = capture_connection(&mut request);
    let outcome = timeout_at(deadline, client.request(request)).await;
    let (address, mut timings) = connection_of(&connection, trace);
    let connected = [timings.dns_ms, timings.connect_ms, timings.tls_ms].into_iter().flatten();
    let connected = Duration::from_millis(connected.map(u64::from).sum());
    let answer = match outcome {
        Ok(Ok(response)) => {
            timings.answer_ms = Some(millis(begun.elapsed().saturating_sub(connected)));
            let body_begun = Instant::now();
            let answer = read(response, deadline.min(body_begun + BODY_TIMEOUT)).await;
            timings.body_ms = Some(millis(body_begun.elapsed()));
            Ok(answer)
        }
        Ok(Err(error)) => Err(explain::failed(&error)),
        Err(_) => {
            let phase = match trace.phase() {
                Some(phase) => phase,
                None if taken.load(Ordering::Relaxed) => Phase::Answer,
                None => Phase::Send,
            };
            if matches!(phase, Phase::Answer | Phase::Send) {
                timings.answer_ms = Some(millis(begun.elapsed().saturating_sub(connected)));
            }
            Err(explain::timed_out(phase, received_on(&connection)))
        }
    };
    (address, timings, answer)
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

/// Whom the attempt spoke to, or tried to, and how the connection came about: with no phases if it
/// stood already.
fn connection_of(
    connection: &CaptureConnection,
    trace: &Arc<Trace>,
) -> (Option<SocketAddr>, Timings) {
    match origin_of(connection) {
        Some(Origin { made_by, .. }) if !Arc::ptr_eq(&made_by, trace) => {
            (made_by.address(), Timings::default())
        }
        _ => (trace.address(), trace.timings()),
    }
}

/// Bytes that the receiver answered with so far.
fn received_on(connection: &CaptureConnection) -> usize {
    origin_of(connection).map_or(0, |origin| origin.received.load(Ordering::Relaxed))
}

fn origin_of(connection: &CaptureConnection) -> Option<Origin> {
    let mut extras = http::Extensions::new();
    connection.connection_metadata().as_ref()?.get_extras(&mut extras);
    extras.remove()
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
        control: text(WEBHOOK_DELIVERY),
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
