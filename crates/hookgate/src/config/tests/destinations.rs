//! Callbacks, webhooks and standbys.

use domain::{
    destination::{
        Compat, EventFilter, Format, LogFormat, Method, SignatureAlgorithm, SignedContent,
    },
    event::EventType,
    failure::Severity,
    secret::Secret,
};

use super::*;

const OUTCOMES: [EventType; 2] = [EventType::Completion, EventType::Error];

/// The callback `c` with these settings in its entry.
fn callback(settings: &str) -> Destination {
    let text = format!(
        "litellm_settings: {{callbacks: [c]}}\ncallback_settings:\n  c:\n    callback_type: \
         generic_api\n    endpoint: https://x.example/in\n    {settings}\n"
    );
    Loaded::text(&text, &[("SECRET", "s-1")]).destination("c")
}

/// The webhook `w` with these settings in its entry.
fn webhook(settings: &str) -> Destination {
    let text = format!("webhooks:\n  w:\n    url: https://x.example/in\n    {settings}\n");
    Loaded::text(&text, &[("SECRET", "s-1")]).destination("w")
}

fn headers(destination: &Destination) -> Vec<(&str, &str)> {
    destination.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect()
}

#[test]
fn a_callback_has_the_documented_defaults() {
    let found = callback("");
    assert_eq!(found.format, Format::GenericApi(LogFormat::JsonArray));
    assert_eq!(found.event_types, OUTCOMES);
    assert_eq!(found.batch.events_max, 100);
    assert_eq!(found.batch.flush_interval, Duration::from_mins(1));
    assert_eq!(found.retry, Policy::default().defaults.retry);
    assert_eq!((found.compat, found.method), (Compat::Real, Method::Post));
    assert!(found.allow_private && found.signing.is_none() && found.headers.is_empty());
}

#[test]
fn a_callback_takes_litellm_s_keys_and_ours() {
    let found = callback(
        "log_format: ndjson\n    batch_size: 5\n    flush_interval: 0.5\n    timeout: 2\n    \
         secret: ${SECRET}\n    sample_rate: 0.25\n    compat: document\n    privacy: true\n    filters: \
         {llm_api_success: {models: gpt-*, min_tokens: 9}}",
    );
    assert_eq!(found.format, Format::GenericApi(LogFormat::Ndjson));
    assert_eq!(found.batch.events_max, 5);
    assert_eq!(found.batch.flush_interval, Duration::from_millis(500));
    assert_eq!(found.timeout, Duration::from_secs(2));
    assert_eq!(found.signing.unwrap().secrets[0].expose(), "s-1");
    assert_eq!((found.sample_rate, found.compat, found.privacy), (0.25, Compat::Document, true));
    let filter = EventFilter {
        models: vec!["gpt-*".to_owned()],
        min_tokens: Some(9),
        ..EventFilter::default()
    };
    assert_eq!(found.filters, [(EventType::Completion, filter)]);
    assert_eq!(callback("log_format: single").batch.events_max, 1);
}

#[test]
fn explicit_retries_are_attempts_after_the_first_with_doubling_waits() {
    let retry = callback("max_retries: 3\n    retry_delay: 0.2").retry;
    assert_eq!((retry.max_attempts, retry.multiplier), (4, 2.0));
    assert_eq!(retry.initial_delay, Duration::from_millis(200));
    assert_eq!(callback("max_retries: 0").retry.max_attempts, 1);
    assert_eq!(callback("retry_delay: 90").retry.max_delay, Duration::from_secs(90));
}

