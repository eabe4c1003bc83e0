//! The doors beside the LLM API, who may use them, and when the gateway refuses to start.

use serde_json::json;
use testkit::{Client, client::chat_body, gateway::Setup};

use crate::{
    support::BINARY,
    world::{World, deployment, models, openai_error},
};

#[tokio::test]
async fn models_are_listed_once_each_in_the_file_s_order() {
    let world = World::build(|upstream| {
        let base = upstream.openai_url();
        let models = models(&[
            deployment("echo", "openai/echo-1", &base, ""),
            deployment("a-second", "openai/b", &base, ""),
            deployment("echo", "openai/echo-2", &base, ""),
        ]);
        models + "router_settings: {model_group_alias: {other-name: echo}}\n"
    })
    .await;
    for path in ["/v1/models", "/models"] {
        let seen = world.gateway.client().get(path).await;
        assert_eq!((seen.code(), seen.header("content-type")), (200, Some("application/json")));
        let list = seen.json();
        assert_eq!(list["object"], "list");
        let data = list["data"].as_array().cloned().unwrap_or_default();
        let ids: Vec<_> = data.iter().map(|model| model["id"].clone()).collect();
        assert_eq!(json!(ids), json!(["echo", "a-second", "other-name"]));
        for model in data {
            assert_eq!(model["object"], "model");
            assert!(model["created"].is_number() && model["owned_by"].is_string(), "{model}");
        }
    }
    world.end(0).await;
}

#[tokio::test]
async fn health_needs_no_key_and_tells_no_secret() {
    let world = World::with("", "general_settings: {master_key: sk-the-master-key}\n").await;
    for path in ["/health/liveliness", "/health/liveness"] {
        let seen = world.gateway.client().get(path).await;
        assert_eq!((seen.code(), seen.text().as_str()), (200, "\"I'm alive!\""));
    }
    let seen = world.gateway.client().get("/health/readiness").await;
    assert_eq!((seen.code(), seen.json()["status"].clone()), (200, json!("healthy")));
    assert!(!seen.text().contains("sk-"));
    assert_eq!(world.gateway.client().get("/v1/models").await.code(), 401);
    world.end(0).await;
}

#[tokio::test]
async fn without_a_master_key_no_web_page_gets_in() {
    let world = World::new().await;
    let port = world.gateway.address().port();
    let cases = [
        ("host", format!("localhost:{port}"), 200),
        ("host", format!("127.0.0.1:{port}"), 200),
        ("host", format!("[::1]:{port}"), 200),
        ("host", "evil.example".to_owned(), 403),
        ("host", format!("localhost.evil.example:{port}"), 403),
        ("host", format!("127.0.0.1.nip.example:{port}"), 403),
        ("host", "192.168.1.7".to_owned(), 403),
        ("origin", "http://localhost:3000".to_owned(), 200),
        ("origin", "http://[::1]:3000".to_owned(), 200),
        ("origin", "https://evil.example".to_owned(), 403),
        ("origin", "null".to_owned(), 403),
        ("origin", "file://".to_owned(), 403),
    ];
    let mut calls = 0;
    for (name, value, status) in cases {
        let body = chat_body("echo", "hi").to_string();
        let length = body.len();
        let host = if name == "host" { value.clone() } else { "localhost".to_owned() };
        let origin = if name == "origin" { format!("origin: {value}\r\n") } else { String::new() };
        let message = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\n{origin}content-type: \
             text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        let client = Client::new(world.gateway.address());
        let open = client.open_raw(message.as_bytes()).await.expect("the gateway answers");
        let seen = open.finish().await;
        assert_eq!(seen.code(), status, "{name}: {value}: {}", seen.text());
        assert!(seen.headers.iter().all(|(name, _)| !name.starts_with("access-control")));
        if status == 200 {
            calls += 1;
            world.outcome(&seen).await;
        } else {
            assert_eq!(openai_error(&seen)["type"], "authentication_error", "{}", seen.text());
        }
    }
    assert_eq!(world.upstream.requests().len(), calls);
    world.end(calls).await;
}

#[tokio::test]
async fn with_a_master_key_the_gateway_answers_to_any_name() {
    let key = "sk-the-master-key";
    let world = World::with("", &format!("general_settings: {{master_key: {key}}}\n")).await;
    let message = format!(
        "GET /v1/models HTTP/1.1\r\nhost: gateway.example\r\norigin: https://app.example\r\n\
         authorization: Bearer {key}\r\nconnection: close\r\n\r\n"
    );
    let client = Client::new(world.gateway.address());
    let open = client.open_raw(message.as_bytes()).await.expect("the gateway answers");
    assert_eq!(open.status, 200);
    world.end(0).await;
}

#[tokio::test]
async fn beyond_this_machine_it_listens_only_behind_a_master_key() {
    let config = "model_list: [{model_name: m, litellm_params: {model: openai/m, api_key: k}}]\n";
    for (host, in_file) in [("0.0.0.0", false), ("::", false), ("0.0.0.0", true)] {
        let section = format!("hookgate: {{host: '{host}'}}\n");
        let config = if in_file { config.to_owned() + &section } else { config.to_owned() };
        let setup = Setup::new(BINARY, &config);
        let mut args = vec!["--config", "config.yaml", "--port", "0", "--data-dir", "data"];
        if !in_file {
            args.extend(["--host", host]);
        }
        let output = setup.command(&args).output().await.expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains("general_settings.master_key"), "{said}");
        assert!(!in_file || said.contains("config.yaml:2:"), "it names the line: {said}");
        assert!(!setup.data_dir().exists(), "nothing was begun");
    }
    // With a key it does.
    let setup =
        Setup::new(BINARY, &(config.to_owned() + "general_settings: {master_key: sk-x7}\n"));
    let gateway = setup.arg("--host").arg("127.0.0.1").start().await;
    assert_eq!(gateway.client().with_key("sk-x7").get("/v1/models").await.code(), 200);
}

#[tokio::test]
async fn a_second_gateway_on_the_same_data_is_refused() {
    let world = World::new().await;
    let setup = &world.gateway.setup;
    let data_dir = setup.data_dir();
    let data_dir = data_dir.to_str().expect("temporary directories have plain names");
    let args = ["serve", "--config", "config.yaml", "--port", "0", "--data-dir", data_dir];
    let output = setup.command(&args).output().await.expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: ") && said.contains(data_dir), "{said}");
    world.call_works().await;
    world.end(1).await;
}
