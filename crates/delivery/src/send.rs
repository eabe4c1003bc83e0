//! The one guarded HTTP client for everything that goes to destinations.

use std::{net::SocketAddr, time::Duration};

use webhook::request::Request;
pub use webhook::verdict::{Answer, Phase, SendError, SendErrorKind};

/// Sends requests. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct Sender {}

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
    /// Makes a sender with the bundled root certificates.
    pub fn new() -> Result<Self, SenderError> {
        unimplemented!()
    }

    /// Makes one attempt: no retry but for a pooled connection that was dead before any byte was
    /// sent, no redirect. Must run inside a tokio runtime with network and time.
    pub async fn send(&self, request: Request, limits: SendLimits) -> Sent {
        let _ = (request, limits);
        unimplemented!()
    }
}
