//! The demo's receiver: checks signatures as a receiver's developer would, and tells what came.

use std::{fmt, net::SocketAddr, sync::Arc};

use anyhow::Context;
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use domain::{
    destination::{SignatureAlgorithm, SignedContent, Signing},
    secret::Secret,
    time::{Clock, SystemClock},
};
use serde_json::Value;
use tokio::{net::TcpListener, sync::mpsc};
use webhook::sign::{verify_gateway, verify_standard};

/// Seed 002's `timestamp_tolerance_ms`.
const TOLERANCE_MS: u64 = 300_000;

/// A webhook that came.
pub(super) struct Arrived {
    headers: HeaderMap,
    body: Value,
    pub(super) verified: bool,
    signed_by: Vec<&'static str>,
}

struct Receiver {
    signing: Signing,
    arrivals: mpsc::Sender<Arrived>,
}

/// Starts the receiver on a free port of this machine.
pub(super) async fn start(
    secret: &str,
    arrivals: mpsc::Sender<Arrived>,
) -> anyhow::Result<SocketAddr> {
    let signing = Signing {
        secrets: vec![Secret::new(secret)],
        algorithm: SignatureAlgorithm::Sha256,
        header: "X-Webhook-Signature".to_owned(),
        signed_content: SignedContent::TimestampAndBody,
    };
    let receiver = Arc::new(Receiver { signing, arrivals });
    let router =
        Router::new().route("/events", post(take)).route("/log", post(take)).with_state(receiver);
    let listener = TcpListener::bind("127.0.0.1:0").await.context("could not start a receiver")?;
    let address = listener.local_addr().context("could not read the receiver's address")?;
    tokio::runtime::Handle::current().spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

async fn take(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) {
    let signed_by = receiver.signatures(&headers, &body);
    let arrived = Arrived {
        verified: !signed_by.is_empty(),
        signed_by,
        body: serde_json::from_slice(&body).unwrap_or_default(),
        headers,
    };
    // The demo may have ended; then nobody looks at what still comes.
    let _ = receiver.arrivals.send(arrived).await;
}

impl Receiver {
    /// The headers whose signatures are right; none if any is wrong.
    fn signatures(&self, headers: &HeaderMap, body: &[u8]) -> Vec<&'static str> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let now = SystemClock.now();
        let mut good = Vec::new();
        if let (Some(signature), Some(id), Some(timestamp)) =
            (text("webhook-signature"), text("webhook-id"), text("webhook-timestamp"))
        {
            let signing = &self.signing;
            if verify_standard(signing, id, timestamp, signature, body, now, TOLERANCE_MS).is_err()
            {
                return Vec::new();
            }
            good.push("webhook-signature");
        }
        if let (Some(signature), Some(timestamp)) =
            (text("x-webhook-signature"), text("x-webhook-timestamp"))
        {
            let signing = &self.signing;
            if verify_gateway(signing, signature, timestamp, body, now, TOLERANCE_MS).is_err() {
                return Vec::new();
            }
            good.push("X-Webhook-Signature");
        }
        good
    }
}

impl Arrived {
    /// Whether it is a call's outcome, after which nothing comes for it.
    pub(super) fn is_outcome(&self) -> bool {
        matches!(self.body["event"].as_str(), Some("completion" | "error"))
    }

    /// How many of LiteLLM's payloads it holds.
    pub(super) fn payloads(&self) -> usize {
        self.body.as_array().map_or(0, Vec::len)
    }
}

impl fmt::Display for Arrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or("?");
        let body = &self.body;
        match body["event"].as_str() {
            Some("streaming") => write!(
                f,
                "  ← streaming   tokens {}–{}: {}",
                body["token_index_first"], body["token_index"], body["content"]
            )?,
            Some("error") => write!(
                f,
                "  ← error       {}: {}",
                body["error_type"].as_str().unwrap_or_default(),
                body["error_message"].as_str().unwrap_or_default()
            )?,
            Some(event) => write!(
                f,
                "  ← {event:<11} {} tokens, ${}, {} ms",
                body["tokens_used"], body["cost_usd"], body["latency_ms"]
            )?,
            None => {
                write!(f, "  ← {} payloads:", self.payloads())?;
                for payload in body.as_array().into_iter().flatten() {
                    let status = payload["status"].as_str().unwrap_or_default();
                    write!(f, " {status} ${}", payload["response_cost"])?;
                }
            }
        }
        let signed = if self.verified { self.signed_by.join(" and ") } else { "NO".to_owned() };
        write!(f, "\n                id {id}\n                signature verified: {signed}")
    }
}
