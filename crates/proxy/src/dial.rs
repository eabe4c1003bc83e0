//! How connections to providers are made: straight, or through the proxy that the operator named.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use domain::outbound::{ForwardProxy, Outbound};
use http::{Uri, uri::Scheme};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::{
        legacy::connect::{HttpConnector, proxy::Tunnel},
        proxy::matcher::Matcher,
    },
    rt::TokioIo,
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use tokio::net::TcpStream;
use tower::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The proxy did not make the connection.
#[derive(Debug, thiserror::Error)]
#[error("could not connect through the proxy")]
struct ProxyError(#[source] BoxError);

/// Connects to providers over TLS or without, and believes those who sign for the whole world and
/// whom the operator adds.
pub(crate) fn connector(outbound: &Outbound) -> HttpsConnector<Dial> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for root in &outbound.extra_roots {
        roots.add(root.as_slice().into()).expect("the configuration has checked it");
    }
    let tls = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(Dial::new(outbound.proxy.as_ref()))
}

/// Makes TCP connections.
#[derive(Debug, Clone)]
pub(crate) struct Dial {
    direct: HttpConnector,
    proxy: Option<Arc<Matcher>>,
}

impl Dial {
    fn new(proxy: Option<&ForwardProxy>) -> Self {
        let mut direct = HttpConnector::new();
        direct.set_nodelay(true);
        direct.enforce_http(false);
        direct.set_keepalive(Some(Duration::from_mins(1)));
        let matcher = |proxy: &ForwardProxy| {
            let matcher = Matcher::builder().all(proxy.url.expose()).no(proxy.except.join(","));
            Arc::new(matcher.build())
        };
        Self { direct, proxy: proxy.map(matcher) }
    }
}

impl Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.direct.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Some(proxy) = self.proxy.as_ref().and_then(|proxy| proxy.intercept(&uri)) else {
            let connecting = self.direct.call(uri);
            return Box::pin(async move { Ok(connecting.await?) });
        };
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.direct.clone());
        if let Some(credentials) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(credentials.clone());
        }
        let connecting = tunnel.call(with_port(uri));
        Box::pin(async move { Ok(connecting.await.map_err(|e| ProxyError(e.into()))?) })
    }
}

/// The same with its port written out: a tunnel takes 443 where there is none.
fn with_port(uri: Uri) -> Uri {
    let (Some(host), None, Some("http")) = (uri.host(), uri.port(), uri.scheme_str()) else {
        return uri;
    };
    let authority = format!("{host}:80");
    let named = Uri::builder().scheme(Scheme::HTTP).authority(authority).path_and_query("/");
    named.build().unwrap_or(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_goes_to_the_port_that_the_url_means() {
        for (uri, port) in [
            ("http://a.example/v1", Some(80)),
            ("http://a.example:8000/v1", Some(8000)),
            ("http://[::1]/v1", Some(80)),
            ("https://a.example/v1", None),
        ] {
            let with_port = with_port(uri.parse().unwrap());
            assert_eq!(with_port.port_u16(), port, "{with_port}");
        }
    }
}
