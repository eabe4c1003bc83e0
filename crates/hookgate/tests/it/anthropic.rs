//! Anthropic behind `OpenAI`'s API: what is asked, what the caller gets, and what the receiver.

use serde_json::{Value, json};
use testkit::{Answer, Gate, client::chat_body};

use crate::world::{World, deployment, models, openai_error, stream_error};

/// Bends an answer.
type Bend = fn(Answer) -> Answer;

/// `claude` with prices that are easy to add up, and `echo` for the next call.
async fn world() -> World {
    World::build(|upstream| {
        let prices = ", input_cost_per_token: 0.001, output_cost_per_token: 0.1, \
                      cache_creation_input_token_cost: 0.01, cache_read_input_token_cost: 0.0001";
        models(&[
            deployment("claude", "anthropic/claude-x", &upstream.url(), prices),
            deployment("echo", "openai/echo-1", &upstream.openai_url(), ""),
        ])
    })
    .await
}

fn usage() -> Value {
    json!({"input_tokens": 10, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 5,
        "output_tokens": 7})
}

/// The usage above in `OpenAI`'s words, and what it costs.
fn assert_usage(event: &Value) {
    let told = ["prompt_tokens", "completion_tokens", "tokens_used", "cached_tokens"];
    assert_eq!(json!(told.map(|key| event[key].clone())), json!([18, 7, 25, 5]), "{event}");
    let cost = event["cost_usd"].as_f64().unwrap_or_default();
    assert!((cost - (0.01 + 0.03 + 0.0005 + 0.7)).abs() < 1e-9, "{cost}");
}

fn stream(events: &[Value]) -> String {
    let named = |event: &Value| {
        format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())
    };
    events.iter().map(named).collect()
}

fn begin() -> Vec<Value> {
    let mut usage = usage();
    usage["output_tokens"] = json!(1);
    vec![
        json!({"type": "message_start", "message": {"id": "msg_1", "type": "message",
            "role": "assistant", "model": "claude-x-20260101", "content": [],
            "stop_reason": null, "usage": usage}}),
        json!({"type": "content_block_start", "index": 0,
            "content_block": {"type": "text", "text": ""}}),
        json!({"type": "ping"}),
        json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "text_delta", "text": "Let me sée. "}}),
    ]
}

/// System, image, tools and their results, as an `OpenAI` client writes them.
fn conversation() -> Value {
    json!({
        "model": "claude", "max_completion_tokens": 50, "stop": "END", "temperature": 0.5,
        "mock_response": null, "metadata": {"tags": ["a"]}, "user": "u-7",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.jpg"}}]},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "t1", "type": "function",
                "function": {"name": "look", "arguments": "{\"at\": 1}"}}]},
            {"role": "tool", "tool_call_id": "t1", "content": "a cat"}],
        "tools": [{"type": "function", "function": {"name": "look", "description": "Looks.",
            "parameters": {"type": "object", "properties": {"at": {"type": "integer"}}}}}],
        "tool_choice": "auto"})
}

/// The same in Anthropic's words.
fn conversation_for_anthropic() -> Value {
    let image = |source: Value| json!({"type": "image", "source": source});
    json!({
            "model": "claude-x", "max_tokens": 50, "stop_sequences": ["END"], "temperature": 0.5,
            "metadata": {"user_id": "u-7"}, "system": [{"type": "text", "text": "Be brief."}],
            "messages": [
                {"role": "user", "content": [
                    {"type": "text", "text": "What is this?"},
                    image(json!({"type": "base64", "media_type": "image/png",
                        "data": "iVBORw0KGgo="})),
                    image(json!({"type": "url", "url": "https://example.com/a.jpg"}))]},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": 1}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "a cat"}]}],
            "tools": [{"name": "look", "description": "Looks.",
                "input_schema": {"type": "object", "properties": {"at": {"type": "integer"}}}}],
            "tool_choice": {"type": "auto"}})
}

#[tokio::test]
async fn a_conversation_with_tools_and_an_image_goes_and_comes_in_openai_s_words() {
    let world = world().await;
    let body = conversation();
    world.upstream.push(
        Answer::json(
            200,
            &json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x-20260101",
        "content": [{"type": "text", "text": "A cat. "}, {"type": "tool_use", "id": "t2",
            "name": "look", "input": {"at": 2}}],
        "stop_reason": "tool_use", "stop_sequence": null, "usage": usage()}),
        )
        .header("request-id", "req_1")
        .header("anthropic-ratelimit-tokens-remaining", "9"),
    );
    let client =
        world.gateway.client().with_header("anthropic-beta", "new-2026").with_key("sk-caller");
    let seen = client.post("/v1/chat/completions", &body).await;
    assert_eq!(seen.code(), 200, "{}", seen.text());

    let asked = &world.upstream.requests()[0];
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/v1/messages"));
    for (name, value) in [
        ("x-api-key", Some("sk-upstream")),
        ("anthropic-version", Some("2023-06-01")),
        ("anthropic-beta", Some("new-2026")),
        ("authorization", None),
    ] {
        assert_eq!(asked.header(name), value, "{name}");
    }
    assert_eq!(asked.json(), conversation_for_anthropic());
    let answer = seen.json();
    assert_eq!((&answer["object"], &answer["id"]), (&json!("chat.completion"), &json!("msg_1")));
    let choice = &answer["choices"][0];
    assert_eq!(
        (&choice["message"]["content"], &choice["finish_reason"]),
        (&json!("A cat. "), &json!("tool_calls"))
    );
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!((&call["id"], &call["function"]["name"]), (&json!("t2"), &json!("look")));
    assert_eq!(call["function"]["arguments"], "{\"at\":2}");
    assert_eq!(
        (&answer["usage"]["prompt_tokens"], &answer["usage"]["total_tokens"]),
        (&json!(18), &json!(25))
    );
    assert_eq!(seen.header("request-id"), Some("req_1"));
    assert_eq!(seen.header("anthropic-ratelimit-tokens-remaining"), Some("9"));

    let event = world.outcome(&seen).await;
    let told = ["event", "model", "provider", "provider_model", "content", "finish_reason"];
    let told = told.map(|key| event[key].clone());
    assert_eq!(
        json!(told),
        json!(["completion", "claude", "anthropic", "claude-x", "A cat. ", "tool_calls"])
    );
    assert_usage(&event);
    world.call_works().await;
    world.end(2).await;
}