#[test]
fn the_lists_and_the_entry_narrow_the_events_together() {
    let types = |lists: &str, entry: &str| {
        let text = format!(
            "litellm_settings: {{{lists}}}\ncallback_settings: {{c: {{callback_type: generic_api, \
             endpoint: 'https://x.example'{entry}}}}}\n"
        );
        Loaded::text(&text, &[]).destination("c").event_types
    };
    assert_eq!(types("callbacks: [c]", ""), OUTCOMES);
    assert_eq!(types("callbacks: c", ""), OUTCOMES);
    assert_eq!(types("success_callback: [c]", ""), OUTCOMES[..1]);
    assert_eq!(types("failure_callback: [c]", ""), OUTCOMES[1..]);
    assert_eq!(types("success_callback: c, failure_callback: [c, c]", ""), OUTCOMES);
    assert_eq!(types("callbacks: [c]", ", event_types: [llm_api_failure]"), OUTCOMES[1..]);
    assert_eq!(types("success_callback: [c]", ", event_types: [llm_api_failure]"), []);
}

#[test]
fn headers_are_taken_in_litellm_s_order_whatever_their_case() {
    let text = "litellm_settings: {callbacks: [c], generic_logger_headers: {B: '2', c: '2'}}\n\
                callback_settings:\n  c:\n    callback_type: generic_api\n    endpoint: \
                https://u:p%40w@x.example\n    headers: {C: '3', content-type: text/plain}\n";
    let variables = [("GENERIC_LOGGER_HEADERS", " a = 1=1 ,b=1, junk ,Content-Type=x/y")];
    let found = Loaded::text(text, &variables).destination("c");
    let expected = [
        ("a", "1=1"),
        ("B", "2"),
        ("Authorization", "Basic dTpwQHc="),
        ("C", "3"),
        ("content-type", "text/plain"),
    ];
    assert_eq!(headers(&found), expected);
    assert_eq!(found.url, "https://x.example/");
}

#[test]
fn the_built_in_registry_holds_litellm_s_five_names() {
    let five = ["sample_callback", "rubrik", "sumologic", "qualifire_eval", "ramp"];
    let variables = [
        ("SAMPLE_CALLBACK_URL", "https://x.example/s"),
        ("SAMPLE_CALLBACK_API_KEY", "k1"),
        ("RUBRIK_WEBHOOK_URL", "https://x.example/r"),
        ("RUBRIK_API_KEY", "k2"),
        ("SUMOLOGIC_WEBHOOK_URL", "https://x.example/l"),
        ("QUALIFIRE_WEBHOOK_URL", "https://x.example/q"),
        ("QUALIFIRE_API_KEY", "k3"),
        ("RAMP_API_KEY", "k4"),
    ];
    let text = format!("litellm_settings: {{callbacks: [{}]}}\n", five.join(", "));
    let loaded = Loaded::text(&text, &variables);
    assert_eq!(loaded.warnings.len(), 1, "{:#?}", loaded.warnings); // no models
    let found = loaded.settings().destinations;
    assert_eq!(found.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(), five);
    let json = ("Content-Type", "application/json");
    assert_eq!(headers(&found[1]), [json, ("Authorization", "Bearer k2")]);
    assert_eq!(found[1].event_types, OUTCOMES[..1]);
    assert_eq!(found[2].format, Format::GenericApi(LogFormat::Ndjson));
    assert_eq!(found[2].event_types, OUTCOMES);
    assert_eq!(headers(&found[3]), [json, ("X-Qualifire-API-Key", "k3")]);
    assert_eq!(found[4].url, "https://api.ramp.com/developer/v1/ai-usage/litellm");
}

