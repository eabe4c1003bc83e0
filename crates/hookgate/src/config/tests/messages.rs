//! What people read when something is wrong. The words are the interface, so they are snapshots.

use super::*;

#[test]
fn mistakes_in_models_are_explained() {
    let text = "\
model_list:
  - model_name: a
    litellm_params:
      model: opnai/gpt-4o
  - model_name: b
    litellm_params: {model: azure/gpt-4o, api_base: 'https://x.example'}
  - model_name: c
    litellm_params: {model: my-model}
  - litellm_params: {api_key: x}
  - model_name: d
    litellm_params:
      model: openai/gpt-4o
      api_base: localhost:8000
      timeout: soon
      weight: -1
      input_cost_per_token: 5
      rpm: 100
      temprature: 1
      extra_headers: {'a b': x}
    model_info: {mode: embedding}
  - model_name: e
    litellm_params: {model: hosted_vllm/x}
  - just a name
";
    insta::assert_snapshot!(Loaded::text(text, &[]).messages());
}

#[test]
fn keys_that_no_header_can_carry_are_refused() {
    let text = "\
model_list:
  - {model_name: a, litellm_params: {model: openai/a}}
  - {model_name: '*', litellm_params: {model: openai/b, api_key: os.environ/OPENAI_API_KEY}}
general_settings: {master_key: os.environ/OPENAI_API_KEY}
";
    insta::assert_snapshot!(Loaded::text(text, &[("OPENAI_API_KEY", "sk-abcdefgh\n")]).messages());
}

#[test]
fn mistakes_in_litellm_s_settings_are_explained() {
    let text = "\
model_list: []
litellm_settings:
  callbacks: [langfuse, custom_callbacks.proxy_handler_instance, rubrk, c, otel_x]
  success_callback: {a: b}
  drop_params: true
  num_retries: many
  turn_of_message_logging: true
  fallbacks: [{gpt-4: [gpt-3]}]
callback_settings:
  c:
    callback_type: generic_api
    event_types: [llm_api_sucess]
    log_format: xml
    max_retries: -1
    headers:
      Authorization: Bearer os.environ/KEY
      Content-Length: '5'
      X-A: \"a\\r\\nb\"
      X-B: ${NONE}
    batchsize: 5
  forgotten: {callback_type: generic_api, endpoint: 'https://x.example'}
  datadog: {message_logging: false}
router_settings:
  routing_strategy: least-busy
  cooldown_time: 5
general_settings:
  master_key: sk-1234
  database_url: postgres://x
guardrails: []
modellist: []
";
    insta::assert_snapshot!(Loaded::text(text, &[("KEY", "x")]).messages());
}

#[test]
fn mistakes_in_webhooks_are_explained() {
    let text = "\
webhooks:
  primary:
    url: example.com/hooks
    secret: whsec_not base64
    format: evnt
    event_types: [completion, tokens, budget]
    filters:
      completions: {min_tokens: 5}
      error: {severity: [fatal], min_tokens: 5}
    sample_rate: 50
    batch_size: 10
    method: GET
    flush_intervall: 5
  second:
    url: http://example.com
    failover_for: primry
  third:
    url: ftp://example.com
    failover_for: second
    enabled: \"yes\"
  fourth: {secret: '${NONE}'}
  fifth: [x]
  log: {url: 'https://x.example', format: generic_api, event_types: [streaming]}
events:
  subscribe: [complete]
  filter: {}
retry:
  max_atempts: 5
  initial_delay_ms: 5000
  max_delay_ms: 1000
  backoff_multiplier: 0.5
  retryable_status_codes: [200, 503]
security:
  signature_algorithm: md5
  signature_header: 'webhook-signature'
delivery:
  durability: forever
  timeout_ms: 0
";
    insta::assert_snapshot!(Loaded::text(text, &[]).messages());
}

#[test]
fn settings_without_effect_and_mistakes_in_formats_are_explained() {
    let text = "\
webhooks:
  trace:
    url: https://x.example
    format: otlp
    profile: genai
    compat: document
    flush_interval: 5
    log_format: single
    event_types: [completion, budget]
  batch: {url: 'https://x.example', format: cloudevents, batch_size: 5, integers: number}
  helicone: {url: 'https://x.example', format: helicone, bodies: text, secret: whsk_x}
  alert:
    url: https://x.example
    format: litellm_alert
    sample_rate: 0.5
    privacy: true
    filters: {budget: {models: a}, destination.disabled: {severity: error}}
  rules:
    url: https://x.example
    rules:
      groups:
        - logic: xor
          rules:
            - {field: modell, operator: equals, value: x}
            - {field: model, operator: regex, value: '('}
            - {field: total_cost, operator: gt, value: much}
            - {field: model, operator: equals}
            - {operator: exists, value: 5}
  nothing: {url: 'https://x.example', rules: {}, signed_content: body, tls: {ca_file: none.pem}}
  signed:
    url: https://x.example
    secret: s
    headers: {x-webhook-signature: mine, X-Webhook-Timestamp: '5', X-Mine: a}
    filters: {completion: {properties: {a: x, A: y}}}
  mtls: {url: 'https://x.example', tls: {client_key_file: key.pem, cafile: x}}
security: {allow_private_destinations: [10.1.0.0/8, intranet], block_private: maybe}
general_settings: {alerting: [webhook, pager, teams]}
";
    insta::assert_snapshot!(Loaded::text(text, &[]).messages());
}

#[test]
fn mistakes_in_our_own_section_are_errors() {
    let text = "\
hookgate:
  hots: 127.0.0.1
  host: example.com
  port: 99999
  colour: blue
  limits:
    in_flight_call_max: 5
    request_body_bytes_max: 10
webhooks: {a: {url: 'https://x.example'}}
";
    insta::assert_snapshot!(Loaded::text(text, &[]).messages());
}

#[test]
fn missing_variables_of_callbacks_are_named_where_they_are_needed() {
    let text = "\
environment_variables:
  RUBRIK_API_KEY: os.environ/VAULT_KEY
litellm_settings:
  callbacks:
    - rubrik
    - generic_api
    - c
callback_settings:
  c: {callback_type: generic_api, endpoint: 'https://${HOST_NAME}/x'}
";
    insta::assert_snapshot!(Loaded::text(text, &[]).messages());
}

#[test]
fn unencrypted_addresses_are_warned_of_or_refused() {
    let text = "\
webhooks:
  a: {url: 'http://example.com'}
  b: {url: 'http://127.0.0.1:9'}
  c: {url: 'http://localhost:9'}
";
    insta::assert_snapshot!(Loaded::text(text, &[]).messages());
    let strict = format!("{text}security: {{require_https: true}}\n");
    insta::assert_snapshot!(Loaded::text(&strict, &[]).problems.join("\n"));
}

#[test]
fn broken_files_are_explained() {
    for (name, text) in [
        ("bracket", "model_list: [a, b\n"),
        ("tab", "a:\n\tb: 1\n"),
        ("alias", "a: *b\n"),
        ("list", "- a\n"),
        ("text", "hello\n"),
        ("unquoted", "a: {b: ${C}}\n"),
        ("twice", "retry:\n  max_attempts: 5\n  max_attempts: 6\n"),
    ] {
        let messages = Loaded::text(text, &[]).problems.join("\n");
        insta::assert_snapshot!(format!("broken_{name}"), messages);
    }
}
