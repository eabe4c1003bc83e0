//! The LLM APIs beside chat, each at a provider that speaks it, plain and streamed.

use serde_json::{Value, json};
use testkit::{Answer, Receiver, client::Seen};

use crate::world::{World, deployment, models, openai_error};

/// `echo` at an `OpenAI`, `claude` at an Anthropic, and a mock of each.
async fn world() -> World {
    World::build(|upstream| {
        let (openai, anthropic) = (upstream.openai_url(), upstream.url());
        models(&[
            deployment("echo", "openai/echo-1", &openai, ""),
            deployment("claude", "anthropic/claude-x", &anthropic, ""),
            deployment("mock", "openai/mock-1", &openai, ", mock_response: Two words"),
        ])
    })
    .await
}

/// Picks members of an event.
fn told(event: &Value, members: &[&str]) -> Value {
    members.iter().map(|member| event[member].clone()).collect()
}

const TOLD: [&str; 8] = [
    "event",
    "endpoint",
    "model",
    "provider_model",
    "content",
    "prompt_tokens",
    "completion_tokens",
    "finish_reason",
];

/// One call's way: asked at these paths, it goes to `path`, and comes back as it was sent.
struct Way {
    paths: &'static [&'static str],
    at_provider: &'static str,
    asked: Value,
    /// What the provider answers, byte for byte.
    answer: String,
    told: Value,
}

fn sse(events: &[Value], is_named: bool) -> String {
    let frame = |event: &Value| match event["type"].as_str().filter(|_| is_named) {
        Some(name) => format!("event: {name}\ndata: {event}\n\n"),
        None => format!("data: {event}\n\n"),
    };
    events.iter().map(frame).collect()
}

fn completions() -> Vec<Way> {
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5});
    let chunk = |text: &str, end: Value| {
        json!({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "echo-1",
            "choices": [{"index": 0, "text": text, "logprobs": null, "finish_reason": end}]})
    };
    let mut whole = chunk("Two words", json!("stop"));
    whole["usage"] = usage.clone();
    let mut last = chunk("", Value::Null);
    last["choices"] = json!([]);
    last["usage"] = usage;
    let chunks = [chunk("Two ", Value::Null), chunk("words", json!("stop")), last];
    let stream = sse(&chunks, false) + "data: [DONE]\n\n";
    let told =
        json!(["completion", "text_completions", "echo", "echo-1", "Two words", 3, 2, "stop"]);
    let way = |asked: Value, answer| Way {
        paths: &["/v1/completions", "/completions"],
        at_provider: "/v1/completions",
        asked,
        answer,
        told: told.clone(),
    };
    vec![
        way(json!({"model": "echo", "prompt": "Say two"}), whole.to_string()),
        way(
            json!({"model": "echo", "prompt": "Say two", "stream": true,
                "stream_options": {"include_usage": true}}),
            stream,
        ),
    ]
}

fn embeddings() -> Vec<Way> {
    let answer = json!({"object": "list", "model": "echo-1",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -1.5]}],
        "usage": {"prompt_tokens": 4, "total_tokens": 4}});
    vec![Way {
        paths: &["/v1/embeddings", "/embeddings", "/engines/echo/embeddings"],
        at_provider: "/v1/embeddings",
        asked: json!({"model": "echo", "input": ["a text"], "encoding_format": "float"}),
        answer: answer.to_string(),
        told: json!(["completion", "embeddings", "echo", "echo-1", null, 4, null, null]),
    }]
}