#[test]
fn a_user_s_registry_beside_the_file_comes_first_and_settings_before_it() {
    let config = "litellm_settings: {callbacks: [rubrik, mine]}\n";
    let registry = r#"{"rubrik": {"endpoint": "https://x.example/r"},
        "mine": {"endpoint": "{{environment_variables.MINE_2}}", "headers": {},
                 "environment_variables": ["MINE_2"], "docs": {"show_in_docs": true}}}"#;
    let files = [("config.yaml", config), ("generic_api_compatible_callbacks.json", registry)];
    let variables = [("MINE_2", "https://x.example/m")];
    let found = Loaded::files(&files, &variables).settings().destinations;
    let urls: Vec<_> = found.iter().map(|destination| destination.url.as_str()).collect();
    assert_eq!(urls, ["https://x.example/r", "https://x.example/m"]);

    let settings = format!(
        "{config}callback_settings: {{mine: {{callback_type: generic_api, endpoint: \
         'https://x.example/own'}}}}\n"
    );
    let files = [("config.yaml", settings.as_str()), files[1]];
    assert_eq!(Loaded::files(&files, &variables).destination("mine").url, "https://x.example/own");
}

#[test]
fn bare_generic_api_is_configured_by_variables_alone() {
    let variables = [
        ("GENERIC_LOGGER_ENDPOINT", "http://127.0.0.1:9/logs"),
        ("GENERIC_LOGGER_HEADERS", "Authorization=Bearer t"),
    ];
    let text = "litellm_settings: {callbacks: [generic_api]}\n";
    let found = Loaded::text(text, &variables).destination("generic_api");
    assert_eq!(found.url, "http://127.0.0.1:9/logs");
    assert_eq!(headers(&found), [("Authorization", "Bearer t")]);
}

#[test]
fn a_webhook_sends_signed_events_one_by_one() {
    let found = webhook("secret: ['${SECRET}', s-0]");
    assert_eq!(found.format, Format::Event);
    assert_eq!(found.batch.events_max, 1);
    assert!(!found.wants(EventType::Streaming) && found.wants(EventType::Completion));
    let signing = found.signing.unwrap();
    assert_eq!(signing.secrets.iter().map(Secret::expose).collect::<Vec<_>>(), ["s-1", "s-0"]);
    assert_eq!(signing.header, "X-Webhook-Signature");
    assert_eq!(signing.algorithm, SignatureAlgorithm::Sha256);
    assert_eq!(signing.signed_content, SignedContent::TimestampAndBody);
    let found = webhook(
        "secret: x\n    signed_content: body\n    method: PUT\n    rate_limit: 3\n    \
                         timeout_ms: 70\n    allow_private: false\n    event_types: [streaming]",
    );
    assert_eq!(found.signing.unwrap().signed_content, SignedContent::Body);
    assert_eq!(
        (found.method, found.rate_limit, found.allow_private),
        (Method::Put, Some(3), false)
    );
    assert_eq!(found.timeout, Duration::from_millis(70));
    assert_eq!(found.event_types, [EventType::Streaming]);
}

#[test]
fn a_webhook_may_send_litellm_s_payloads() {
    let found = webhook("format: generic_api\n    log_format: ndjson\n    batch_size: 7");
    assert_eq!(found.format, Format::GenericApi(LogFormat::Ndjson));
    assert_eq!(found.batch.events_max, 7);
    assert_eq!(found.event_types, OUTCOMES);
}

#[test]
fn events_govern_webhooks_and_an_entry_s_own_words_win() {
    let text = "events: {subscribe: [error, streaming], filters: {error: {severity: critical}}}\n\
                webhooks:\n  a: {url: 'https://x.example'}\n  b: {url: 'https://x.example', \
                event_types: [completion], filters: {}}\n\
                litellm_settings: {callbacks: [c]}\n\
                callback_settings:\n  c: {callback_type: generic_api, endpoint: \
                'https://x.example'}\n";
    let found = Loaded::text(text, &[]).settings().destinations;
    assert_eq!((found[0].name.as_str(), found[0].event_types.as_slice()), ("c", &OUTCOMES[..]));
    assert_eq!(found[0].filters, []);
    assert_eq!(found[1].event_types, [EventType::Error, EventType::Streaming]);
    assert_eq!(found[1].filters[0].1.severity, [Severity::Critical]);
    assert_eq!((found[2].event_types.as_slice(), found[2].filters.len()), (&OUTCOMES[..1], 0));
}

