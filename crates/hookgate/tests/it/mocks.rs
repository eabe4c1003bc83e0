//! Answers without a provider: `mock_response` in the configuration and in requests.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::client::{Seen, chat_body};

use crate::world::{World, deployment, models, openai_error, stream_error};

/// `(mock, status, error_type, message)` of LiteLLM's error strings.
const ERRORS: [(&str, u16, &str, &str); 5] = [
    ("litellm.RateLimitError", 429, "rate_limit", "this is a mock rate limit error"),
    (
        "litellm.ContextWindowExceededError",
        400,
        "context_window_exceeded",
        "this is a mock context window exceeded error",
    ),
    ("litellm.InternalServerError", 500, "provider_error", "this is a mock internal server error"),
    (
        "Exception: content_filter_policy found hate",
        400,
        "content_filter",
        "content_filter_policy found hate",
    ),
    (
        "Exception: mock_streaming_error",
        529,
        "stream_error",
        "This is a mock error raised mid-stream",
    ),
];

async fn ask(world: &World, body: &Value, stream: bool) -> Seen {
    let mut body = body.clone();
    body["stream"] = stream.into();
    world.gateway.client().post("/v1/chat/completions", &body).await
}

/// A request to `echo` with further fields.
fn with(more: Value) -> Value {
    let mut body = chat_body("echo", "hi");
    let (Some(body_fields), Value::Object(more)) = (body.as_object_mut(), more) else {
        return Value::Null;
    };
    body_fields.extend(more);
    body
}

#[tokio::test]
async fn a_mock_answers_as_a_provider_would_plain_and_streamed() {
    let whole = json!({"id": "own", "choices": [{"index": 0, "finish_reason": "length",
        "message": {"role": "assistant", "content": "as it is"}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}});
    let world = World::build(|upstream| {
        models(&[
            deployment("echo", "openai/echo-1", &upstream.openai_url(), ""),
            deployment("text", "openai/gpt-4o", "", ", mock_response: 'Hello wörld'"),
            deployment("whole", "openai/gpt-4o", "", &format!(", mock_response: {whole}")),
        ])
        .replace(" api_base: '',", "")
    })
    .await;
    let cases = [
        ("configured", chat_body("text", "hi"), "Hello wörld", "stop", 30),
        ("configured whole", chat_body("whole", "hi"), "as it is", "length", 3),
        ("requested", with(json!({"mock_response": "Grüß Gott"})), "Grüß Gott", "stop", 30),
        ("requested whole", with(json!({"mock_response": whole})), "as it is", "length", 3),
    ];
    let calls = 2 * cases.len();
    for (case, body, text, reason, tokens) in cases {
        for stream in [false, true] {
            let seen = ask(&world, &body, stream).await;
            assert_eq!((seen.code(), seen.is_whole), (200, true), "{case}: {}", seen.text());
            assert_eq!(seen.content(), text, "{case}");
            assert_eq!(seen.text().ends_with("data: [DONE]\n\n"), stream, "{case}");
            assert!(!stream || !seen.text().contains("usage"), "it was not asked for: {case}");
            let event = world.outcome(&seen).await;
            let told =
                ["event", "content", "finish_reason", "tokens_used"].map(|k| event[k].clone());
            assert_eq!(json!(told), json!(["completion", text, reason, tokens]), "{case}");
        }
    }
    assert!(world.upstream.requests().is_empty(), "no provider was asked");
    world.end(calls).await;
}

#[tokio::test]
async fn every_error_mock_fails_as_litellm_s_does() {
    let world = World::build(|upstream| {
        let configured = |(number, (mock, ..)): (usize, &(&str, u16, &str, &str))| {
            let more = format!(", mock_response: '{mock}'");
            deployment(&format!("error-{number}"), "openai/x", "", &more)
                .replace(" api_base: '',", "")
        };
        let mut list: Vec<_> = ERRORS.iter().enumerate().map(configured).collect();
        list.push(deployment("echo", "openai/echo-1", &upstream.openai_url(), ""));
        models(&list)
    })
    .await;
    for (number, (mock, status, kind, message)) in ERRORS.into_iter().enumerate() {
        for body in
            [chat_body(&format!("error-{number}"), "hi"), with(json!({"mock_response": mock}))]
        {
            for stream in [false, true] {
                let seen = ask(&world, &body, stream).await;
                assert_eq!(seen.code(), status, "{mock}: {}", seen.text());
                let error = openai_error(&seen);
                let told = error["message"].as_str().unwrap_or_default();
                assert!(told.contains(message), "{mock}: {told}");
                let event = world.outcome(&seen).await;
                let fields =
                    ["event", "error_type", "status", "error_message"].map(|k| event[k].clone());
                assert_eq!(json!(fields), json!(["error", kind, status, told]), "{mock}");
            }
        }
    }
    assert!(world.upstream.requests().is_empty());
    world.call_works().await;
    world.end(ERRORS.len() * 4 + 1).await;
}

#[tokio::test]
async fn a_mock_stream_can_fail_on_its_way() {
    let world = World::new().await;
    let mock = json!({"mock_response": "Exception: mock_streaming_error half of it"});
    let seen = ask(&world, &with(mock), true).await;
    assert_eq!(stream_error(&seen)["message"], "This is a mock error raised mid-stream");
    assert_eq!(seen.content(), "half of it");
    let event = world.outcome(&seen).await;
    assert_eq!(
        (&event["error_type"], &event["content"]),
        (&json!("stream_error"), &json!("half of it"))
    );
    world.end(1).await;
}

#[tokio::test]
async fn mock_tool_calls_are_the_answer_s_tool_calls() {
    let world = World::new().await;
    let calls = json!([{"id": "t1", "type": "function",
        "function": {"name": "weather", "arguments": "{\"city\":\"Bern\"}"}}]);
    let body = with(json!({"mock_response": "", "mock_tool_calls": calls}));
    let seen = ask(&world, &body, false).await;
    let choice = &seen.json()["choices"][0];
    assert_eq!(
        (&choice["message"]["tool_calls"], &choice["finish_reason"]),
        (&calls, &json!("tool_calls"))
    );
    assert_eq!(world.outcome(&seen).await["finish_reason"], "tool_calls");
    let seen = ask(&world, &body, true).await;
    let chunks: Vec<Value> =
        seen.data().iter().filter_map(|data| serde_json::from_str(data).ok()).collect();
    let call = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]["tool_calls"][0]);
    let call = call.clone().find(|call| call.is_object()).expect("a delta has it");
    assert_eq!((&call["function"], &call["index"]), (&calls[0]["function"], &json!(0)));
    assert_eq!(world.outcome(&seen).await["finish_reason"], "tool_calls");
    world.end(2).await;
}