fn responses() -> Vec<Way> {
    let response = |status: &str, output: Value, usage: Value| {
        json!({"id": "resp_1", "object": "response", "created_at": 1, "status": status,
            "model": "echo-1", "output": output, "usage": usage})
    };
    let output = json!([{"type": "message", "id": "msg_1", "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "Two words", "annotations": []}]}]);
    let usage = json!({"input_tokens": 3, "output_tokens": 2, "total_tokens": 5,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0}});
    let whole = response("completed", output, usage);
    let delta = |number: u32, text: &str| {
        json!({"type": "response.output_text.delta", "sequence_number": number, "item_id": "msg_1",
            "output_index": 0, "content_index": 0, "delta": text})
    };
    let events = [
        json!({"type": "response.created", "sequence_number": 0,
            "response": response("in_progress", json!([]), Value::Null)}),
        delta(1, "Two "),
        delta(2, "words"),
        json!({"type": "response.completed", "sequence_number": 3, "response": whole}),
    ];
    let told = json!(["completion", "responses", "echo", "echo-1", "Two words", 3, 2, "stop"]);
    let way = |asked: Value, answer| Way {
        paths: &["/v1/responses", "/responses", "/openai/v1/responses"],
        at_provider: "/v1/responses",
        asked,
        answer,
        told: told.clone(),
    };
    vec![
        way(json!({"model": "echo", "input": "Say two"}), whole.to_string()),
        way(json!({"model": "echo", "input": "Say two", "stream": true}), sse(&events, true)),
    ]
}

fn messages() -> Vec<Way> {
    let usage = json!({"input_tokens": 3, "output_tokens": 2});
    let message = |content: Value, end: Value, usage: &Value| {
        json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x",
            "content": content, "stop_reason": end, "stop_sequence": null, "usage": usage})
    };
    let content = json!([{"type": "text", "text": "Two words"}]);
    let whole = message(content, json!("end_turn"), &usage);
    let delta = |text: &str| {
        json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "text_delta", "text": text}})
    };
    let events = [
        json!({"type": "message_start",
            "message": message(json!([]), Value::Null, &json!({"input_tokens": 3,
                "output_tokens": 1}))}),
        json!({"type": "content_block_start", "index": 0,
            "content_block": {"type": "text", "text": ""}}),
        json!({"type": "ping"}),
        delta("Two "),
        delta("words"),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": null},
            "usage": {"output_tokens": 2}}),
        json!({"type": "message_stop"}),
    ];
    let told = json!(["completion", "messages", "claude", "claude-x", "Two words", 3, 2, "stop"]);
    let way = |stream: bool, answer| Way {
        paths: &["/v1/messages", "/messages"],
        at_provider: "/v1/messages",
        asked: json!({"model": "claude", "max_tokens": 9, "stream": stream,
            "metadata": {"user_id": "u-1"}, "messages": [{"role": "user", "content": "Say two"}]}),
        answer,
        told: told.clone(),
    };
    vec![way(false, whole.to_string()), way(true, sse(&events, true))]
}

#[tokio::test]
async fn each_api_goes_to_its_provider_and_comes_back_and_is_told() {
    let world = world().await;
    let mut calls = 0;
    for way in [completions(), embeddings(), responses(), messages()].into_iter().flatten() {
        for path in way.paths {
            let answer = if way.asked["stream"] == true {
                Answer::sse([way.answer.clone()]).in_chunks_of(7)
            } else {
                Answer::body(200, "application/json", way.answer.clone())
            };
            world.upstream.push(answer);
            let seen = world.gateway.client().post(path, &way.asked).await;
            assert_eq!((seen.code(), seen.is_whole), (200, true), "{path}: {}", seen.text());
            assert_eq!(seen.text(), way.answer, "{path}");
            let received = world.upstream.requests().pop().expect("it was asked");
            let mut at_provider = way.asked.clone();
            at_provider["model"] = way.told[3].clone();
            assert_eq!((received.path.as_str(), received.json()), (way.at_provider, at_provider));
            let event = world.outcome(&seen).await;
            assert_eq!(told(&event, &TOLD), way.told, "{path}: {event}");
            calls += 1;
        }
    }
    world.end(calls).await;
}

#[tokio::test]
async fn a_model_in_the_path_is_the_one_that_is_asked() {
    let world = world().await;
    let chat = json!({"model": "nobody", "messages": [{"role": "user", "content": "hi"}]});
    let mut unnamed = chat.clone();
    unnamed.as_object_mut().expect("it is one").remove("model");
    for (path, body) in [
        ("/engines/echo/chat/completions", &chat),
        ("/openai/deployments/echo/chat/completions?api-version=2024-10-21", &unnamed),
        ("/openai/deployments/ec%68o/chat/completions", &unnamed),
    ] {
        let seen = world.gateway.client().post(path, body).await;
        assert_eq!((seen.code(), seen.content().as_str()), (200, "hi"), "{path}: {}", seen.text());
        let received = world.upstream.requests().pop().expect("it was asked");
        assert_eq!(received.json()["model"], "echo-1", "{path}");
        assert_eq!(world.outcome(&seen).await["model"], "echo");
    }
    world.end(3).await;
}

