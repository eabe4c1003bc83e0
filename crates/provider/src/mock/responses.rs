//! Mocks of `OpenAI`'s responses.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Events, MockAnswer, MockRequest, completed as with_defaults, pieces, sent, tool_calls,
};

/// The answer to a text.
pub(super) fn whole(text: &str, request: &MockRequest<'_>) -> Value {
    let id = request.id.to_simple();
    let mut output = Vec::new();
    if !text.is_empty() || request.mock_tool_calls.is_none() {
        let part = json!({"type": "output_text", "text": text, "annotations": []});
        output.push(json!({
            "id": format!("msg_{id}"),
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [part],
        }));
    }
    output.extend(tool_calls(request).enumerate().map(|(position, call)| {
        json!({
            "id": format!("fc_{id}_{position}"),
            "type": "function_call",
            "status": "completed",
            "call_id": call["id"],
            "name": call["function"]["name"],
            "arguments": call["function"]["arguments"].as_str().unwrap_or("{}"),
        })
    }));
    completed(&json!({"output": output}), request)
}

/// The object as the answer.
pub(super) fn completed(mock: &Value, request: &MockRequest<'_>) -> Value {
    let usage = json!({
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 30,
    });
    with_defaults(
        mock,
        json!({
            "id": format!("resp_{}", request.id.to_simple()),
            "object": "response",
            "created_at": request.created,
            "status": "completed",
            "model": request.model,
            "output": [],
            "usage": usage,
            "error": null,
            "incomplete_details": null,
            "instructions": null,
            "max_output_tokens": null,
            "metadata": {},
            "parallel_tool_calls": true,
            "previous_response_id": null,
            "reasoning": {"effort": null, "summary": null},
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
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

/// The events of a stream, numbered.
struct Numbered(Events);

impl Numbered {
    fn numbered(&self, mut event: Value) -> Value {
        event["sequence_number"] = self.0.list.len().into();
        event
    }

    fn add(&mut self, event: Value) {
        let event = self.numbered(event);
        self.0.add(&event);
    }

    fn add_text(&mut self, event: Value) {
        let event = self.numbered(event);
        self.0.add_text(&event);
    }
}

fn events(whole: &Value) -> Events {
    let mut events = Numbered(Events::default());
    let mut begun = whole.clone();
    begun["status"] = json!("in_progress");
    begun["output"] = json!([]);
    begun["usage"] = Value::Null;
    begun["incomplete_details"] = Value::Null;
    events.add(json!({"type": "response.created", "response": begun}));
    events.add(json!({"type": "response.in_progress", "response": begun}));
    for (index, item) in whole["output"].as_array().into_iter().flatten().enumerate() {
        add_item(&mut events, index, item);
    }
    let kind = match whole["status"].as_str() {
        Some("incomplete") => "response.incomplete",
        Some("failed") => "response.failed",
        _ => "response.completed",
    };
    events.add(json!({"type": kind, "response": whole}));
    events.0
}

fn add_item(events: &mut Numbered, index: usize, item: &Value) {
    let id = &item["id"];
    let mut begun = item.clone();
    begun["status"] = json!("in_progress");
    match item["type"].as_str() {
        Some("message") => begun["content"] = json!([]),
        Some("function_call") => begun["arguments"] = json!(""),
        _ => {}
    }
    events.add(json!({"type": "response.output_item.added", "output_index": index, "item": begun}));
    match item["type"].as_str() {
        Some("message") => {
            for (at, part) in item["content"].as_array().into_iter().flatten().enumerate() {
                add_part(
                    events,
                    &json!({"item_id": id, "output_index": index, "content_index": at}),
                    part,
                );
            }
        }
        Some("function_call") => {
            let place = json!({"item_id": id, "output_index": index});
            let arguments = item["arguments"].as_str().unwrap_or_default();
            let kind = "response.function_call_arguments";
            for piece in pieces(arguments) {
                events.add(event(&place, &format!("{kind}.delta"), "delta", piece.into()));
            }
            events.add(event(&place, &format!("{kind}.done"), "arguments", arguments.into()));
        }
        _ => {}
    }
    events.add(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
}

fn add_part(events: &mut Numbered, place: &Value, part: &Value) {
    let Some(text) = part["text"].as_str() else { return };
    let mut begun = part.clone();
    begun["text"] = json!("");
    events.add(event(place, "response.content_part.added", "part", begun));
    for piece in pieces(text) {
        events.add_text(event(place, "response.output_text.delta", "delta", piece.into()));
    }
    events.add(event(place, "response.output_text.done", "text", text.into()));
    events.add(event(place, "response.content_part.done", "part", part.clone()));
}

fn event(place: &Value, kind: &str, key: &str, value: Value) -> Value {
    let mut event = place.clone();
    event["type"] = json!(kind);
    event[key] = value;
    event
}