#[test]
fn retry_delivery_and_security_are_every_destination_s_defaults() {
    let text = "retry: {max_attempts: 9, backoff_multiplier: 3, initial_delay_ms: 5, max_delay_ms: \
                50, retryable_status_codes: [503]}\n\
                delivery: {timeout_ms: 7, concurrent_deliveries: 2, queue_size: 30}\n\
                security: {signature_algorithm: sha512, signature_header: X-Sig}\n\
                webhooks: {a: {url: 'https://x.example', secret: s}}\n\
                litellm_settings: {callbacks: [c]}\n\
                callback_settings: {c: {callback_type: generic_api, endpoint: 'https://x.example', \
                secret: s}}\n";
    for found in Loaded::text(text, &[]).settings().destinations {
        assert_eq!((found.retry.max_attempts, found.retry.multiplier), (9, 3.0));
        assert_eq!(found.retry.max_delay, Duration::from_millis(50));
        assert_eq!(found.retry.retryable_status_codes, [503]);
        assert_eq!(found.timeout, Duration::from_millis(7));
        assert_eq!((found.concurrent_deliveries, found.queue_size), (2, 30));
        let signing = found.signing.unwrap();
        assert_eq!(
            (signing.algorithm, signing.header.as_str()),
            (SignatureAlgorithm::Sha512, "X-Sig")
        );
    }
}

/// Names of destinations with a lane, each with its standby's.
fn lanes(webhooks: &str) -> Vec<String> {
    let text = format!("webhooks:\n{webhooks}");
    let name = |destination: Destination| match destination.backup {
        Some(backup) => format!("{} ({})", destination.name, backup.name),
        None => destination.name.to_string(),
    };
    Loaded::text(&text, &[]).settings().destinations.into_iter().map(name).collect()
}

#[test]
fn a_standby_stands_inside_its_primary_while_both_are_enabled() {
    let entry = |name: &str, more: &str| format!("  {name}: {{url: 'https://x.example'{more}}}\n");
    let (primary, backup) = (entry("primary", ""), entry("backup", ""));
    let off = ", enabled: false";
    assert_eq!(lanes(&(primary.clone() + &backup)), ["primary (backup)"]);
    assert_eq!(lanes(&(backup.clone() + &primary)), ["primary (backup)"]);
    assert_eq!(lanes(&(entry("primary", off) + &backup)), ["backup"]);
    assert_eq!(lanes(&(primary.clone() + &entry("backup", off))), ["primary"]);
    assert_eq!(lanes(&backup), ["backup"]);
    let apart = primary.clone() + &entry("backup", ", failover_for: null");
    assert_eq!(lanes(&apart), ["primary", "backup"]);
    let other = entry("a", "") + &entry("b", ", failover_for: a") + &entry("c", "");
    assert_eq!(lanes(&other), ["a (b)", "c"]);
    let disabled = entry("a", off) + &entry("b", ", failover_for: a");
    assert_eq!(lanes(&disabled), ["b"]);
}

#[test]
fn secrets_of_a_disabled_entry_need_not_be_set() {
    let text = "webhooks: {a: {url: '${NONE}', secret: '${NONE}', enabled: false}}\n";
    assert_eq!(Loaded::text(text, &[]).settings().destinations, []);
}

#[test]
fn private_addresses_are_allowed_from_a_file_and_reserved_ones_never() {
    let url = |url: &str, more: &str| {
        Loaded::text(&format!("webhooks: {{a: {{url: '{url}'{more}}}}}"), &[]).problems.len()
    };
    assert_eq!(url("http://10.0.0.1/x", ""), 0);
    assert_eq!(url("http://[::1]:9/x", ""), 0);
    assert_eq!(url("http://10.0.0.1/x", ", allow_private: false"), 1);
    assert_eq!(url("http://169.254.169.254/latest", ""), 1);
}