#[tokio::test]
async fn each_api_has_its_mock_plain_and_streamed() {
    let world = world().await;
    let cases = [
        ("/v1/completions", json!({"prompt": "a"}), "/choices/0/text"),
        ("/v1/responses", json!({"input": "a"}), "/output/0/content/0/text"),
        (
            "/v1/messages",
            json!({"max_tokens": 9, "messages": [{"role": "user", "content": "a"}]}),
            "/content/0/text",
        ),
    ];
    for (path, mut body, pointer) in cases {
        body["model"] = json!("mock");
        let seen = world.gateway.client().post(path, &body).await;
        assert_eq!(seen.code(), 200, "{path}: {}", seen.text());
        assert_eq!(seen.json().pointer(pointer), Some(&json!("Two words")), "{}", seen.text());
        assert_eq!(world.outcome(&seen).await["content"], "Two words", "{path}");

        body["stream"] = json!(true);
        let seen = world.gateway.client().post(path, &body).await;
        let is_stream =
            seen.header("content-type").is_some_and(|v| v.starts_with("text/event-stream"));
        assert!(is_stream && seen.is_whole && seen.code() == 200, "{path}: {}", seen.text());
        assert_eq!(world.outcome(&seen).await["content"], "Two words", "{path}: {}", seen.text());
    }
    let body = json!({"model": "mock", "input": ["a"], "mock_response": [0.5, 1]});
    let seen = world.gateway.client().post("/v1/embeddings", &body).await;
    assert_eq!(seen.json()["data"][0]["embedding"], json!([0.5, 1]), "{}", seen.text());
    assert_eq!(world.outcome(&seen).await["endpoint"], "embeddings");
    assert!(world.upstream.requests().is_empty(), "nobody was asked");
    world.end(7).await;
}

/// Checks that an answer has the shape of Anthropic's errors, and returns `error`.
fn anthropic_error(seen: &Seen) -> Value {
    let body = seen.json();
    assert_eq!(
        (&body["type"], seen.header("content-type")),
        (&json!("error"), Some("application/json"))
    );
    assert!(body["error"]["type"].is_string() && body["error"]["message"].is_string(), "{body}");
    body["error"].clone()
}

#[tokio::test]
async fn what_a_provider_does_not_speak_is_refused_by_name() {
    let world = world().await;
    let messages = json!([{"role": "user", "content": "hi"}]);
    let cases = [
        ("/v1/embeddings", json!({"model": "claude", "input": "a"})),
        ("/v1/responses", json!({"model": "claude", "input": "a"})),
        ("/v1/completions", json!({"model": "claude", "prompt": "a"})),
        ("/v1/messages", json!({"model": "echo", "max_tokens": 9, "messages": messages})),
    ];
    for (path, body) in &cases {
        let seen = world.gateway.client().post(path, body).await;
        assert_eq!(seen.code(), 400, "{path}: {}", seen.text());
        let error =
            if *path == "/v1/messages" { anthropic_error(&seen) } else { openai_error(&seen) };
        let message = error["message"].as_str().unwrap_or_default();
        let model = body["model"].as_str().unwrap_or_default();
        assert!(message.contains(path) && message.contains(&format!("`{model}`")), "{message}");
        let event = world.outcome(&seen).await;
        assert_eq!(told(&event, &["event", "model"]), json!(["error", model]), "{event}");
    }
    assert!(world.upstream.requests().is_empty(), "nobody was asked");
    // Who brings the answer needs no provider for it.
    let body = json!({"model": "claude", "input": "a", "mock_response": "brought"});
    let seen = world.gateway.client().post("/v1/responses", &body).await;
    assert_eq!(
        (seen.code(), world.outcome(&seen).await["content"].as_str()),
        (200, Some("brought"))
    );
    world.end(cases.len() + 1).await;
}

