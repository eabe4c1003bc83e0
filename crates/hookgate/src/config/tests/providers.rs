//! Models, routing and the general settings.

use domain::{deployment::Dialect, secret::Secret};
use proxy::config::{Credential, Deployment};

use super::*;

fn deployments(list: &str) -> Vec<Deployment> {
    let variables = [("OPENAI_API_KEY", "k-openai"), ("MY_KEY", "k-mine")];
    Loaded::text(&format!("model_list:\n{list}"), &variables).settings().proxy.deployments
}

fn one(params: &str) -> Deployment {
    deployments(&format!("- {{model_name: m, litellm_params: {{{params}}}}}\n")).remove(0)
}

#[test]
fn the_provider_follows_from_the_prefix_or_from_the_name() {
    for (params, provider, model, base_url) in [
        ("model: openai/gpt-4o", "openai", "gpt-4o", "https://api.openai.com/v1"),
        ("model: gpt-4o", "openai", "gpt-4o", "https://api.openai.com/v1"),
        ("model: o3-mini", "openai", "o3-mini", "https://api.openai.com/v1"),
        ("model: claude-x", "anthropic", "claude-x", "https://api.anthropic.com"),
        ("model: anthropic/claude-x", "anthropic", "claude-x", "https://api.anthropic.com"),
        (
            "model: openai/meta/llama, api_base: 'http://h:8/v1/'",
            "openai",
            "meta/llama",
            "http://h:8/v1",
        ),
        ("model: meta/llama, api_base: 'http://h:8/v1'", "openai", "meta/llama", "http://h:8/v1"),
        ("model: llama, base_url: 'http://h:8'", "openai", "llama", "http://h:8"),
        (
            "model: llama, api_base: 'http://h:8/v1', custom_llm_provider: openai",
            "openai",
            "llama",
            "http://h:8/v1",
        ),
        ("model: claude-x, api_base: 'http://h/v1/messages'", "anthropic", "claude-x", "http://h"),
    ] {
        let found = one(params);
        let facts = &found.facts;
        assert_eq!(
            (facts.provider.as_str(), facts.model.as_str(), found.base_url.as_str()),
            (provider, model, base_url),
            "{params}"
        );
        assert_eq!(facts.api_base.is_empty(), !params.contains("base"), "{params}");
    }
}

#[test]
fn the_key_is_the_entry_s_or_the_vendor_s_variable() {
    let key = |params: &str| match one(params).credential {
        Credential::Key(key) => key.expose().to_owned(),
        Credential::Missing { variable } => format!("missing {variable}"),
        Credential::None => "none".to_owned(),
    };
    assert_eq!(key("model: openai/a, api_key: os.environ/MY_KEY"), "k-mine");
    assert_eq!(key("model: openai/a, api_key: 0123"), "0123");
    assert_eq!(key("model: openai/a"), "k-openai");
    assert_eq!(key("model: openai/a, api_key: '${NONE}'"), "missing NONE");
    assert_eq!(key("model: anthropic/a"), "missing ANTHROPIC_API_KEY");
    assert_eq!(key("model: anthropic/a, api_base: 'http://h'"), "none");
    assert_eq!(key("model: anthropic/a, mock_response: hi"), "none");
}

#[test]
fn a_mock_needs_neither_key_nor_known_provider() {
    for (params, provider) in
        [("model: openai/x", "openai"), ("model: x", "openai"), ("model: azure/x", "azure")]
    {
        let found = one(&format!("{params}, mock_response: {{text: hi}}"));
        assert_eq!(found.facts.dialect, Dialect::Mock);
        assert_eq!(found.facts.provider, provider);
        assert_eq!(found.mock_response, Some(serde_json::json!({"text": "hi"})));
    }
}

#[test]
fn the_rest_of_an_entry_arrives_too() {
    let found = one("model: openai/a, timeout: 1.5, stream_timeout: 2, include_usage: false, \
                     extra_headers: {X-Team: blue}, input_cost_per_token: 1e-6");
    assert_eq!(found.timeout, Some(Duration::from_millis(1_500)));
    assert_eq!(found.stream_timeout, Some(Duration::from_secs(2)));
    assert!(!found.include_usage);
    assert_eq!(found.extra_headers, [("X-Team".to_owned(), Secret::new("blue"))]);
    assert_eq!(found.facts.prices.unwrap().input_cost_per_token, Some(1e-6));
    let info = "- model_name: m\n  \
                litellm_params: {model: openai/a, input_cost_per_token: 1e-6}\n  \
                model_info: {id: mine, input_cost_per_token: 2e-6, output_cost_per_token: 3e-6, \
                anything: else}\n";
    let found = deployments(info).remove(0);
    assert_eq!(found.facts.id, "mine");
    let prices = found.facts.prices.unwrap();
    assert_eq!(prices.input_cost_per_token, Some(1e-6));
    assert_eq!(prices.output_cost_per_token, Some(3e-6));
}

