//! What must not be kept, told or logged.

use std::path::Path;

use serde_json::{Value, json};
use testkit::{Answer, Gate, Receiver, Upstream, client::chat_body, gateway::Setup};

use crate::{
    support::BINARY,
    world::{World, deployment, models},
};

const PROMPT: &str = "canary-prompt-5150";
const ANSWER: &str = "canary-answer-5150";

/// Every byte of every file below a directory.
pub(crate) fn bytes_below(directory: &Path) -> Vec<u8> {
    let entries = std::fs::read_dir(directory).expect("the gateway made it");
    let mut bytes = Vec::new();
    for entry in entries {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            bytes.extend(bytes_below(&path));
        } else {
            bytes.extend(std::fs::read(&path).expect("the test runs as the same user"));
        }
    }
    bytes
}

pub(crate) fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// A world in which every format and every type of event is wanted, and logs are chatty; with
/// further `litellm_settings` and sections.
async fn wide_world(settings: &str, sections: &str) -> (World, Receiver) {
    let posts = Receiver::start().await;
    let upstream = Upstream::start().await;
    let receiver = Receiver::start().await;
    let deployments = [
        deployment("echo", "openai/echo-1", &upstream.openai_url(), ""),
        deployment("claude", "anthropic/claude-x", &upstream.url(), ""),
    ];
    let config = format!(
        "{}  callbacks: [posts]
{settings}{sections}
callback_settings:
  posts:
    callback_type: generic_api
    endpoint: {}
    headers: {{Authorization: Bearer canary-destination-key}}
    batch_size: 1
webhooks:
  primary:
    url: {}
    secret: whsec_Y2FuYXJ5LXdlYmhvb2stc2VjcmV0LTUxNTA=
events:
  subscribe: [completion, error, streaming]
retry: {{initial_delay_ms: 20, max_delay_ms: 100}}
hookgate: {{ballast_bytes: 0}}
",
        models(&deployments),
        posts.url(),
        receiver.url(),
    )
    .replace("sk-upstream", "sk-canary-provider-key");
    let gateway = Setup::new(BINARY, &config).env("RUST_LOG", "trace").start().await;
    (World { upstream, receiver, gateway }, posts)
}

/// A plain call, a streamed one, and one that fails on its way, at both dialects.
async fn calls(world: &World, more: &Value, headers: &[(&str, &str)]) -> usize {
    let mut client = world.gateway.client().with_key("sk-canary-master-key");
    for (name, value) in headers {
        client = client.with_header(name, value);
    }
    let mut count = 0;
    for model in ["echo", "claude"] {
        for (stream, cut) in [(false, false), (true, false), (true, true)] {
            let gate = Gate::new();
            let answer = Answer::text(&format!("{ANSWER} and more {ANSWER}"));
            // After the beginning and the first words.
            let chunks = if model == "echo" { 3 } else { 5 };
            let answer =
                if cut { answer.pause_after(chunks, &gate).cut_after(chunks) } else { answer };
            world.upstream.push(answer);
            let mut body = chat_body(model, PROMPT);
            body["stream"] = stream.into();
            if let (Some(fields), Some(more)) = (body.as_object_mut(), more.as_object()) {
                fields.extend(more.clone());
            }
            let body = body.to_string();
            let open = client.open("POST", "/v1/chat/completions", body.as_bytes()).await;
            let mut open = open.expect("it begins");
            assert_eq!(open.status, 200);
            if cut {
                open.read_until(ANSWER).await.expect("the caller gets the text");
                gate.open();
            }
            let seen = open.finish().await;
            let has_text = cut || seen.content().contains(ANSWER);
            assert_eq!((seen.is_whole, has_text), (!cut, true), "{model}: {}", seen.text());
            count += 1;
        }
    }
    count
}