#[tokio::test]
async fn a_body_without_what_its_api_needs_is_refused_in_its_shape() {
    let world = world().await;
    for (path, field) in [
        ("/v1/completions", "prompt"),
        ("/v1/embeddings", "input"),
        ("/v1/responses", "input"),
        ("/v1/messages", "messages"),
    ] {
        let seen = world.gateway.client().post(path, &json!({"model": "echo"})).await;
        assert_eq!(seen.code(), 400, "{path}: {}", seen.text());
        let message = seen.json()["error"]["message"].clone();
        assert_eq!(message, format!("Missing required parameter: '{field}'."), "{path}");
        assert_eq!(world.outcome(&seen).await["error_type"], "invalid_request");
    }
    world.end(4).await;
}

#[tokio::test]
async fn anthropic_s_errors_pass_as_they_are_and_ours_have_their_shape() {
    let world = world().await;
    let asked = |stream: bool| {
        json!({"model": "claude", "max_tokens": 9, "stream": stream,
            "messages": [{"role": "user", "content": "hi"}]})
    };
    let overloaded = json!({"type": "error", "request_id": "req_x",
        "error": {"type": "overloaded_error", "message": "Overloaded"}});
    world.upstream.push(Answer::json(529, &overloaded).header("request-id", "req_x"));
    let seen = world.gateway.client().post("/v1/messages", &asked(false)).await;
    assert_eq!((seen.code(), seen.json()), (529, overloaded.clone()));
    assert_eq!(seen.header("request-id"), Some("req_x"));
    assert_eq!(told(&world.outcome(&seen).await, &["event", "status"]), json!(["error", 529]));

    world.upstream.push(Answer::body(200, "text/html", "<html>"));
    let seen = world.gateway.client().post("/v1/messages", &asked(false)).await;
    anthropic_error(&seen);
    assert_eq!(world.outcome(&seen).await["error_type"], "bad_response");

    // An error in the stream passes, and the stream ends there; one that is cut ends with ours.
    let begin = format!(
        "event: message_start\ndata: {}\n\n",
        json!({"type": "message_start",
        "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x",
            "content": [], "stop_reason": null, "usage": {"input_tokens": 3, "output_tokens": 1}}})
    );
    let error = format!("event: error\ndata: {overloaded}\n\n");
    world.upstream.push(Answer::sse([begin.clone(), error.clone()]));
    let seen = world.gateway.client().post("/v1/messages", &asked(true)).await;
    assert_eq!((seen.text(), seen.is_whole), (format!("{begin}{error}"), false));
    assert_eq!(world.outcome(&seen).await["error_type"], "stream_error");

    world.upstream.push(Answer::sse([begin.clone()]).cut_after(1));
    let seen = world.gateway.client().post("/v1/messages", &asked(true)).await;
    let rest = seen.text().strip_prefix(&begin).map(str::to_owned).expect("it began");
    assert!(rest.starts_with("event: error\ndata: {") && !seen.is_whole, "{rest}");
    assert_eq!(world.outcome(&seen).await["error_type"], "stream_cut");
    world.end(4).await;
}

#[tokio::test]
async fn a_response_that_failed_is_an_end_of_its_stream() {
    let world = World::new().await;
    let failed = json!({"type": "response.failed", "sequence_number": 1,
        "response": {"id": "resp_1", "object": "response", "status": "failed", "output": [],
            "error": {"code": "server_error", "message": "It broke."}}});
    let begin = "event: response.created\ndata: {\"type\":\"response.created\"}\n\n".to_owned();
    let end = format!("event: response.failed\ndata: {failed}\n\n");
    let asked = json!({"model": "echo", "input": "hi", "stream": true});
    world.upstream.push(Answer::sse([begin.clone(), end.clone()]));
    let seen = world.gateway.client().post("/v1/responses", &asked).await;
    assert_eq!((seen.text(), seen.is_whole), (format!("{begin}{end}"), true));
    let event = world.outcome(&seen).await;
    assert_eq!(told(&event, &["event", "error_type"]), json!(["error", "stream_error"]));

    world.upstream.push(Answer::sse([begin.clone()]).cut_after(1));
    let seen = world.gateway.client().post("/v1/responses", &asked).await;
    assert!(!seen.is_whole && seen.text().contains("event: error\ndata: {"), "{}", seen.text());
    world.end(2).await;
}