#[test]
fn ids_are_stable_distinct_and_free_of_keys() {
    let entry = |params: &str| format!("- {{model_name: m, litellm_params: {{{params}}}}}\n");
    let ids = |list: &str| -> Vec<String> {
        deployments(list).into_iter().map(|deployment| deployment.facts.id.clone()).collect()
    };
    let (first, second) = ("model: openai/a, api_key: k1", "model: openai/a, api_key: k2");
    let both = ids(&(entry(first) + &entry(second)));
    assert_eq!(both[0].len(), 64);
    assert_ne!(both[0], both[1]);
    assert_eq!(ids(&entry(second)), both[..1], "the key has no part in it");
    assert_ne!(ids(&entry("model: openai/b")), both[..1]);
    let taken = "model_list:\n\
                 - {model_name: m, litellm_params: {model: gpt-a}, model_info: {id: x}}\n\
                 - {model_name: m, litellm_params: {model: gpt-b}, model_info: {id: x}}\n";
    assert_eq!(Loaded::text(taken, &[]).problems.len(), 1);
}

#[test]
fn weights_keep_their_proportions() {
    let weights = |a: &str, b: &str| -> Vec<u32> {
        let entry = |w: &str| {
            format!("- {{model_name: m, litellm_params: {{model: openai/a, weight: {w}}}}}\n")
        };
        deployments(&(entry(a) + &entry(b))).iter().map(|deployment| deployment.weight).collect()
    };
    assert_eq!(weights("3", "1"), [3, 1]);
    assert_eq!(weights("0.9", "0.1"), [900, 100]);
}

#[test]
fn routing_comes_from_both_sections_and_the_router_s_wins() {
    let models = "model_list:\n- {model_name: a, litellm_params: {model: gpt-a}}\n\
                  - {model_name: b, litellm_params: {model: gpt-b}}\n";
    let settings = "litellm_settings: {num_retries: 1, request_timeout: 10, \
                    fallbacks: [{a: [b]}, {'*': b}]}\n\
                    router_settings: {num_retries: 4, stream_timeout: 3, \
                    model_group_alias: {c: a, d: {model: b}}}\n";
    let loaded = Loaded::text(&format!("{models}{settings}"), &[("OPENAI_API_KEY", "k")]);
    let routing = loaded.settings().proxy.routing;
    assert_eq!(routing.num_retries, 4);
    assert_eq!(routing.timeout, Duration::from_secs(10));
    assert_eq!(routing.stream_timeout, Duration::from_secs(3));
    assert_eq!(routing.fallbacks["a"], ["b"]);
    assert_eq!(routing.default_fallbacks, ["b"]);
    assert_eq!((routing.aliases["c"].as_str(), routing.aliases["d"].as_str()), ("a", "b"));
}

#[test]
fn the_general_settings_arrive() {
    let text = "litellm_settings: {turn_off_message_logging: true}\n\
                general_settings: {allow_client_mock_response: false, master_key: sk-77d1c0ffee}\n\
                hookgate: {limits: {in_flight_calls_max: 7, header_read_ms: 5}, drain_ms: 9}\n\
                delivery: {durability: power, retention_hours: 1.5, settle_ms: 8}\n";
    let Settings { proxy, store, delivery, .. } = Loaded::text(text, &[]).settings();
    assert!(proxy.turn_off_message_logging && !proxy.allow_client_mock_response);
    assert_eq!(proxy.master_key, Some(Secret::new("sk-77d1c0ffee")));
    assert_eq!(proxy.limits.in_flight_calls_max, 7);
    assert_eq!(proxy.limits.header_read_timeout, Duration::from_millis(5));
    assert_eq!(proxy.drain_timeout, Duration::from_millis(9));
    assert_eq!((store.durability, store.retention), (Durability::Power, Duration::from_mins(90)));
    assert_eq!(delivery.settle_timeout, Duration::from_millis(8));
}