#[tokio::test]
async fn a_stream_with_tool_calls_is_translated_however_it_is_cut() {
    let world = world().await;
    let mut events = begin();
    let json_delta = |index: u32, json: &str| {
        json!({"type": "content_block_delta", "index": index,
            "delta": {"type": "input_json_delta", "partial_json": json}})
    };
    let tool = |index: u32, id: &str, name: &str| {
        json!({"type": "content_block_start", "index": index,
            "content_block": {"type": "tool_use", "id": id, "name": name, "input": {}}})
    };
    let block_end = |index: u32| json!({"type": "content_block_stop", "index": index});
    events.extend([
        block_end(0),
        tool(1, "t1", "look"),
        json_delta(1, ""),
        json_delta(1, "{\"at\""),
        json_delta(1, ": \"é\"}"),
        block_end(1),
        tool(2, "t2", "stop"),
        block_end(2),
        json!({"type": "brand_new_event", "x": 1}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null},
            "usage": {"output_tokens": 7}}),
        json!({"type": "message_stop"}),
    ]);
    let sent = stream(&events);
    for (bytes, asks_usage) in [(1, false), (7, true), (usize::MAX, false)] {
        world.upstream.push(Answer::sse([sent.clone()]).in_chunks_of(bytes));
        let mut body = chat_body("claude", "hi");
        body["stream"] = true.into();
        if asks_usage {
            body["stream_options"] = json!({"include_usage": true});
        }
        let seen = world.gateway.client().post("/v1/chat/completions", &body).await;
        assert_eq!((seen.code(), seen.is_whole), (200, true), "{}", seen.text());
        assert_eq!(seen.data().last().map(String::as_str), Some("[DONE]"));
        let chunks: Vec<Value> =
            seen.data().iter().filter_map(|data| serde_json::from_str(data).ok()).collect();
        assert_eq!(seen.content(), "Let me sée. ");
        let mut calls = [String::new(), String::new()];
        for chunk in &chunks {
            assert_eq!(chunk["object"], "chat.completion.chunk");
            let parts = chunk["choices"][0]["delta"]["tool_calls"].as_array();
            for part in parts.into_iter().flatten() {
                let index = part["index"].as_u64().unwrap_or(9) as usize;
                let function = &part["function"];
                calls[index] += part["id"].as_str().unwrap_or_default();
                calls[index] += function["name"].as_str().unwrap_or_default();
                calls[index] += function["arguments"].as_str().unwrap_or_default();
            }
        }
        assert_eq!(calls, ["t1look{\"at\": \"é\"}", "t2stop{}"]);
        let told = chunks.iter().filter(|chunk| chunk["usage"]["total_tokens"] == 25).count();
        assert_eq!(told, usize::from(asks_usage), "{}", seen.text());
        assert!(chunks.iter().any(|chunk| chunk["choices"][0]["finish_reason"] == "tool_calls"));

        let event = world.outcome(&seen).await;
        let told = ["event", "content", "finish_reason"].map(|key| event[key].clone());
        assert_eq!(json!(told), json!(["completion", "Let me sée. ", "tool_calls"]));
        assert_usage(&event);
    }
    assert_eq!(world.upstream.requests()[0].json().get("stream_options"), None);
    world.end(3).await;
}

