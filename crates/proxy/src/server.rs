//! The listener: takes connections within a bound, serves them, and drains them when told to stop.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{deadline::WriteDeadline, doors, gateway::Gateway, service::serve};

/// How long calls that were cut off may take to write their errors.
const CUT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it is said how many refused calls were not reported, if any were not.
const UNREPORTED_INTERVAL: Duration = Duration::from_mins(1);
/// How long to wait before accepting again when the system has no room for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What the HTTP parser itself takes of a request's head. It answers a bare 431 beyond; the
/// configured bound, below it, is answered in the caller's dialect.
const PARSER_BYTES_MAX: usize = 1 << 20;
const PARSER_HEADERS_MAX: usize = 1024;

/// Serves callers until it is told to stop.
pub struct Server {
    gateway: Arc<Gateway>,
    listener: TcpListener,
    doors: Doors,
}

/// Doors of others beside the LLM API, such as those that manage destinations.
///
/// Their requests carry two extensions: `Result<Caller, Refusal>`, who calls or why they may not,
/// on which the door decides and answers in its own shape; and [`ClientAddr`].
#[derive(Debug, Clone)]
pub struct Doors {
    /// Answers requests at the paths that it owns.
    pub router: Router,
    /// Whether a path is one of its own.
    pub owns: fn(&str) -> bool,
}

impl Doors {
    /// No doors.
    pub fn none() -> Self {
        Self { router: Router::new(), owns: |_| false }
    }
}

/// Where a request came from: an extension of requests to doors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddr(pub SocketAddr);

/// The doors of both kinds, as each connection has them.
#[derive(Clone)]
pub(crate) struct AllDoors {
    pub(crate) own: Router,
    pub(crate) others: Doors,
}

/// How a server stops: `drain` ends accepting, `cut` ends what is still running.
#[derive(Debug, Clone, Default)]
pub struct Stopping {
    /// No new calls.
    pub drain: CancellationToken,
    /// No more waiting: a second signal, say.
    pub cut: CancellationToken,
}

impl Server {
    /// Serves what `gateway` knows on `listener`: the LLM API, its own doors, and `doors` at the
    /// paths that they own.
    pub fn new(gateway: Arc<Gateway>, listener: TcpListener, doors: Doors) -> Self {
        Self { gateway, listener, doors }
    }

    /// Runs until `stopping.drain`; then lets running calls finish within the drain time-out, cuts
    /// off those that did not, and returns once every connection is closed.
    pub async fn run(self, stopping: Stopping) {
        let Self { gateway, listener, doors } = self;
        let doors = AllDoors { own: doors::router(Arc::clone(&gateway)), others: doors };
        let places = Arc::new(Semaphore::new(gateway.config.limits.connections_max));
        let mut connections = JoinSet::new();
        let mut minutes = tokio::time::interval(UNREPORTED_INTERVAL);
        loop {
            let accepted = tokio::select! {
                biased;
                () = stopping.drain.cancelled() => break,
                accepted = accept(&listener, &places) => accepted,
                Some(_) = connections.join_next() => continue,
                _ = minutes.tick() => {
                    gateway.refusals.log_unreported();
                    continue;
                }
            };
            let Some((stream, peer, place)) = accepted else { continue };
            let serving = Serving {
                gateway: Arc::clone(&gateway),
                doors: doors.clone(),
                drain: stopping.drain.clone(),
            };
            connections.spawn(async move {
                serving.connection(stream, peer).await;
                drop(place);
            });
        }
        gateway.refusals.log_unreported();
        // First: who still gets in, or is in, is told.
        gateway.draining.cancel();
        drop(listener);
        let drained = async { while connections.join_next().await.is_some() {} };
        let drain_timeout = gateway.config.drain_timeout;
        tokio::select! {
            () = drained => return,
            () = tokio::time::sleep(drain_timeout) => {}
            () = stopping.cut.cancelled() => {}
        }
        gateway.cut.cancel();
        let running = connections.len();
        tracing::warn!(running, "Calls that were still running are cut off.");
        let closed = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(CUT_TIMEOUT, closed).await.is_err() {
            connections.shutdown().await;
        }
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, place)),
        Err(error) => {
            tracing::warn!(%error, "A connection could not be accepted.");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// What one connection needs.
struct Serving {
    gateway: Arc<Gateway>,
    doors: AllDoors,
    drain: CancellationToken,
}

impl Serving {
    async fn connection(self, stream: TcpStream, peer: SocketAddr) {
        // Without it each short answer waits up to 40 ms for the peer's delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "A connection keeps Nagle's delay.");
        }
        let Self { gateway, doors, drain } = self;
        let limits = &gateway.config.limits;
        let header_read_timeout = limits.header_read_timeout;
        let stream = WriteDeadline::new(stream, limits.write_timeout);
        let service =
            service_fn(|request| serve(Arc::clone(&gateway), doors.clone(), peer, request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_read_timeout)
            .max_buf_size(PARSER_BYTES_MAX)
            .max_headers(PARSER_HEADERS_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = drain.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        // The caller's fault or its leaving; each call on the connection has its own outcome.
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "A connection ended early.");
        }
    }
}
