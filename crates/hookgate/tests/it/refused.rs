//! Calls that are not let in: told of, and not so often that strangers fill the journal.

use serde_json::{Value, json};
use testkit::{Client, Receiver, Upstream, client::chat_body, gateway::Setup};

use crate::{
    support::{BINARY, model},
    world::World,
};

const LOCKED: &str = "general_settings: {master_key: sk-the-master-key}\n";

#[tokio::test]
async fn a_stranger_s_call_is_told_without_who_sent_it() {
    let world = World::with("", LOCKED).await;
    let client = world.gateway.client().with_header("user-agent", "stranger/1.0");
    for (client, path, body) in [
        (client.clone(), "/v1/chat/completions", chat_body("echo", "let me in")),
        (client.clone().with_key("sk-wrong"), "/v1/embeddings", json!({"model": "echo"})),
        (
            client.with_header("x-api-key", "sk-wrong"),
            "/v1/messages",
            json!({"model": "echo", "no-log": true, "messages": []}),
        ),
    ] {
        let seen = client.post(path, &body).await;
        assert_eq!(seen.code(), 401, "{path}: {}", seen.text());
        assert_eq!(seen.json()["type"] == "error", path == "/v1/messages", "{}", seen.text());
        let event = world.outcome(&seen).await;
        let fields = ["event", "error_type", "model", "status", "key_name", "severity"];
        let fields = fields.map(|field| event[field].clone());
        let expected = json!(["error", "unauthorized", "echo", 401, null, "warning"]);
        assert_eq!(json!(fields), expected, "{path}: {event}");
        assert!(!event.to_string().contains("sk-wrong"), "{event}");
    }
    assert!(world.upstream.requests().is_empty());
    let client = world.gateway.client().with_key("sk-the-master-key");
    assert_eq!(client.chat("echo", "hi").await.code(), 200);
    world.end(4).await;
}

#[tokio::test]
async fn litellm_s_receivers_are_not_told_where_a_stranger_was() {
    let (upstream, posts) = (Upstream::start().await, Receiver::start().await);
    let config = format!(
        "{}  callbacks: [posts]
callback_settings:
  posts: {{callback_type: generic_api, endpoint: '{}', batch_size: 1}}
{LOCKED}",
        model(&upstream),
        posts.url()
    );
    let gateway = Setup::new(BINARY, &config).start().await;
    let client = gateway.client().with_header("user-agent", "stranger/1.0");
    let body = chat_body("echo", "let me in");
    for (key, expected) in [
        ("sk-wrong", json!(["failure", null, null])),
        ("sk-the-master-key", json!(["success", "127.0.0.1", "stranger/1.0"])),
    ] {
        let seen = client.clone().with_key(key).post("/v1/chat/completions", &body).await;
        let id = seen.header("x-litellm-call-id").expect("it is named").to_owned();
        let is_it = |item: &Value| item["litellm_call_id"] == *id;
        let told = posts
            .wait_until("the post", |seen| {
                testkit::receiver::accepted_items(seen).iter().any(is_it)
            })
            .await;
        let told = testkit::receiver::accepted_items(&told).into_iter().find(is_it);
        let told = told.expect("it came");
        let fields = ["status", "requester_ip_address", "user_agent"];
        assert_eq!(json!(fields.map(|field| told[field].clone())), expected, "{told}");
    }
    assert!(gateway.terminate().await.status.success());
}

#[tokio::test]
async fn a_stranger_s_odd_body_is_told_without_it() {
    let world = World::with("", LOCKED).await;
    let long = chat_body("echo", &"x".repeat(65 << 10)).to_string();
    for body in ["{\"model\":\"echo\",", "", "[]", &long] {
        let seen = world.gateway.client().request("POST", "/v1/completions", body.as_bytes()).await;
        assert_eq!(seen.code(), 401, "{}", seen.text());
        let event = world.outcome(&seen).await;
        assert_eq!((&event["error_type"], &event["model"]), (&json!("unauthorized"), &json!("")));
    }
    // What makes no call is told to nobody.
    for (method, path) in [("GET", "/v1/chat/completions"), ("POST", "/v1/models"), ("GET", "/x")] {
        let seen = world.gateway.client().request(method, path, b"{}").await;
        assert_eq!((seen.code(), seen.header("x-litellm-call-id")), (401, None), "{path}");
    }
    world.end(4).await;
}

#[tokio::test]
async fn a_flood_of_strangers_is_told_in_part_and_counted() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let events = crate::support::events(&receiver);
    let config = format!("{}{LOCKED}{events}", model(&upstream));
    let gateway = Setup::new(BINARY, &config).start().await;
    let address = gateway.address();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        calls.spawn(async move {
            let mut named = 0;
            for _ in 0..50 {
                let seen = Client::new(address).chat("echo", "let me in").await;
                assert_eq!(seen.code(), 401);
                named += usize::from(seen.header("x-litellm-call-id").is_some());
            }
            named
        });
    }
    let named: usize = calls.join_all().await.into_iter().sum();
    // 50 at once, and 10 for each second that it took.
    assert!((50..400).contains(&named), "{named} of 400 are told");
    let stopped = gateway.terminate().await;
    let said = stopped.log().into_iter().find(|line| line.contains("refused calls were not"));
    let said = said.expect("it is said how many were not");
    assert!(said.contains(&format!("{} refused calls were not reported", 400 - named)), "{said}");
    assert_eq!(receiver.items().len(), named);
}

#[tokio::test]
async fn a_caller_s_refused_call_is_told_with_what_can_be_read() {
    let world = World::new().await;
    let long = "m".repeat(5_000);
    let cases: [(&str, Value); 4] = [
        ("{]", json!(["invalid_request", ""])),
        (r#"{"model":"echo"}"#, json!(["invalid_request", "echo"])),
        (r#"{"model":"nobody","messages":[]}"#, json!(["unknown_model", "nobody"])),
        (
            &format!(r#"{{"model":"{long}","messages":[]}}"#),
            json!(["unknown_model", "m".repeat(1024)]),
        ),
    ];
    for (body, expected) in &cases {
        let path = "/v1/chat/completions";
        let seen = world.gateway.client().request("POST", path, body.as_bytes()).await;
        assert_eq!(seen.code(), 400, "{}", seen.text());
        let event = world.outcome(&seen).await;
        assert_eq!(json!([event["error_type"], event["model"]]), *expected);
    }
    world.end(cases.len()).await;
}
