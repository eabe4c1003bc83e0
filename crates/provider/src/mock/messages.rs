//! Mocks of Anthropic's Messages.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Events, MockAnswer, MockRequest, completed as with_defaults, pieces, sent, tool_calls,
};

/// The answer to a text.
pub(super) fn whole(text: &str, request: &MockRequest<'_>) -> Value {
    let mut content = Vec::new();
    if !text.is_empty() || request.mock_tool_calls.is_none() {
        content.push(json!({"type": "text", "text": text}));
    }
    content.extend(tool_calls(request).map(|call| {
        let arguments = call["function"]["arguments"].as_str().unwrap_or("{}");
        let input: Value = serde_json::from_str(arguments).unwrap_or_else(|_| json!({}));
        let name = &call["function"]["name"];
        json!({"type": "tool_use", "id": call["id"], "name": name, "input": input})
    }));
    let reason = if request.mock_tool_calls.is_some() { "tool_use" } else { "end_turn" };
    completed(&json!({"content": content, "stop_reason": reason}), request)
}

/// The object as the answer.
pub(super) fn completed(mock: &Value, request: &MockRequest<'_>) -> Value {
    with_defaults(
        mock,
        json!({
            "id": format!("msg_{}", request.id.to_simple()),
            "type": "message",
            "role": "assistant",
            "model": request.model,
            "content": [],
            "stop_reason": "end_turn",
            "stop_sequence": null,
            "usage": {"input_tokens": 10, "output_tokens": 20},
        }),
    )
}

/// The answer as the caller asked for it.
pub(super) fn answer(whole: &Value, request: &MockRequest<'_>) -> MockAnswer {
    sent(whole, request, events)
}

/// The first events of a stream, as far as the text goes.
pub(super) fn begun(text: &str, request: &MockRequest<'_>) -> Vec<Bytes> {
    let mut events = events(&whole(text, request));
    events.list.truncate(events.said);
    events.list
}

fn events(whole: &Value) -> Events {
    let mut events = Events::default();
    let mut start = whole.clone();
    start["content"] = json!([]);
    start["stop_reason"] = Value::Null;
    start["stop_sequence"] = Value::Null;
    if start["usage"].is_object() {
        start["usage"]["output_tokens"] = json!(1);
    }
    events.add(&json!({"type": "message_start", "message": start}));
    for (index, block) in whole["content"].as_array().into_iter().flatten().enumerate() {
        add_block(&mut events, index, block);
    }
    let delta = json!({
        "stop_reason": whole["stop_reason"],
        "stop_sequence": whole["stop_sequence"],
    });
    let usage = json!({"output_tokens": whole["usage"]["output_tokens"]});
    events.add(&json!({"type": "message_delta", "delta": delta, "usage": usage}));
    events.add(&json!({"type": "message_stop"}));
    events
}

fn add_block(events: &mut Events, index: usize, block: &Value) {
    let mut begun = block.clone();
    let key = match block["type"].as_str() {
        Some("text") => "text",
        Some("thinking") => "thinking",
        Some("tool_use") => "input",
        _ => "",
    };
    let text = if key == "input" {
        begun[key] = json!({});
        block[key].to_string()
    } else if key.is_empty() {
        String::new()
    } else {
        begun[key] = json!("");
        block[key].as_str().unwrap_or_default().to_owned()
    };
    events.add(&json!({"type": "content_block_start", "index": index, "content_block": begun}));
    let delta =
        |delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    for piece in pieces(&text).filter(|_| !key.is_empty()) {
        match key {
            "text" => events.add_text(&delta(json!({"type": "text_delta", "text": piece}))),
            "thinking" => events.add(&delta(json!({"type": "thinking_delta", "thinking": piece}))),
            _ => events.add(&delta(json!({"type": "input_json_delta", "partial_json": piece}))),
        }
    }
    events.add(&json!({"type": "content_block_stop", "index": index}));
}
