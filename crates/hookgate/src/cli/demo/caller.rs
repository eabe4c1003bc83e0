//! The demo's calls.

use std::net::SocketAddr;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

/// One of the demo's calls.
pub(super) struct Call {
    /// In words.
    pub(super) what: &'static str,
    body: &'static str,
}

/// The demo's calls, in order.
pub(super) const CALLS: &[Call] = &[
    Call {
        what: "a call",
        body: r#"{"model": "demo", "messages": [{"role": "user", "content": "What do you do?"}]}"#,
    },
    Call {
        what: "a streamed call",
        body: r#"{"model": "demo", "stream": true,
                  "messages": [{"role": "user", "content": "Once more, slowly."}]}"#,
    },
    Call {
        what: "a call that fails",
        body: r#"{"model": "demo-busy", "messages": [{"role": "user", "content": "Now?"}]}"#,
    },
];

/// What the caller saw.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: String,
}

/// Calls the gateway.
pub(super) struct Caller {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
}

impl Caller {
    pub(super) fn new(gateway: SocketAddr) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, url: format!("http://{gateway}/v1/chat/completions") }
    }

    pub(super) async fn call(&self, call: &Call) -> anyhow::Result<Answer> {
        let request = Request::post(&self.url)
            .header("content-type", "application/json")
            .body(Full::from(call.body))
            .context("could not make the demo's request")?;
        let response = self.client.request(request).await.context("could not call the gateway")?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.context("the answer broke off")?.to_bytes();
        Ok(Answer { status, text: text(&body) })
    }
}

/// The answer's text: of a completion, a stream, or an error.
fn text(body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    let mut text = String::new();
    let lines = body.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
    for value in lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let choice = &value["choices"][0];
        let said = choice["message"]["content"]
            .as_str()
            .or_else(|| choice["delta"]["content"].as_str())
            .or_else(|| value["error"]["message"].as_str());
        text.push_str(said.unwrap_or_default());
    }
    text
}
