//! What journeys through the management doors share.

use serde_json::{Value, json};
use testkit::{
    Client, Gateway, Receiver,
    client::{Seen, chat_body},
    gateway::Setup,
    receiver::Arrival,
};

use crate::support::BINARY;

/// The key that manages.
pub(crate) const MASTER: &str = "sk-master-of-this-test";
/// A key that only calls, and its name.
pub(crate) const APP: (&str, &str) = ("app", "sk-app-of-this-test");

/// Destinations on this machine may be made.
pub(crate) const OPEN: &str =
    "security: {require_https: false, allow_private_destinations: ['127.0.0.0/8']}\n";

/// A gateway and a receiver; two models without a provider.
pub(crate) struct Managed {
    pub(crate) receiver: Receiver,
    pub(crate) gateway: Gateway,
}

impl Managed {
    /// One that lets destinations on this machine be made.
    pub(crate) async fn new() -> Self {
        Self::with(|_| OPEN.to_owned()).await
    }

    /// One with these sections.
    pub(crate) async fn with(sections: impl FnOnce(&Receiver) -> String) -> Self {
        let receiver = Receiver::start().await;
        let (name, key) = APP;
        let config = format!(
            "
model_list:
  - model_name: echo
    litellm_params: {{model: openai/gpt-4o, mock_response: hello}}
  - model_name: other
    litellm_params: {{model: openai/gpt-4o-mini, mock_response: hello}}
general_settings: {{master_key: {MASTER}}}
keys: [{{name: {name}, key: {key}}}]
retry: {{max_attempts: 2, initial_delay_ms: 20, max_delay_ms: 60}}
hookgate: {{ballast_bytes: 0}}
{}",
            sections(&receiver)
        );
        let gateway = Setup::new(BINARY, &config).start().await;
        Self { receiver, gateway }
    }

    /// Who manages.
    pub(crate) fn master(&self) -> Client {
        self.gateway.client().with_key(MASTER)
    }

    /// Who only calls.
    pub(crate) fn app(&self) -> Client {
        self.gateway.client().with_key(APP.1)
    }

    /// Sends a request with a JSON body, or without one.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Seen {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.master().request(method, path, body.as_bytes()).await
    }

    /// The same, and the JSON of its answer, which must have this status.
    #[track_caller]
    pub(crate) fn expect(
        &self,
        status: u16,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            let seen = self.ask(method, path, body).await;
            assert_eq!(seen.code(), status, "{caller}: {method} {path}: {}", seen.text());
            if status != 204 {
                assert_eq!(seen.header("content-type"), Some("application/json"), "{caller}");
            }
            seen.json()
        }
    }

    /// Makes a destination of this name at the receiver, with more settings.
    pub(crate) async fn make(&self, name: &str, more: Value) -> Value {
        let mut spec = json!({"name": name, "url": self.url(name)});
        for (key, value) in more.as_object().cloned().unwrap_or_default() {
            spec[key] = value;
        }
        self.expect(201, "POST", "/api/destinations", Some(spec)).await
    }

    /// The receiver's URL for a destination, told apart by the query.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("{}?{name}", self.receiver.url())
    }

    /// A call of the app's that succeeds; returns its request id.
    pub(crate) async fn call(&self, model: &str) -> String {
        let seen = self.app().post("/v1/chat/completions", &chat_body(model, "hi")).await;
        assert_eq!(seen.code(), 200, "{}", seen.text());
        seen.header("x-hookgate-request-id").expect("every admitted call is named").to_owned()
    }

    /// Waits for the outcome of a call at a destination.
    pub(crate) async fn told(&self, name: &str, request_id: &str) -> Arrival {
        let is_it = |arrival: &Arrival| {
            is_for(arrival, name)
                && arrival.is_accepted()
                && String::from_utf8_lossy(&arrival.body).contains(request_id)
        };
        let what = format!("{request_id} at {name}");
        let arrivals = self.receiver.wait_until(&what, |seen| seen.iter().any(is_it)).await;
        arrivals.into_iter().find(is_it).expect("waited for it")
    }

    /// Whether anything of a call came to a destination so far.
    pub(crate) fn was_told(&self, name: &str, request_id: &str) -> bool {
        self.receiver.arrivals().iter().any(|arrival| {
            is_for(arrival, name) && String::from_utf8_lossy(&arrival.body).contains(request_id)
        })
    }
}

/// A URL on this machine at which nobody listens.
pub(crate) fn nobody() -> String {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    format!("http://{}/", taken.local_addr().expect("it is bound"))
}

/// Whether a POST was for a destination.
pub(crate) fn is_for(arrival: &Arrival, name: &str) -> bool {
    arrival.path.ends_with(&format!("?{name}"))
}

/// Whether Standard Webhooks' own library takes a POST for one signed with this secret.
pub(crate) fn is_signed_with(arrival: &Arrival, secret: &str) -> bool {
    let mut headers = http::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let value = arrival.header(name).unwrap_or_default();
        headers.insert(name, value.parse().expect("it came over HTTP"));
    }
    let library = standardwebhooks::Webhook::new(secret).expect("a secret that the door made");
    library.verify(&arrival.body, &headers).is_ok()
}

/// Lower-case hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
