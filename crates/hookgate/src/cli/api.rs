//! A running gateway's management API, as commands ask it.
//!
//! Invariant: the master key comes from the environment, never from the command line, where others
//! on the machine could read it.

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Uri};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

use crate::config::Environment;

/// Where a gateway listens unless it is told otherwise.
pub(super) const GATEWAY: &str = "http://127.0.0.1:4000";
/// What holds the master key; the first that is set.
pub(super) const KEYS: [&str; 2] = ["HOOKGATE_MASTER_KEY", "LITELLM_MASTER_KEY"];
/// Bytes of an answer that are read at most.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A gateway that answers.
pub(super) struct Api {
    client: Client<HttpConnector, Full<Bytes>>,
    base: Uri,
    key: Option<String>,
}

impl Api {
    /// The gateway at a URL, with the master key of the environment.
    pub(super) fn new(base: &str, environment: &Environment) -> anyhow::Result<Self> {
        let uri: Uri =
            base.parse().with_context(|| format!("`{base}` is not the URL of a gateway"))?;
        if uri.scheme_str() != Some("http") || uri.authority().is_none() {
            bail!("`{base}` is not the URL of a gateway: write http://HOST:PORT");
        }
        let key = KEYS.iter().find_map(|name| environment.get(*name)).cloned();
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self { client, base: uri, key })
    }

    /// Asks, and returns the JSON of a good answer; what else is answered is the error, in words.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let authority = self.base.authority().map_or("", hyper::http::uri::Authority::as_str);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{authority}{path}"))
            .header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Full::from(body)).context("could not make the request")?;
        let response = self
            .client
            .request(request)
            .await
            .with_context(|| format!("no gateway answers at {}; see --gateway", self.base))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?;
        let answer: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        if status == hyper::StatusCode::UNAUTHORIZED {
            bail!("the gateway asks for its master key: set {}", KEYS[0]);
        }
        bail!("the gateway answered {}: {}", status.as_u16(), told(&answer));
    }
}

/// What an error of the API says, on as many lines as it has problems.
fn told(answer: &Value) -> String {
    let error = &answer["error"];
    let mut text =
        error["message"].as_str().unwrap_or("nothing that this command knows").to_owned();
    for problem in error["problems"].as_array().into_iter().flatten() {
        let [field, message] = [&problem["field"], &problem["message"]];
        let line = format!(
            "\n  {}: {}",
            field.as_str().unwrap_or_default(),
            message.as_str().unwrap_or_default()
        );
        text.push_str(&line);
    }
    text
}