#[test]
fn every_format_has_its_options_batches_and_types() {
    use domain::destination::{
        CloudEventsMode, GenerationMetadata, Helicone, HeliconeBodies, Otlp, OtlpIntegers,
        OtlpProfile,
    };
    let otlp = |profile, integers| Format::Otlp(Otlp { profile, integers, ..Otlp::default() });
    let told = GenerationMetadata { cost: true, identity: true, request_context: false };
    let helicone = |include_data, bodies| Format::Helicone(Helicone { include_data, bodies });
    let batch = |events_max, millis| (events_max, Duration::from_millis(millis));
    let all = [OUTCOMES[0], OUTCOMES[1], EventType::Budget, EventType::RateLimit];
    for (settings, format, (events_max, flush_interval), event_types) in [
        (
            "format: otlp",
            otlp(OtlpProfile::OpenRouter, OtlpIntegers::String),
            batch(1, 0),
            &OUTCOMES[..],
        ),
        (
            "format: otlp\n    profile: genai\n    integers: number\n    batch_size: 50",
            otlp(OtlpProfile::GenAi, OtlpIntegers::Number),
            batch(50, 1_000),
            &OUTCOMES,
        ),
        (
            "format: otlp\n    generation_metadata: [identity, cost]",
            Format::Otlp(Otlp { generation_metadata: told, ..Otlp::default() }),
            batch(1, 0),
            &OUTCOMES,
        ),
        ("format: helicone", helicone(true, HeliconeBodies::Object), batch(1, 0), &OUTCOMES),
        (
            "format: helicone\n    include_data: false\n    bodies: string",
            helicone(false, HeliconeBodies::String),
            batch(1, 0),
            &OUTCOMES,
        ),
        (
            "format: cloudevents",
            Format::CloudEvents(CloudEventsMode::Structured),
            batch(1, 0),
            &all,
        ),
        (
            "format: cloudevents\n    mode: batch\n    flush_interval: 2",
            Format::CloudEvents(CloudEventsMode::Batch),
            batch(100, 2_000),
            &all,
        ),
        ("format: litellm_alert", Format::LitellmAlert, batch(1, 0), &[EventType::Budget]),
    ] {
        let found = webhook(settings);
        assert_eq!(found.format, format, "{settings}");
        assert_eq!(found.event_types, event_types, "{settings}");
        assert_eq!(
            (found.batch.events_max, found.batch.flush_interval),
            (events_max, flush_interval),
            "{settings}"
        );
    }
}

#[test]
fn a_destination_may_have_filters_rules_compression_and_order_of_its_own() {
    use domain::destination::{Compression, Rule, RuleField, RuleGroup, RuleOperator};
    let found = webhook(
        "filters: {completion: {keys: app-*, end_users: [u1, u2], tags: prod, properties: {Env: x}}}
    rules:
      groups:
        - logic: or
          rules:
            - {field: model, operator: starts_with, value: gpt}
            - {field: total_tokens, operator: gte, value: 1000}
        - rules: [{field: session_id, operator: exists}]
    compression: gzip
    strict_order: true
    event_types: [delivery.exhausted, completion]",
    );
    let filter = EventFilter {
        keys: vec!["app-*".to_owned()],
        end_users: vec!["u1".to_owned(), "u2".to_owned()],
        tags: vec!["prod".to_owned()],
        properties: vec![("Env".to_owned(), "x".to_owned())],
        ..EventFilter::default()
    };
    assert_eq!(found.filters, [(EventType::Completion, filter)]);
    let rule = |field, operator, value: &str| Rule { field, operator, value: value.to_owned() };
    let groups = [
        RuleGroup {
            any: true,
            rules: vec![
                rule(RuleField::Model, RuleOperator::StartsWith, "gpt"),
                rule(RuleField::TotalTokens, RuleOperator::Gte, "1000"),
            ],
        },
        RuleGroup { any: false, rules: vec![rule(RuleField::SessionId, RuleOperator::Exists, "")] },
    ];
    assert_eq!(found.rules.unwrap().groups, groups);
    assert_eq!((found.compression, found.strict_order), (Compression::Gzip, true));
    assert_eq!(found.event_types, [EventType::Completion, EventType::DeliveryExhausted]);
    assert_eq!(webhook("rules: {enabled: false, groups: [{rules: []}]}").rules, None);
}

