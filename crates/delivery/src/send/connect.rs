//! The connector: asks the guard for addresses that passed, dials exactly those or has the proxy dial
//! them, and speaks TLS over that. A name is resolved once for each connection.

use std::{io, net::SocketAddr, pin::Pin, sync::Arc, task, time::Duration};

use http::{Uri, uri::Scheme};
use hyper_rustls::HttpsConnector;
use hyper_util::{client::proxy::matcher::Intercept, rt::TokioIo};
use rustls::ClientConfig;
use tokio::{net::TcpStream, sync::Semaphore, task::JoinSet, time::timeout};
use tower::Service;
use webhook::{address::Refusal, verdict::Phase};

use super::{
    guard::Guard,
    stream::Stream,
    trace::Trace,
    tunnel::{self, Tunnels},
};

/// How long each phase of a connection may take, beside the attempt's own deadline. They also end
/// connections whose attempt found another one meanwhile.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
const TLS_TIMEOUT: Duration = Duration::from_secs(10);

/// How exactly the handshake's limit is kept.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// After which an address that does not answer gets company by the next one (RFC 8305, 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// The most addresses of one answer that are dialled.
const ADDRESSES_MAX: usize = 8;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type BoxFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Why there is no connection. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// The URL names no host.
    #[error("destination's URL has no host")]
    NoHost,
    /// The resolver failed.
    #[error("could not resolve `{host}`")]
    Resolve { host: String, source: io::Error },
    /// The resolver answered with nothing.
    #[error("`{host}` has no address")]
    NoAddress { host: String },
    /// An address must not be dialled.
    #[error("`{host}` must not be a destination")]
    Refused { host: String, source: Refusal },
    /// No address took the connection; this is the first one's failure.
    #[error("could not connect to {address}")]
    Dial { address: SocketAddr, source: io::Error },
    /// The proxy did not connect to any address; this is the first one's failure.
    #[error("could not connect to {address} through the proxy")]
    Proxy { address: SocketAddr, source: BoxError },
    /// All connections that may be open at once are.
    #[error(
        "no connection was free for {} s: all that deliveries may have open at once are in use; allow \
         the gateway more open files",
        .limit.as_secs()
    )]
    NoPlace { limit: Duration },
    /// A phase took longer than it may.
    #[error("{} took more than {} s", phase_name(*.phase), .limit.as_secs())]
    TimedOut { phase: Phase, limit: Duration },
}

const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Resolve => "resolving the name",
        Phase::Tls => "the TLS handshake",
        Phase::Connect | Phase::Send | Phase::Answer => "connecting",
    }
}

/// What all connections share.
#[derive(Debug, Clone)]
pub(super) struct Way {
    pub(super) guard: Arc<Guard>,
    pub(super) proxy: Option<Arc<Tunnels>>,
    /// One for each connection that may be open.
    pub(super) places: Arc<Semaphore>,
}

/// Connects to `http` and `https` URLs, guarded and within the phases' time-outs.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    https: HttpsConnector<GuardedTcp>,
    places: Arc<Semaphore>,
}

