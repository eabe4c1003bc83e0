//! The client that asks providers.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use domain::{
    failure::{Failure, FailureKind},
    outbound::Outbound,
};
use http::Uri;
use http_body::{Body, Frame, SizeHint};
use hyper::{
    Request, Response,
    body::Incoming,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{
        self, Client,
        connect::{Connected, Connection, capture_connection},
    },
    rt::{TokioExecutor, TokioTimer},
};
use tower::Service;

use crate::dial::{self, Dial};

/// How long a connection may take to be made, name look-up and TLS handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an idle connection is kept. Shorter than providers keep theirs, so that a request seldom
/// meets one that is just being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);
/// How soon after sending a reused connection must have closed for its call to be sent again. An
/// idle connection that is gone answers a write within a round trip, 250 ms around the world; a
/// provider that closes later may have worked on the request, and would bill it twice.
const DEAD_WITHIN: Duration = Duration::from_millis(250);
/// Idle connections kept per provider.
const IDLE_MAX: usize = 256;

/// Asks providers over pooled HTTP/1.1 connections, one call a connection at a time: no call waits
/// for another's stream, and no HTTP/2 stream limit of a single connection bounds them all.
#[derive(Clone)]
pub(crate) struct Upstream {
    client: Client<Connector, RequestBody>,
}

/// Why a provider gave no answer.
#[derive(Debug)]
pub(crate) struct SendError {
    pub(crate) cause: legacy::Error,
    /// The connection had served another call and was closed as soon as the request was written:
    /// nobody worked on the request, and it should be sent again.
    pub(crate) on_dead_connection: bool,
}

impl Upstream {
    pub(crate) fn new(outbound: &Outbound) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            .build(Connector(dial::connector(outbound)));
        Self { client }
    }

    /// Sends a request and returns the answer's head; the body is still to be read.
    pub(crate) async fn send(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendError> {
        let connection = capture_connection(&mut request);
        let sent_at = Instant::now();
        let answered = self.client.request(request).await;
        let served = connection.connection_metadata().as_ref().and_then(|connected| {
            let mut extras = http::Extensions::new();
            connected.get_extras(&mut extras);
            extras.remove::<HasServed>()
        });
        match answered {
            Ok(response) => {
                if let Some(served) = served {
                    served.0.store(true, Ordering::Relaxed);
                }
                Ok(response)
            }
            Err(cause) => {
                let was_used = served.is_some_and(|served| served.0.load(Ordering::Relaxed));
                let on_dead_connection =
                    was_used && sent_at.elapsed() < DEAD_WITHIN && is_close(&cause);
                Err(SendError { cause, on_dead_connection })
            }
        }
    }
}

/// A request's body in pieces.
#[derive(Debug)]
pub(crate) struct RequestBody {
    pieces: std::vec::IntoIter<Bytes>,
    left: usize,
}

impl From<Vec<Bytes>> for RequestBody {
    fn from(pieces: Vec<Bytes>) -> Self {
        let left = pieces.iter().map(Bytes::len).sum();
        Self { pieces: pieces.into_iter(), left }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = self.pieces.next();
        self.left -= piece.as_ref().map_or(0, Bytes::len);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

/// Whether a connection was closed or reset before the head of an answer.
fn is_close(error: &legacy::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let incomplete = error.downcast_ref::<hyper::Error>();
        let broken = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if incomplete.is_some_and(hyper::Error::is_incomplete_message)
            || matches!(broken, Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe))
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Whether a connection has served a call before.
#[derive(Debug, Clone, Default)]
struct HasServed(Arc<AtomicBool>);

/// Makes connections that remember whether they have served.
#[derive(Clone)]
struct Connector(HttpsConnector<Dial>);

type HttpsStream = <HttpsConnector<Dial> as Service<Uri>>::Response;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
            let inner = connected.map_err(|_| {
                let message = format!("no connection within {CONNECT_TIMEOUT:?}");
                io::Error::new(io::ErrorKind::TimedOut, message)
            })??;
            Ok(Stream { inner, has_served: HasServed::default() })
        })
    }
}

struct Stream {
    inner: HttpsStream,
    has_served: HasServed,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.inner.connected().extra(self.has_served.clone())
    }
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bytes)
    }
}

/// A failure to reach a provider, with the whole chain of causes in its message.
pub(crate) fn connection_failure(provider: &str, error: &dyn std::error::Error) -> Failure {
    let mut message = format!("could not get an answer from provider `{provider}`: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        message.push_str(": ");
        message.push_str(&error.to_string());
        cause = error.source();
    }
    failure(FailureKind::Connection, 502, message)
}

/// A failure without a provider's own code or type.
pub(crate) fn failure(kind: FailureKind, status: u16, message: String) -> Failure {
    Failure::new(kind, status, message)
}

/// A chain of causes: whether it ends in a body that is longer than allowed.
pub(crate) fn is_length_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<http_body_util::LengthLimitError>()
        || error
            .source()
            .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
}