#[tokio::test]
async fn a_mock_may_take_its_time_and_time_out() {
    let world = World::new().await;
    for stream in [false, true] {
        let began = Instant::now();
        let body = with(json!({"mock_response": "late", "mock_delay": 0.2}));
        let seen = ask(&world, &body, stream).await;
        assert_eq!((seen.code(), seen.content().as_str()), (200, "late"), "{}", seen.text());
        assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
        let event = world.outcome(&seen).await;
        assert!(event["latency_ms"].as_u64().is_some_and(|ms| ms >= 200), "{event}");

        let body = with(json!({"mock_timeout": true, "timeout": 0.1}));
        let seen = ask(&world, &body, stream).await;
        assert_eq!(seen.code(), 408, "{}", seen.text());
        assert_eq!(openai_error(&seen)["message"], "This is a mock timeout error");
        assert_eq!(world.outcome(&seen).await["error_type"], "timeout");
    }
    assert!(world.upstream.requests().is_empty());
    world.end(4).await;
}

#[tokio::test]
async fn callers_mocks_can_be_forbidden_and_the_configured_stay() {
    let world = World::build(|upstream| {
        let list = models(&[
            deployment("echo", "openai/echo-1", &upstream.openai_url(), ""),
            deployment("text", "openai/x", "", ", mock_response: configured")
                .replace(" api_base: '',", ""),
        ]);
        list + "general_settings: {allow_client_mock_response: false}\n"
    })
    .await;
    let body = with(json!({"mock_response": "litellm.RateLimitError", "mock_timeout": true,
        "mock_delay": 30, "mock_tool_calls": []}));
    let seen = ask(&world, &body, false).await;
    assert_eq!((seen.code(), seen.content().as_str()), (200, "hi"), "{}", seen.text());
    assert_eq!(world.upstream.requests()[0].json(), {
        let mut sent = chat_body("echo-1", "hi");
        sent["stream"] = false.into();
        sent
    });
    let seen = ask(&world, &chat_body("text", "hi"), false).await;
    assert_eq!(seen.content(), "configured");
    world.end(2).await;
}

#[tokio::test]
async fn a_failing_mock_is_retried_and_falls_back_like_a_provider() {
    let world = World::build(|upstream| {
        let failing =
            deployment("failing", "openai/x", "", ", mock_response: litellm.InternalServerError")
                .replace(" api_base: '',", "");
        let list =
            models(&[deployment("echo", "openai/echo-1", &upstream.openai_url(), ""), failing]);
        list + "  fallbacks: [{failing: [echo]}]\n"
    })
    .await;
    let seen = ask(&world, &chat_body("failing", "hi"), false).await;
    assert_eq!((seen.code(), seen.content().as_str()), (200, "hi"), "{}", seen.text());
    assert_eq!(seen.header("x-litellm-attempted-fallbacks"), Some("1"));
    assert_eq!(world.outcome(&seen).await["fallbacks"], 1);
    world.end(1).await;
}