#[tokio::test]
async fn a_call_with_no_log_leaves_no_text_and_no_event() {
    let (world, posts) = wide_world("", "").await;
    let count = calls(&world, &json!({"no-log": true}), &[]).await;
    let mut failing = chat_body("nobody", PROMPT);
    failing["no-log"] = true.into();
    let seen = world.gateway.client().post("/v1/chat/completions", &failing).await;
    assert_eq!((seen.code(), count), (400, 6));
    world.call_works().await;
    let data = world.gateway.setup.data_dir();
    let World { receiver, gateway, .. } = world;
    let stopped = gateway.terminate().await;
    let kept = bytes_below(&data);
    assert!(holds(&kept, "still here"), "what may be kept is found by the same search");
    assert!(holds(&kept, r#""total_tokens":5"#), "the tokens still count as spend");
    assert!(!holds(&kept, PROMPT) && !holds(&kept, ANSWER));
    assert!(!stopped.log().concat().contains(PROMPT) && !stopped.log().concat().contains(ANSWER));
    let outcomes = |items: Vec<Value>| items.iter().filter(|i| i["event"] != "streaming").count();
    assert_eq!((outcomes(receiver.items()), outcomes(posts.items())), (1, 1));
    assert!(receiver.items().iter().all(|item| !item.to_string().contains("canary")));
}

#[tokio::test]
async fn a_redacted_call_is_told_without_its_texts_and_with_its_tokens() {
    for (settings, header) in [
        ("  turn_off_message_logging: true\n", None),
        ("", Some(("x-litellm-enable-message-redaction", "true"))),
    ] {
        let (world, posts) = wide_world(settings, "").await;
        let count = calls(&world, &json!({}), &header.into_iter().collect::<Vec<_>>()).await;
        let data = world.gateway.setup.data_dir();
        let World { receiver, gateway, .. } = world;
        let stopped = gateway.terminate().await;
        let kept = bytes_below(&data);
        assert!(holds(&kept, "redacted-by-litellm"), "what is kept is found by this search");
        assert!(!holds(&kept, PROMPT) && !holds(&kept, ANSWER));
        assert!(
            !stopped.log().concat().contains(PROMPT) && !stopped.log().concat().contains(ANSWER)
        );
        for items in [receiver.items(), posts.items()] {
            let text = json!(items).to_string();
            assert!(!text.contains(PROMPT) && !text.contains(ANSWER), "{text}");
        }
        let events = receiver.items();
        let completed: Vec<_> = events.iter().filter(|e| e["event"] == "completion").collect();
        let failed = events.iter().filter(|e| e["event"] == "error").count();
        assert_eq!((completed.len(), failed), (4, 2));
        assert!(completed.iter().all(|event| event["tokens_used"] == 5), "{completed:#?}");
        assert_eq!(posts.items().len(), count);
        for post in posts.items() {
            assert_eq!(post["messages"][0]["content"], "redacted-by-litellm");
            let is_cut = post["status"] == "failure";
            let response = &post[if is_cut { "partial_response" } else { "response" }];
            let answer = &response["choices"][0]["message"]["content"];
            assert_eq!(answer, "redacted-by-litellm", "{post}");
        }
    }
}

#[tokio::test]
async fn no_secret_is_told_logged_or_kept() {
    let general = "general_settings: {master_key: sk-canary-master-key}\n";
    let (world, posts) = wide_world("", general).await;
    let key = "sk-canary-master-key";
    let elsewhere = [
        ("helicone-auth", "Bearer sk-canary-helicone"),
        ("cookie", "session=canary-cookie"),
        ("x-api-key", "sk-canary-other"),
        ("proxy-authorization", "Basic canary-proxy"),
    ];
    let mut count = calls(&world, &json!({"api_key": "sk-canary-in-body"}), &elsewhere).await;
    // The provider itself says the key aloud.
    let echoed = "Incorrect API key provided: sk-canary-provider-key";
    for (answer, status) in
        [(Answer::error(401, echoed), 401), (Answer::body(403, "text/plain", echoed), 403)]
    {
        world.upstream.push(answer);
        let seen = world.gateway.client().with_key(key).chat("echo", "hi").await;
        assert_eq!(seen.code(), status);
        assert!(seen.text().contains("Incorrect API key provided"), "{}", seen.text());
        assert!(!seen.text().contains("canary"), "the caller learns no key: {}", seen.text());
        count += 1;
    }
    // Wrong keys, an unknown model, and a caller who leaves.
    let seen = world.gateway.client().with_key("sk-canary-wrong").chat("echo", "hi").await;
    assert_eq!(seen.code(), 401);
    count += 1;
    let seen = world.gateway.client().with_key(key).chat("nobody", "hi").await;
    assert_eq!(seen.code(), 400);
    count += 1;
    let gate = Gate::new();
    world.upstream.push(Answer::echo().pause_after(1, &gate));
    let open = world.gateway.client().with_key(key).open_stream("echo", "hi").await;
    drop(open.expect("it begins"));
    count += 1;

    let data = world.gateway.setup.data_dir();
    let outcomes = |items: &[Value]| items.iter().filter(|i| i["event"] != "streaming").count();
    world
        .receiver
        .wait_until("all outcomes", |seen| {
            outcomes(&testkit::receiver::accepted_items(seen)) == count
        })
        .await;
    posts.wait_for_items(count).await;
    let World { receiver, gateway, .. } = world;
    let stopped = gateway.terminate().await;
    let (kept, log) = (bytes_below(&data), stopped.log().join("\n"));
    let told = json!([receiver.items(), posts.items()]).to_string();
    assert!(holds(&kept, PROMPT) && told.contains(PROMPT), "texts are found by this search");
    let secrets = [
        "sk-canary",
        "canary-cookie",
        "canary-proxy",
        "canary-destination-key",
        "Y2FuYXJ5LXdlYmhvb2stc2VjcmV0LTUxNTA",
        "canary-webhook-secret",
    ];
    for secret in secrets {
        assert!(!holds(&kept, secret), "the data directory holds {secret}");
        assert!(!told.contains(secret), "an event tells {secret}: {told}");
        assert!(!log.contains(secret), "the log tells {secret}");
    }
}