#[tokio::test]
async fn anthropic_s_errors_reach_the_caller_in_openai_s_shape() {
    let world = world().await;
    let said = |kind: &str, message: &str| {
        let error = json!({"type": kind, "message": message});
        json!({"type": "error", "error": error, "request_id": "req_9"})
    };
    let long = "prompt is too long: 210000 tokens > 200000 maximum";
    let cases = [
        (400, "invalid_request_error", "max_tokens: too large", "bad_request"),
        (400, "invalid_request_error", long, "context_window_exceeded"),
        (401, "authentication_error", "invalid x-api-key", "authentication"),
        (404, "not_found_error", "model: claude-x", "not_found"),
        (429, "rate_limit_error", "slow down", "rate_limit"),
        (500, "api_error", "Internal server error", "provider_error"),
        (529, "overloaded_error", "Overloaded", "provider_error"),
    ];
    for (status, kind, message, error_type) in cases {
        for streamed in [false, true] {
            let answer = Answer::json(status, &said(kind, message));
            world.upstream.push(answer.header("retry-after", "7").header("request-id", "req_9"));
            let seen = world.ask("claude", "hi", streamed).await;
            assert_eq!(seen.code(), status, "{}", seen.text());
            let error = openai_error(&seen);
            assert_eq!((&error["message"], &error["type"]), (&json!(message), &json!(kind)));
            assert_eq!(seen.header("retry-after"), Some("7"));
            assert_eq!(seen.header("request-id"), Some("req_9"));
            let event = world.outcome(&seen).await;
            let told = ["event", "error_type", "error_message", "status", "retry_after"];
            let told = told.map(|key| event[key].clone());
            assert_eq!(json!(told), json!(["error", error_type, message, status, 7]));
        }
    }
    world.call_works().await;
    world.end(cases.len() * 2 + 1).await;
}

#[tokio::test]
async fn what_cannot_be_said_to_anthropic_is_refused_by_the_field_s_name() {
    let world = world().await;
    for (field, value) in [("logprobs", json!(true)), ("n", json!(2)), ("functions", json!([]))] {
        let mut body = chat_body("claude", "hi");
        body[field] = value;
        let seen = world.gateway.client().post("/v1/chat/completions", &body).await;
        assert_eq!(seen.code(), 400, "{}", seen.text());
        let error = openai_error(&seen);
        assert_eq!(error["param"], field);
        assert!(error["message"].as_str().is_some_and(|text| text.contains(field)), "{error}");
        let event = world.outcome(&seen).await;
        assert_eq!(
            (&event["error_type"], &event["error_param"]),
            (&json!("bad_request"), &json!(field))
        );
    }
    assert!(world.upstream.requests().is_empty());
    world.end(3).await;
}

#[tokio::test]
async fn a_stream_of_anthropic_s_that_breaks_ends_as_an_error() {
    let world = world().await;
    let error =
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let half = json!({"type": "message_stop"}).to_string();
    let cases: [(&str, String, Bend, &str, &str); 4] = [
        ("error", stream(&[error]), |answer| answer, "stream_error", "Overloaded"),
        (
            "cut",
            stream(&[json!({"type": "ping"})]),
            |a| a.cut_after(2),
            "stream_cut",
            "before its end",
        ),
        ("early end", stream(&[json!({"type": "ping"})]), |a| a, "stream_cut", "before its end"),
        ("garbage", format!("data: {}\n\n", &half[..9]), |a| a, "bad_response", "not JSON"),
    ];
    for (case, rest, bend, kind, message) in cases {
        let gate = Gate::new();
        let answer = Answer::sse([stream(&begin()), rest]).pause_after(1, &gate);
        world.upstream.push(bend(answer));
        let open = world.gateway.client().open_stream("claude", "hi").await;
        let mut open = open.expect("it begins");
        let first = open.read_until("Let me").await.expect("the beginning passes at once");
        assert!(first.contains(r#""role":"assistant""#), "{first}");
        gate.open();
        let seen = open.finish().await;
        let error = stream_error(&seen);
        assert!(error["message"].as_str().is_some_and(|m| m.contains(message)), "{case}: {error}");
        let event = world.outcome(&seen).await;
        let told = ["event", "error_type", "content"].map(|key| event[key].clone());
        assert_eq!(json!(told), json!(["error", kind, "Let me sée. "]), "{case}");
        // The prompt was counted before the stream broke.
        assert_eq!(event["prompt_tokens"], 18, "{case}");
        world.call_works().await;
    }
    world.end(8).await;
}

#[tokio::test]
async fn a_fallback_may_speak_another_dialect() {
    let world = World::build(|upstream| {
        let claude = deployment("claude", "anthropic/claude-x", &upstream.url(), "");
        let echo = deployment("echo", "openai/echo-1", &upstream.openai_url(), "");
        models(&[claude, echo]) + "  fallbacks: [{claude: [echo]}, {echo: [claude]}]\n"
    })
    .await;
    for (model, stream) in [("claude", false), ("echo", true), ("claude", true), ("echo", false)] {
        world.upstream.push(Answer::error(500, "oh no"));
        let seen = world.ask(model, "one two", stream).await;
        assert_eq!((seen.code(), seen.content().as_str()), (200, "one two"), "{}", seen.text());
        let event = world.outcome(&seen).await;
        let told = ["content", "fallbacks", "prompt_tokens"].map(|key| event[key].clone());
        assert_eq!(json!(told), json!(["one two", 1, 2]));
        let provider = if model == "claude" { "openai" } else { "anthropic" };
        assert_eq!((&event["provider"], &event["model"]), (&json!(provider), &json!(model)));
    }
    world.end(4).await;
}