#[test]
fn private_networks_open_one_by_one_where_they_are_closed() {
    let text = |entry: &str, security: &str| {
        let text = format!("webhooks: {{a: {{url: 'http://10.1.2.3/x'{entry}}}}}\n");
        Loaded::text(&format!("{text}security: {{{security}}}\n"), &[])
    };
    let closed = "block_private: true";
    let open = "block_private: true, allow_private_destinations: [10.1.0.0/16]";
    assert_eq!(text("", closed).problems.len(), 1);
    assert_eq!(text(", allow_private: true", open).problems.len(), 1);
    let settings = text("", open).settings();
    assert!(!settings.destinations[0].allow_private);
    assert_eq!(settings.egress.allow_private_destinations.len(), 1);
    assert!(text(", allow_private: false", open.split_once(", ").unwrap().1).settings.is_some());
}

#[test]
fn alerting_by_webhook_sends_budgets_to_the_url_in_the_environment() {
    let text = "general_settings: {alerting: [slack, webhook]}\n\
                litellm_settings: {max_budget: 10}\n";
    let variables = [("WEBHOOK_URL", "https://u:p@x.example/alerts")];
    let loaded = Loaded::text(text, &variables);
    assert_eq!(loaded.warnings.len(), 2, "{:#?}", loaded.warnings); // slack, no models
    let found = loaded.destination("alerting_webhook");
    assert_eq!(
        (found.format, found.url.as_str()),
        (Format::LitellmAlert, "https://x.example/alerts")
    );
    assert_eq!(found.event_types, [EventType::Budget]);
    assert_eq!(headers(&found), [("Authorization", "Basic dTpw")]);
    assert_eq!(found.retry, Policy::default().defaults.retry);
}

#[test]
fn certificates_are_read_and_a_key_must_fit_its_own() {
    let data = |name: &str| {
        std::fs::read_to_string(repository(&format!("crates/delivery/tests/data/{name}"))).unwrap()
    };
    let (root, chain, key) = (data("root.pem"), data("receiver.pem"), data("receiver.key.pem"));
    let load = |tls: &str| {
        let text = format!("webhooks: {{a: {{url: 'https://x.example', tls: {{{tls}}}}}}}\n");
        let files = [
            ("config.yaml", text.as_str()),
            ("root.pem", &root),
            ("chain.pem", &chain),
            ("key.pem", &key),
        ];
        Loaded::files(&files, &[])
    };
    let tls = load("ca_file: root.pem").destination("a").tls.unwrap();
    assert_eq!((tls.roots, tls.client), (Some(root.clone()), None));
    let both = "client_certificate_file: chain.pem, client_key_file: key.pem";
    let client = load(both).destination("a").tls.unwrap().client.unwrap();
    assert_eq!((client.chain, client.key.expose()), (chain.clone(), key.as_str()));
    for (wrong, expected) in [
        ("ca_file: key.pem", "tls.ca_file: holds no certificate"),
        ("ca_file: none.pem", "none.pem could not be read"),
        (
            "client_certificate_file: chain.pem, client_key_file: chain.pem",
            "tls.client_key_file: holds no private key",
        ),
        (
            "client_certificate_file: root.pem, client_key_file: key.pem",
            "tls.client_key_file: holds a key that does not fit",
        ),
    ] {
        let problems = load(wrong).problems;
        assert!(problems.len() == 1 && problems[0].contains(expected), "{wrong}: {problems:#?}");
    }
}