impl Connector {
    pub(super) fn new(way: Way, allow_private: bool, tls: Arc<ClientConfig>) -> Self {
        let places = Arc::clone(&way.places);
        Self { https: (GuardedTcp { way, allow_private }, tls).into(), places }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = BoxError;
    type Future = BoxFuture<TokioIo<Stream>, BoxError>;

    fn poll_ready(&mut self, ctx: &mut task::Context<'_>) -> task::Poll<Result<(), BoxError>> {
        self.https.poll_ready(ctx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let trace = Trace::current();
        let places = Arc::clone(&self.places);
        let mut connecting = Box::pin(self.https.call(uri));
        Box::pin(async move {
            trace.enter(Phase::Connect);
            let Ok(place) = timeout(DIAL_TIMEOUT, places.acquire_owned()).await else {
                return Err(ConnectError::NoPlace { limit: DIAL_TIMEOUT }.into());
            };
            let place = place.expect("nobody closes it");
            loop {
                // The phases before TLS have limits of their own; when TLS begins is not known here.
                if let Ok(outcome) = timeout(LOOK_EVERY, connecting.as_mut()).await {
                    trace.end();
                    return Ok(TokioIo::new(Stream::new(outcome?, trace, place)));
                }
                if trace.is_in_tls_for(TLS_TIMEOUT) {
                    let limit = TLS_TIMEOUT;
                    return Err(ConnectError::TimedOut { phase: Phase::Tls, limit }.into());
                }
            }
        })
    }
}

/// Makes TCP connections to addresses that passed.
#[derive(Debug, Clone)]
struct GuardedTcp {
    way: Way,
    allow_private: bool,
}

impl Service<Uri> for GuardedTcp {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = BoxFuture<Self::Response, ConnectError>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), ConnectError>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (trace, allow_private) = (Trace::current(), self.allow_private);
        let Way { guard, proxy, .. } = self.way.clone();
        Box::pin(async move {
            let host = uri.host().ok_or(ConnectError::NoHost)?;
            let is_https = uri.scheme() == Some(&Scheme::HTTPS);
            let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
            trace.enter(Phase::Resolve);
            let resolving = guard.resolve(host, port, allow_private);
            let addresses = within(Phase::Resolve, RESOLVE_TIMEOUT, resolving).await?;
            trace.enter(Phase::Connect);
            let proxy = proxy.and_then(|proxy| proxy.for_destination(&uri));
            let stream = match &proxy {
                Some(proxy) => {
                    let tunneling = dial_through(proxy, &addresses, &trace);
                    within(Phase::Connect, DIAL_TIMEOUT, tunneling).await?
                }
                None => within(Phase::Connect, DIAL_TIMEOUT, dial(&addresses, &trace)).await?,
            };
            let ends = stream.local_addr().and_then(|local| Ok((local, stream.peer_addr()?)));
            let refused = |source| ConnectError::Refused { host: host.to_owned(), source };
            // Behind a proxy, the other end is the proxy.
            if let Ok((local, peer)) = ends
                && proxy.is_none()
            {
                trace.dial(peer);
                guard.vet_connected(local, peer).map_err(refused)?;
            }
            if is_https {
                trace.enter(Phase::Tls);
            }
            Ok(TokioIo::new(stream))
        })
    }
}

async fn within<T>(
    phase: Phase,
    limit: Duration,
    work: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    timeout(limit, work).await.unwrap_or(Err(ConnectError::TimedOut { phase, limit }))
}

/// The first connection that stands. Addresses are tried in the resolver's order, which follows
/// RFC 6724, the next one when the last failed or took too long.
async fn dial(addresses: &[SocketAddr], trace: &Trace) -> Result<TcpStream, ConnectError> {
    if let [only] = addresses {
        trace.dial(*only);
        return connect(*only).await;
    }
    let mut waiting = addresses.iter().take(ADDRESSES_MAX).copied();
    let mut attempts = JoinSet::new();
    let mut first_failure = None;
    loop {
        if let Some(address) = waiting.next() {
            trace.dial(address);
            attempts.spawn(connect(address));
        }
        let is_last = waiting.len() == 0;
        tokio::select! {
            done = attempts.join_next() => match done {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(Ok(Err(error))) => {
                    first_failure.get_or_insert(error);
                }
                // Nobody aborts an attempt, and none panics.
                Some(Err(_)) => {}
                None => {
                    let none = ConnectError::NoAddress { host: String::new() };
                    return Err(first_failure.unwrap_or(none));
                }
            },
            () = tokio::time::sleep(NEXT_ADDRESS_AFTER), if !is_last => {}
        }
    }
}

/// The first connection that the proxy makes.
async fn dial_through(
    proxy: &Intercept,
    addresses: &[SocketAddr],
    trace: &Trace,
) -> Result<TcpStream, ConnectError> {
    let mut first_failure = None;
    for address in addresses.iter().take(ADDRESSES_MAX) {
        trace.dial(*address);
        match tunnel::through(proxy, *address).await {
            Ok(stream) => return Ok(stream),
            Err(source) => {
                first_failure.get_or_insert(ConnectError::Proxy { address: *address, source });
            }
        }
    }
    Err(first_failure.unwrap_or(ConnectError::NoAddress { host: String::new() }))
}

async fn connect(address: SocketAddr) -> Result<TcpStream, ConnectError> {
    let failed = |source| ConnectError::Dial { address, source };
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    // A head and a small body in two packets must not wait for an acknowledgement in between.
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_next_address_is_dialled_when_one_refuses() {
        let listener = || async { TcpListener::bind("127.0.0.1:0").await.unwrap() };
        let address = |listener: &TcpListener| listener.local_addr().unwrap();
        let live = listener().await;
        let closed = [address(&listener().await), address(&listener().await)];
        let trace = Trace::default();
        let stream = dial(&[closed[0], closed[1], address(&live)], &trace).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address(&live));
        let failed = dial(&closed, &trace).await;
        assert!(matches!(failed, Err(ConnectError::Dial { .. })), "{failed:?}");
    }
}
