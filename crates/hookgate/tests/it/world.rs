//! A provider, a receiver, the gateway between them, and the accounting at a journey's end.

use std::collections::BTreeSet;

use serde_json::Value;
use testkit::{Gateway, Receiver, Upstream, client::Seen, gateway::Setup};

use crate::support::{BINARY, events};

/// One of each.
pub(crate) struct World {
    pub(crate) upstream: Upstream,
    pub(crate) receiver: Receiver,
    pub(crate) gateway: Gateway,
}

/// A deployment as an element of `model_list`; `more` are further `litellm_params`, comma first.
pub(crate) fn deployment(name: &str, model: &str, base: &str, more: &str) -> String {
    format!(
        "
- model_name: {name}
  litellm_params: {{model: {model}, api_base: '{base}', api_key: sk-upstream{more}}}"
    )
}

/// `model_list` of these deployments, asked once each.
pub(crate) fn models(deployments: &[String]) -> String {
    format!("model_list:{}\nlitellm_settings:\n  num_retries: 0\n", deployments.concat())
}

impl World {
    /// With a deployment of `echo` that is asked once.
    pub(crate) async fn new() -> Self {
        Self::with("", "").await
    }

    /// The same with further `litellm_params` (comma first), and further sections.
    pub(crate) async fn with(params: &str, sections: &str) -> Self {
        Self::build(|upstream| {
            let echo = deployment("echo", "openai/echo-1", &upstream.openai_url(), params);
            format!("{}{sections}", models(&[echo]))
        })
        .await
    }

    /// With this configuration, to which a destination for completions and errors is added.
    pub(crate) async fn build(config: impl FnOnce(&Upstream) -> String) -> Self {
        let upstream = Upstream::start().await;
        let receiver = Receiver::start().await;
        let config = format!("{}{}", config(&upstream), events(&receiver));
        let gateway = Setup::new(BINARY, &config).start().await;
        Self { upstream, receiver, gateway }
    }

    /// Asks a model, plain or streamed.
    pub(crate) async fn ask(&self, model: &str, text: &str, stream: bool) -> Seen {
        let client = self.gateway.client();
        if stream { client.chat_stream(model, text).await } else { client.chat(model, text).await }
    }

    /// The outcome of the call whose answer was seen.
    pub(crate) async fn outcome(&self, seen: &Seen) -> Value {
        let id = seen.header("x-hookgate-request-id").expect("every admitted call is named");
        self.event(&format!("the outcome of {id}"), |event| event["request_id"] == id).await
    }

    /// Waits for an event that `is_it`.
    pub(crate) async fn event(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let has_it = |item: &Value| item["event"] != "streaming" && is_it(item);
        let arrivals = self
            .receiver
            .wait_until(what, |seen| testkit::receiver::accepted_items(seen).iter().any(has_it))
            .await;
        let mut items = testkit::receiver::accepted_items(&arrivals).into_iter();
        items.find(has_it).expect("waited for it")
    }

    /// Calls once more: whatever happened before, this call succeeds and arrives as a completion.
    pub(crate) async fn call_works(&self) {
        let seen = self.gateway.client().chat("echo", "still here").await;
        assert_eq!((seen.code(), seen.content().as_str()), (200, "still here"), "{}", seen.text());
        let event = self.outcome(&seen).await;
        assert_eq!(
            (&event["event"], &event["content"]),
            (&"completion".into(), &"still here".into())
        );
    }

    /// Stops the gateway in good order. By then exactly so many calls have their outcome at the
    /// receiver, and none has two.
    pub(crate) async fn end(self, outcomes: usize) {
        let stopped = self.gateway.terminate().await;
        assert!(stopped.status.success(), "{:?}: {:#?}", stopped.status, stopped.log());
        let items = self.receiver.items();
        let ids: Vec<_> = items
            .iter()
            .filter(|item| item["event"] != "streaming")
            .map(|item| item["request_id"].as_str().expect("every event names its call"))
            .collect();
        let distinct: BTreeSet<_> = ids.iter().collect();
        assert_eq!((ids.len(), distinct.len()), (outcomes, outcomes), "{items:#?}");
    }
}

/// Checks that an answer has the shape of `OpenAI`'s errors, and returns `error`.
pub(crate) fn openai_error(seen: &Seen) -> Value {
    assert_eq!(seen.header("content-type"), Some("application/json"), "{}", seen.text());
    shaped(&seen.json(), &seen.text())
}

/// The error that ends a stream; the stream did not end as if it were whole.
pub(crate) fn stream_error(seen: &Seen) -> Value {
    assert_eq!(seen.code(), 200);
    assert!(!seen.is_whole, "a stream that broke must not end cleanly: {}", seen.text());
    let data = seen.data();
    assert!(!data.contains(&"[DONE]".to_owned()), "{}", seen.text());
    let last = data.last().map(String::as_str).unwrap_or_default();
    shaped(&serde_json::from_str(last).unwrap_or_default(), &seen.text())
}

fn shaped(body: &Value, text: &str) -> Value {
    let error = &body["error"];
    assert!(error["message"].is_string() && error["type"].is_string(), "no error: {text}");
    for key in ["param", "code"] {
        assert!(error.get(key).is_some(), "`{key}` is missing: {text}");
    }
    error.clone()
}
