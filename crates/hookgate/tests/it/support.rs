//! What journeys share.

use testkit::{Gateway, Receiver, Upstream};

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_hookgate");

/// A deployment of `echo` at the provider, and nothing else.
pub(crate) fn model(upstream: &Upstream) -> String {
    format!(
        "
model_list:
  - model_name: echo
    litellm_params:
      model: openai/echo-1
      api_base: {}
      api_key: sk-upstream
litellm_settings:
  num_retries: 0
",
        upstream.openai_url()
    )
}

/// A destination that gets completions and errors at once.
pub(crate) fn events(receiver: &Receiver) -> String {
    format!(
        "
webhooks:
  primary:
    url: {}
    secret: whsec_dGhlIHNlY3JldCBvZiB0aGUgdGVzdHM=
events:
  subscribe: [completion, error]
retry:
  initial_delay_ms: 20
  max_delay_ms: 100
",
        receiver.url()
    )
}

/// A provider, a receiver, and a gateway between them.
pub(crate) async fn all() -> (Upstream, Receiver, Gateway) {
    let upstream = Upstream::start().await;
    let receiver = Receiver::start().await;
    let config = format!("{}{}", model(&upstream), events(&receiver));
    let gateway = Gateway::start(BINARY, &config).await;
    (upstream, receiver, gateway)
}
