//! The connector: resolves a name once, asks `webhook::address` about every address, dials exactly
//! what passed, and speaks TLS over that.
//!
//! Invariant: there is no other way out. Literal addresses take the same way as names, and an
//! answer of which one address must not be dialled is refused whole: who mixes them is probing.

use std::{io, net::SocketAddr, pin::Pin, sync::Arc, task, time::Duration};

use http::{Uri, uri::Scheme};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::{
    net::{TcpStream, lookup_host},
    task::JoinSet,
    time::timeout,
};
use tower::Service;
use webhook::address::{self, Refusal};

/// How long a connection with its TLS session may take to stand. An attempt's own deadline may
/// come first; this one also ends those whose attempt found another connection meanwhile.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

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
    /// It took longer than [`CONNECT_TIMEOUT`].
    #[error("no connection within {} s", CONNECT_TIMEOUT.as_secs())]
    TimedOut,
}

/// Connects to `http` and `https` URLs, guarded and within [`CONNECT_TIMEOUT`].
#[derive(Debug, Clone)]
pub(super) struct Connector(HttpsConnector<GuardedTcp>);

impl Connector {
    pub(super) fn new(allow_private: bool, tls: Arc<ClientConfig>) -> Self {
        Self((GuardedTcp { allow_private }, tls).into())
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = BoxFuture<Self::Response, BoxError>;

    fn poll_ready(&mut self, ctx: &mut task::Context<'_>) -> task::Poll<Result<(), BoxError>> {
        self.0.poll_ready(ctx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            match timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(outcome) => outcome,
                Err(_) => Err(ConnectError::TimedOut.into()),
            }
        })
    }
}

/// Makes TCP connections to addresses that passed.
#[derive(Debug, Clone, Copy)]
struct GuardedTcp {
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
        let allow_private = self.allow_private;
        Box::pin(async move {
            let host = uri.host().ok_or(ConnectError::NoHost)?;
            let is_https = uri.scheme() == Some(&Scheme::HTTPS);
            let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
            let addresses = vet(host, resolve(host, port).await?, allow_private)?;
            let stream = dial(&addresses).await?;
            Ok(TokioIo::new(stream))
        })
    }
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    match lookup_host((bare, port)).await {
        Ok(addresses) => Ok(addresses.collect()),
        Err(source) => Err(ConnectError::Resolve { host: host.to_owned(), source }),
    }
}

/// Passes addresses all of which may be dialled, and at least one.
fn vet(
    host: &str,
    addresses: Vec<SocketAddr>,
    allow_private: bool,
) -> Result<Vec<SocketAddr>, ConnectError> {
    if addresses.is_empty() {
        return Err(ConnectError::NoAddress { host: host.to_owned() });
    }
    for address in &addresses {
        address::check(address.ip(), allow_private)
            .map_err(|source| ConnectError::Refused { host: host.to_owned(), source })?;
    }
    Ok(addresses)
}

/// The first connection that stands. Addresses are tried in the resolver's order, which follows
/// RFC 6724, the next one when the last failed or took too long.
async fn dial(addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    if let [only] = addresses {
        return connect(*only).await;
    }
    let mut waiting = addresses.iter().take(ADDRESSES_MAX).copied();
    let mut attempts = JoinSet::new();
    let mut first_failure = None;
    loop {
        if let Some(address) = waiting.next() {
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

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn an_answer_with_one_bad_address_is_refused_whole() {
        let public = addresses(&["1.1.1.1:443", "[2606:4700:4700::1111]:443"]);
        assert_eq!(vet("a", public.clone(), false).unwrap(), public);
        for bad in ["10.0.0.1:443", "[::1]:443", "[::ffff:192.168.0.1]:443"] {
            let mixed = addresses(&["1.1.1.1:443", bad]);
            let refused = vet("a", mixed.clone(), false);
            assert!(matches!(refused, Err(ConnectError::Refused { .. })), "{bad}");
            assert_eq!(vet("a", mixed.clone(), true).unwrap(), mixed);
        }
        let mixed = addresses(&["10.0.0.1:443", "169.254.169.254:443"]);
        assert!(matches!(vet("a", mixed, true), Err(ConnectError::Refused { .. })));
    }

    #[tokio::test]
    async fn the_next_address_is_dialled_when_one_refuses() {
        let listener = || async { TcpListener::bind("127.0.0.1:0").await.unwrap() };
        let address = |listener: &TcpListener| listener.local_addr().unwrap();
        let live = listener().await;
        let closed = [address(&listener().await), address(&listener().await)];
        let stream = dial(&[closed[0], closed[1], address(&live)]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address(&live));
        let failed = dial(&closed).await;
        assert!(matches!(failed, Err(ConnectError::Dial { .. })), "{failed:?}");
    }

    #[test]
    fn an_empty_answer_is_no_address() {
        assert!(matches!(vet("a", Vec::new(), true), Err(ConnectError::NoAddress { .. })));
    }
}
