//! The client that asks providers.

use std::time::Duration;

use bytes::Bytes;
use domain::failure::{Failure, FailureKind};
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an idle connection is kept. Shorter than providers keep theirs, so that a request seldom
/// meets one that is just being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);
/// Idle connections kept per provider.
const IDLE_MAX: usize = 256;

/// Asks providers over pooled HTTP/1.1 connections, one call a connection at a time: no call waits
/// for another's stream, and no HTTP/2 stream limit of a single connection bounds them all.
#[derive(Clone)]
pub(crate) struct Upstream {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Upstream {
    pub(crate) fn new() -> Self {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        http.set_keepalive(Some(Duration::from_mins(1)));
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        // A request whose pooled connection died before any of it was sent is sent again once on a
        // new one: that is the client's `retry_canceled_requests`, on by default.
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            .build(https);
        Self { client }
    }

    /// Sends a request and returns the answer's head; the body is still to be read.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
        self.client.request(request).await
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
    Failure {
        kind,
        status,
        message,
        code: None,
        provider_type: None,
        param: None,
        retry_after_secs: None,
    }
}

/// A chain of causes: whether it ends in a body that is longer than allowed.
pub(crate) fn is_length_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<http_body_util::LengthLimitError>()
        || error
            .source()
            .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
}
