//! The ways out of the whole gateway: through proxies, to whom only a root of the operator's vouches
//! for, from ports that are allowed, and within the system's limit of open files.

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt};

use serde_json::json;
use testkit::{Gateway, Receiver, Upstream, gateway::Setup, tunnel::Proxy};

use crate::{
    delivery_world::{call, wait_told},
    manage::Managed,
    support::BINARY,
    tls_world::{ROOT, in_front_of},
    world::{deployment, models},
};

/// A deployment of `echo` at this base, a destination at this receiver, and these ways out.
async fn start(base: &str, receiver: &Receiver, egress: &str) -> Gateway {
    let url = receiver.url().replace("127.0.0.1", "localhost");
    let config = format!(
        "{}
webhooks: {{hook: {{url: '{url}?hook'}}}}
events: {{subscribe: [completion]}}
hookgate: {{ballast_bytes: 0, egress: {{{egress}}}}}
",
        models(&[deployment("echo", "openai/echo-1", base, "")])
    );
    let setup = Setup::new(BINARY, &config).file("root.pem", ROOT);
    // Nobody asked for these.
    let nowhere = "http://127.0.0.1:1";
    setup.env("HTTPS_PROXY", nowhere).env("HTTP_PROXY", nowhere).start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn providers_and_destinations_are_reached_through_their_own_proxies() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let (models, hooks) = (Proxy::start().await, Proxy::start().await);
    // Nobody but the proxy knows that name.
    let base = upstream.openai_url().replace("127.0.0.1", "provider.invalid");
    let egress = format!(
        "providers: {{proxy: 'http://{}'}}, destinations: {{proxy: 'http://{}'}}",
        models.authority(),
        hooks.authority()
    );
    let gateway = start(&base, &receiver, &egress).await;
    let id = call(&gateway.client(), "hello").await;
    wait_told(&receiver, "hook", &BTreeSet::from([id])).await;
    let targets = models.targets();
    let is_provider = |target: &String| target.starts_with("provider.invalid:");
    assert!(!targets.is_empty() && targets.iter().all(is_provider), "{targets:?}");
    // A destination's name was resolved and vetted here.
    let targets = hooks.targets();
    let is_address = |target: &String| target.parse::<std::net::SocketAddr>().is_ok();
    assert!(!targets.is_empty() && targets.iter().all(is_address), "{targets:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_providers_certificate_may_be_signed_by_a_root_of_the_operators() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let tls = in_front_of(&upstream.url()).await;
    let base = format!("{}v1", tls.url("https"));
    let gateway = start(&base, &receiver, "providers: {ca_file: root.pem}").await;
    call(&gateway.client(), "hello").await;

    let gateway = start(&base, &receiver, "destinations: {ca_file: root.pem}").await;
    let refused = gateway.client().chat("echo", "hello").await;
    assert!(refused.code() >= 500, "{}", refused.text());
    assert!(refused.text().contains("UnknownIssuer"), "{}", refused.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_of_the_api_has_a_port_that_the_operator_allows() {
    let managed = Managed::with(|receiver| {
        let port = receiver.url();
        let port = port.rsplit(':').next().and_then(|rest| rest.split('/').next());
        format!(
            "security: {{require_https: false, allow_private_destinations: ['127.0.0.0/8'], \
             allowed_ports: [443, {}]}}\n",
            port.unwrap_or_default()
        )
    })
    .await;
    managed.make("allowed", json!({})).await;
    for url in ["http://127.0.0.1/", "https://receiver.example:22/"] {
        let asked = json!({"name": "other", "url": url});
        let seen = managed.ask("POST", "/api/destinations", Some(asked)).await;
        assert_eq!(seen.code(), 422, "{}", seen.text());
        assert!(seen.text().contains("security.allowed_ports allows 443, "), "{}", seen.text());
    }
    let moved = json!({"url": "https://receiver.example:6379/"});
    let seen = managed.ask("PATCH", "/api/destinations/allowed", Some(moved)).await;
    assert_eq!(seen.code(), 422, "{}", seen.text());
    // Helicone's door takes any URL; what is not allowed is not sent to.
    let webhook = json!({"destination": "https://receiver.example:25/", "config": {}});
    let seen = managed.ask("POST", "/v1/webhooks", Some(webhook)).await;
    assert_eq!(seen.code(), 200, "{}", seen.text());
    let all = managed.ask("GET", "/api/destinations", None).await.json();
    let all = all["data"].as_array().cloned().unwrap_or_default();
    let stored = all.iter().find(|destination| destination["source"] == "helicone");
    let status = &stored.expect("it was made")["status"];
    assert_eq!(
        (&status["state"], &status["problems"][0]["field"]),
        (&"invalid".into(), &"url".into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_of_open_files_is_raised_and_bounds_connections() {
    let directory = tempfile::tempdir().expect("the system has room for a directory");
    let binary = directory.path().join("limited");
    let script = format!("#!/bin/sh\nulimit -Sn 64\nulimit -Hn 400\nexec {BINARY} \"$@\"\n");
    std::fs::write(&binary, script).expect("a new directory is writable");
    let may_run = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&binary, may_run).expect("it is ours");
    let config = "
model_list:
  - model_name: echo
    litellm_params: {model: openai/gpt-4o, mock_response: hello}
hookgate: {ballast_bytes: 0}
";
    let setup = Setup::new(binary.to_str().expect("its name is text"), config);
    let gateway = setup.start().await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gateway.pid()));
    let limits = limits.expect("the process runs");
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let numbers: Vec<_> = line.unwrap_or_default().split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers, ["400", "400"], "{limits}");
    gateway.wait_for_log_lines("allows 100 connections from callers", 1).await;
    // A hundred that say nothing take all places; one that leaves makes room.
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(tokio::net::TcpStream::connect(gateway.address()).await.expect("it listens"));
    }
    let client = gateway.client();
    let leaving = async { drop(silent.pop()) };
    let (seen, ()) = tokio::join!(client.chat("echo", "hello"), leaving);
    assert_eq!(seen.code(), 200);
}
