//! The way through an HTTP proxy (`CONNECT`).
//!
//! Invariant: the proxy is asked for an address that the guard passed, never for a name, so that it
//! has nothing to resolve. The proxy itself is the operator's choice and is not vetted.

use std::net::SocketAddr;

use domain::outbound::ForwardProxy;
use http::Uri;
use hyper_util::client::{
    legacy::connect::{HttpConnector, proxy::Tunnel},
    proxy::matcher::{Intercept, Matcher},
};
use tokio::net::TcpStream;
use tower::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Which destinations are reached through the proxy, and how.
#[derive(Debug)]
pub(super) struct Tunnels(Matcher);

impl Tunnels {
    pub(super) fn new(proxy: &ForwardProxy) -> Self {
        let matcher = Matcher::builder().all(proxy.url.expose()).no(proxy.except.join(","));
        Self(matcher.build())
    }

    /// The proxy for a destination, if it is not reached without.
    pub(super) fn for_destination(&self, uri: &Uri) -> Option<Intercept> {
        self.0.intercept(uri)
    }
}

/// Asks the proxy for a connection to this address.
pub(super) async fn through(proxy: &Intercept, address: SocketAddr) -> Result<TcpStream, BoxError> {
    let mut http = HttpConnector::new();
    http.set_nodelay(true);
    let mut tunnel = Tunnel::new(proxy.uri().clone(), http);
    if let Some(credentials) = proxy.basic_auth() {
        tunnel = tunnel.with_auth(credentials.clone());
    }
    let target = Uri::builder().scheme("http").authority(address.to_string()).path_and_query("/");
    let target = target.build().expect("an address is an authority");
    Ok(tunnel.call(target).await?.into_inner())
}
