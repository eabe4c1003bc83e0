//! Helicone's request headers, and its answers'.

use serde_json::json;
use testkit::client::chat_body;

use crate::world::{World, openai_error};

const OWN_ID: &str = "123e4567-e89b-42d3-a456-426614174000";

#[tokio::test]
async fn they_are_honoured_kept_from_the_provider_and_answered() {
    let world = World::with("", "general_settings: {master_key: sk-the-master-key}\n").await;
    let client = world
        .gateway
        .client()
        .with_key("sk-a-provider-s-key-that-is-not-ours")
        .with_header("Helicone-Auth", "Bearer sk-the-master-key")
        .with_header("Helicone-Request-Id", OWN_ID)
        .with_header("Helicone-User-Id", "u-header")
        .with_header("Helicone-Session-Id", "s-1")
        .with_header("Helicone-Property-Plan", "pro");
    let mut body = chat_body("echo", "hi");
    body["user"] = json!("u-body");
    let seen = client.post("/v1/chat/completions", &body).await;
    assert_eq!(seen.code(), 200, "{}", seen.text());
    assert_eq!(
        (seen.header("helicone-id"), seen.header("helicone-status")),
        (Some(OWN_ID), Some("success"))
    );
    let received = world.upstream.requests().pop().expect("it was asked");
    let helicones = received.headers.iter().filter(|(name, _)| name.starts_with("helicone-"));
    assert_eq!(helicones.count(), 0, "{:?}", received.headers);
    assert_eq!(received.header("authorization"), Some("Bearer sk-upstream"));
    let event = world.outcome(&seen).await;
    assert_eq!((&event["end_user"], &event["session_id"]), (&json!("u-header"), &json!("s-1")));

    // An id of another form is not taken; the call's own stands for it.
    let other = "018f3b1e-0000-7000-8000-000000000000";
    let client = world.gateway.client().with_key("sk-the-master-key");
    let seen = client.with_header("helicone-request-id", other).chat("nobody", "hi").await;
    assert_eq!((seen.code(), seen.header("helicone-status")), (400, Some("failed")));
    openai_error(&seen);
    assert_eq!(seen.header("helicone-id"), seen.header("x-litellm-call-id"));
    world.end(2).await;
}

#[tokio::test]
async fn a_property_is_matched_whatever_it_is_called_and_written_in() {
    let sections = "
  by-name:
    url: RECEIVER?by-name
    format: helicone
    filters: {completion: {properties: {Max-Tokens: few}}}
  by-value:
    url: RECEIVER?by-value
    format: helicone
    filters: {completion: {properties: {city: Köln}}}
  by-user:
    url: RECEIVER?by-user
    format: helicone
    filters: {completion: {properties: {user_id: Jürgen}}}
";
    let receiver = testkit::Receiver::start().await;
    let sections = sections.replace("RECEIVER", &receiver.url());
    let config = format!(
        "model_list: [{{model_name: echo, litellm_params: {{model: openai/x, mock_response: a}}}}]
webhooks:{sections}hookgate: {{ballast_bytes: 0}}\n"
    );
    let gateway = testkit::Gateway::start(crate::support::BINARY, &config).await;
    let client = gateway.client();
    let others = client.clone().with_header("helicone-property-city", "Bonn");
    others.chat("echo", "others").await;
    for (header, value, name) in [
        ("Helicone-Property-Max-Tokens", "few", "by-name"),
        ("Helicone-Property-City", "Köln", "by-value"),
        ("Helicone-User-Id", "Jürgen", "by-user"),
    ] {
        let seen = client.clone().with_header(header, value).chat("echo", name).await;
        assert_eq!(seen.code(), 200, "{}", seen.text());
        let is_it = |arrival: &testkit::receiver::Arrival| {
            arrival.path.ends_with(&format!("?{name}"))
                && arrival.json()["request_id"] == seen.header("helicone-id").unwrap_or_default()
        };
        receiver.wait_until(name, |seen| seen.iter().any(is_it)).await;
    }
    assert_eq!(receiver.arrivals().len(), 3, "nothing else matched");
}

#[tokio::test]
async fn both_keys_may_stand_in_one_header() {
    let key = "sk-the-master-key";
    let world = World::with("", &format!("general_settings: {{master_key: {key}}}\n")).await;
    for (shown, status) in [
        (format!("Bearer sk-of-a-provider, Bearer {key}"), 200),
        (format!("Bearer {key},sk-of-a-provider"), 200),
        ("Bearer sk-of-a-provider, Bearer sk-wrong".to_owned(), 401),
    ] {
        let client = world.gateway.client().with_header("authorization", &shown);
        let seen = client.chat("echo", "hi").await;
        assert_eq!(seen.code(), status, "{shown}: {}", seen.text());
    }
    let received = world.upstream.requests();
    assert!(received.iter().all(|seen| seen.header("authorization") == Some("Bearer sk-upstream")));
    world.end(3).await;
}

#[tokio::test]
async fn what_a_caller_omits_is_kept_from_the_journal_and_from_receivers() {
    let (question, answer) = ("canary-question-31", "canary-answer-31");
    for (header, is_question_kept, is_answer_kept) in [
        ("helicone-omit-request", false, true),
        ("helicone-omit-response", true, false),
        ("helicone-none", true, true),
    ] {
        let world = World::new().await;
        for stream in [false, true] {
            world.upstream.push(testkit::Answer::text(answer));
            let client = world.gateway.client().with_header(header, "true");
            let mut body = chat_body("echo", question);
            body["stream"] = json!(stream);
            let seen = client.post("/v1/chat/completions", &body).await;
            assert_eq!((seen.code(), seen.content().as_str()), (200, answer));
            let event = world.outcome(&seen).await;
            let content = event["content"].as_str().unwrap_or_default();
            assert_eq!(content == answer, is_answer_kept, "{header}: {event}");
            assert!(event["tokens_used"].as_u64() > Some(0), "{event}");
        }
        let data = world.gateway.setup.data_dir();
        let World { gateway, .. } = world;
        let _stopped = gateway.terminate().await;
        let kept = crate::privacy::bytes_below(&data);
        let holds = |text| crate::privacy::holds(&kept, text);
        let found = (holds(question), holds(answer));
        assert_eq!(found, (is_question_kept, is_answer_kept), "{header}");
    }
}
