//! Pre-configured callbacks: from a user's registry, from the environment, and what is said when
//! something is missing.

use testkit::{Gateway, Receiver, Upstream, gateway::Setup};

use crate::{
    delivery_world::{call, config, of},
    support::BINARY,
};

/// The name that a registry beside the configuration has.
const REGISTRY: &str = "generic_api_compatible_callbacks.json";

/// Calls once, ends the gateway, and returns what came for a destination.
async fn arrivals_of_a_call(
    gateway: Gateway,
    receiver: &Receiver,
    name: &str,
) -> Vec<testkit::receiver::Arrival> {
    call(&gateway.client(), "hi").await;
    let stopped = gateway.terminate().await;
    assert!(stopped.status.success(), "{:#?}", stopped.log());
    of(&receiver.arrivals(), name)
}

#[tokio::test]
async fn a_registry_beside_the_configuration_is_used_and_one_that_is_named_wins() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let entry = |name: &str| {
        format!(
            r#"{{"mine": {{
                "endpoint": "{{{{environment_variables.MINE_URL_2}}}}?{name}",
                "headers": {{"Authorization": "Bearer {{{{environment_variables.MINE_KEY}}}}"}},
                "environment_variables": ["MINE_URL_2", "MINE_KEY"],
                "event_types": ["llm_api_success"],
                "log_format": "ndjson"
            }}}}"#
        )
    };
    let config = config(&upstream, "  callbacks: [mine]\n");
    let setup = || {
        Setup::new(BINARY, &config)
            .env("MINE_URL_2", &receiver.url())
            .env("MINE_KEY", "key-of-mine")
            .file(REGISTRY, &entry("beside"))
    };
    let beside = arrivals_of_a_call(setup().start().await, &receiver, "beside").await;
    assert_eq!(beside.len(), 1);
    assert_eq!(beside[0].header("authorization"), Some("Bearer key-of-mine"));
    assert_eq!(beside[0].items().len(), 1);
    assert!(!beside[0].body.starts_with(b"["), "ndjson has no array");

    let named = setup().file("named.json", &entry("named"));
    let path = named.directory().join("named.json");
    let named = named.arg("--callbacks").arg(path.to_str().expect("its name is text"));
    let named = arrivals_of_a_call(named.start().await, &receiver, "named").await;
    assert_eq!(named.len(), 1);
    assert_eq!(of(&receiver.arrivals(), "beside").len(), 1, "only the named one is used");
}

#[tokio::test]
async fn bare_generic_api_as_a_text_sends_where_the_environment_says() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let gateway = Setup::new(BINARY, &config(&upstream, "  callbacks: generic_api\n"))
        .env("GENERIC_LOGGER_ENDPOINT", &format!("{}?bare", receiver.url()))
        .env("GENERIC_LOGGER_HEADERS", "Authorization=Bearer a=b, X-Team = blue ,junk")
        .start()
        .await;
    let arrivals = arrivals_of_a_call(gateway, &receiver, "bare").await;
    assert_eq!(arrivals.len(), 1);
    assert_eq!(arrivals[0].header("authorization"), Some("Bearer a=b"));
    assert_eq!(arrivals[0].header("x-team"), Some("blue"));
    assert!(arrivals[0].json().is_array());
}

#[tokio::test]
async fn a_built_in_name_takes_its_variables_from_the_file() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let sections = format!(
        "  success_callback: [rubrik]\nenvironment_variables:\n  RUBRIK_API_KEY: sk-1234\n  \
         RUBRIK_WEBHOOK_URL: {}?rubrik\n",
        receiver.url()
    );
    let gateway = Gateway::start(BINARY, &config(&upstream, &sections)).await;
    let arrivals = arrivals_of_a_call(gateway, &receiver, "rubrik").await;
    assert_eq!(arrivals.len(), 1);
    assert_eq!(arrivals[0].header("authorization"), Some("Bearer sk-1234"));
}

#[tokio::test]
async fn what_keeps_the_gateway_from_starting_is_told_at_once_and_by_name() {
    let upstream = Upstream::start().await;
    let config = config(&upstream, "  callbacks: [rubrik, mine, rubrk]\n");
    let registry = r#"{"mine": {"endpoint": "{{environment_variables.MINE_URL}}",
        "headers": {"Content-Length": "5"}}}"#;
    let setup = Setup::new(BINARY, &config).file(REGISTRY, registry);
    let output = setup
        .command(&["serve", "--config", "config.yaml", "--data-dir", "data"])
        .output()
        .await
        .expect("the binary was built for this test");
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    for expected in [
        "`rubrik` cannot be used: environment variables RUBRIK_API_KEY and RUBRIK_WEBHOOK_URL are",
        "`mine` cannot be used: environment variable MINE_URL is not set \
         (generic_api_compatible_callbacks.json:1:10 asks for it)",
        "there is no callback `rubrk`; did you mean `rubrik`?",
        "generic_api_compatible_callbacks.json:2:39: mine.headers.Content-Length",
    ] {
        assert!(said.contains(expected), "`{expected}` is not in:\n{said}");
    }
}
