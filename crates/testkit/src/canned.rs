//! Answers of well-behaved providers: `OpenAI` chat completions, Anthropic messages.
//!
//! Tokens are counted as words, and the prompt's as the words of its texts, so that a test can say
//! beforehand what must be reported.

use serde_json::{Value, json};

/// A chat completion (`OpenAI` API reference, "The chat completion object").
pub fn openai_completion(request: &Value, text: &str) -> Value {
    json!({
        "id": "chatcmpl-canned",
        "object": "chat.completion",
        "created": 1_763_700_000,
        "model": request["model"],
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": null},
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": openai_usage(request, text),
        "system_fingerprint": "fp_canned",
    })
}

/// The same as a stream: role, a delta for each word, the end, usage if it was asked for, `[DONE]`.
pub fn openai_stream(request: &Value, text: &str) -> Vec<String> {
    let wants_usage = request["stream_options"]["include_usage"] == true;
    let chunk = |choices: Value| {
        let mut chunk = json!({
            "id": "chatcmpl-canned",
            "object": "chat.completion.chunk",
            "created": 1_763_700_000,
            "model": request["model"],
            "choices": choices,
        });
        if wants_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    };
    let delta = |delta: Value, end: Value| {
        chunk(json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": end}]))
    };
    let mut chunks = vec![delta(json!({"role": "assistant", "content": ""}), Value::Null)];
    chunks.extend(words(text).map(|word| delta(json!({"content": word}), Value::Null)));
    chunks.push(delta(json!({}), json!("stop")));
    if wants_usage {
        let mut last = chunk(json!([]));
        last["usage"] = openai_usage(request, text);
        chunks.push(last);
    }
    let frames = chunks.into_iter().map(|chunk| format!("data: {chunk}\n\n"));
    frames.chain(["data: [DONE]\n\n".to_owned()]).collect()
}

/// An error body (`OpenAI` API reference, "Error codes").
pub fn openai_error(status: u16, message: &str) -> Value {
    let (kind, code) = match status {
        401 => ("invalid_request_error", json!("invalid_api_key")),
        429 => ("requests", json!("rate_limit_exceeded")),
        400..500 => ("invalid_request_error", Value::Null),
        _ => ("server_error", Value::Null),
    };
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}

/// A message (Anthropic API reference, "Create a Message").
pub fn anthropic_message(request: &Value, text: &str) -> Value {
    json!({
        "id": "msg_canned",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": null,
        "usage": {
            "input_tokens": prompt_tokens(request),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": words(text).count(),
        },
    })
}

/// The same as a stream (Anthropic API reference, "Streaming messages"), with a `ping`.
pub fn anthropic_stream(request: &Value, text: &str) -> Vec<String> {
    let mut message = anthropic_message(request, "");
    message["content"] = json!([]);
    message["stop_reason"] = Value::Null;
    message["usage"]["output_tokens"] = json!(1);
    let mut events = vec![
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0,
            "content_block": {"type": "text", "text": ""}}),
        json!({"type": "ping"}),
    ];
    events.extend(words(text).map(|word| {
        json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "text_delta", "text": word}})
    }));
    events.push(json!({"type": "content_block_stop", "index": 0}));
    events.push(json!({"type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": null},
        "usage": {"output_tokens": words(text).count()}}));
    events.push(json!({"type": "message_stop"}));
    let named = |event: Value| {
        let name = event["type"].as_str().unwrap_or_default().to_owned();
        format!("event: {name}\ndata: {event}\n\n")
    };
    events.into_iter().map(named).collect()
}

/// The text of the last message, whether it is a string or parts.
pub fn last_text(request: &Value) -> String {
    let last = request["messages"].as_array().and_then(|messages| messages.last());
    last.map(text_of).unwrap_or_default()
}

/// What the canned answers report as the prompt's tokens: the words of all messages.
pub fn prompt_tokens(request: &Value) -> usize {
    let messages = request["messages"].as_array();
    messages.into_iter().flatten().map(|message| words(&text_of(message)).count()).sum()
}

fn text_of(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

fn openai_usage(request: &Value, text: &str) -> Value {
    let (prompt, completion) = (prompt_tokens(request), words(text).count());
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    })
}

/// Words, each with the white space after it.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}