#[tokio::test]
async fn a_whole_response_that_failed_is_passed_on_and_told_as_an_error() {
    let litellm = Receiver::start().await;
    let sections = format!(
        "  callbacks: [audit]
callback_settings:
  audit: {{callback_type: generic_api, endpoint: '{}'}}
",
        litellm.url()
    );
    let world = World::with("", &sections).await;
    let response = |status: &str, error: Value| {
        json!({"id": "resp_1", "object": "response", "status": status, "output": [],
            "error": error, "usage": null})
    };
    let error = json!({"code": "server_error", "message": "It broke."});
    let asked = json!({"model": "echo", "input": "hi"});
    let mut ids = Vec::new();
    for (answer, kind, error_type) in [
        (response("failed", error), "error", json!("provider_error")),
        (response("incomplete", Value::Null), "completion", Value::Null),
        // One that runs in the background has not ended yet.
        (response("queued", Value::Null), "completion", Value::Null),
    ] {
        world.upstream.push(Answer::json(200, &answer));
        let seen = world.gateway.client().post("/v1/responses", &asked).await;
        assert_eq!((seen.code(), seen.json()), (200, answer));
        let event = world.outcome(&seen).await;
        assert_eq!(told(&event, &["event", "error_type"]), json!([kind, error_type]));
        ids.push(seen.header("x-litellm-call-id").map(str::to_owned));
    }
    assert_eq!(world.upstream.requests().len(), 3, "none is tried again");
    world.end(3).await;
    // LiteLLM tells of all three as successes, with the response as it is.
    let posts = litellm.items();
    let seen: Vec<_> = posts.iter().map(|post| post["litellm_call_id"].as_str()).collect();
    assert_eq!(seen, ids.iter().map(Option::as_deref).collect::<Vec<_>>());
    let told: Vec<_> =
        posts.iter().map(|p| json!([p["status"], p["response"]["status"]])).collect();
    let all = ["failed", "incomplete", "queued"].map(|status| json!(["success", status]));
    assert_eq!(told, all);
}

#[tokio::test]
async fn anthropic_gets_the_caller_s_headers_but_its_keys() {
    let world = World::build(|upstream| {
        let claude = deployment("claude", "anthropic/claude-x", &upstream.url(), "");
        models(&[claude]) + "general_settings: {master_key: sk-the-master-key}\n"
    })
    .await;
    let asked = json!({"model": "claude", "max_tokens": 9, "metadata": {"user_id": "u-9"},
        "messages": [{"role": "user", "content": "hi"}]});
    let client = world.gateway.client().with_header("x-api-key", "sk-the-master-key");
    for (given, version) in [(None, "2023-06-01"), (Some("2024-01-01"), "2024-01-01")] {
        let mut client = client.clone().with_header("anthropic-beta", "one,two");
        if let Some(given) = given {
            client = client.with_header("anthropic-version", given);
        }
        let seen = client.post("/v1/messages", &asked).await;
        assert_eq!(seen.code(), 200, "{}", seen.text());
        let received = world.upstream.requests().pop().expect("it was asked");
        let header = |name: &str| received.header(name);
        assert_eq!(
            [header("anthropic-version"), header("anthropic-beta"), header("x-api-key")],
            [Some(version), Some("one,two"), Some("sk-upstream")]
        );
        let count = received.headers.iter().filter(|(name, _)| name == "x-api-key").count();
        assert_eq!((count, header("authorization")), (1, None));
        assert_eq!(received.json()["metadata"], asked["metadata"], "the provider knows it");
        assert_eq!(world.outcome(&seen).await["end_user"], "u-9");
    }
    // The count of tokens passes, and is no call.
    world.upstream.push(Answer::json(200, &json!({"input_tokens": 14})));
    let seen = client.post("/v1/messages/count_tokens", &asked).await;
    assert_eq!((seen.code(), seen.json()), (200, json!({"input_tokens": 14})));
    let received = world.upstream.requests().pop().expect("it was asked");
    assert_eq!(received.path, "/v1/messages/count_tokens");
    assert_eq!(received.json()["model"], "claude-x");
    let seen = world.gateway.client().post("/v1/messages/count_tokens", &asked).await;
    assert_eq!(
        (seen.code(), anthropic_error(&seen)["type"].as_str()),
        (401, Some("authentication_error"))
    );
    world.end(2).await;
}
