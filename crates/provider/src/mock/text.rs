//! Mocks of text completions.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Events, MockAnswer, MockRequest, completed as with_defaults, pieces};

/// The answer to a text.
pub(super) fn whole(text: &str, request: &MockRequest<'_>) -> Value {
    let choice = json!({"index": 0, "text": text, "logprobs": null, "finish_reason": "stop"});
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30});
    completed(&json!({"choices": [choice], "usage": usage}), request)
}

/// The object as the answer.
pub(super) fn completed(mock: &Value, request: &MockRequest<'_>) -> Value {
    let id = format!("cmpl-{}", request.id);
    let (created, model) = (request.created, request.model);
    with_defaults(
        mock,
        json!({"id": id, "object": "text_completion", "created": created, "model": model}),
    )
}

/// The answer as the caller asked for it.
pub(super) fn answer(whole: &Value, request: &MockRequest<'_>) -> MockAnswer {
    if !request.stream {
        return MockAnswer::Whole(whole.to_string().into());
    }
    let mut chunks = chunks(whole).list;
    if request.include_usage && !whole["usage"].is_null() {
        chunks.push(chunk(whole, &json!([]), Some(&whole["usage"])));
    }
    chunks.push(Bytes::from_static(b"data: [DONE]\n\n"));
    MockAnswer::Stream(chunks)
}

/// The first chunks of a stream, as far as the text goes.
pub(super) fn begun(text: &str, request: &MockRequest<'_>) -> Vec<Bytes> {
    let mut events = chunks(&whole(text, request));
    events.list.truncate(events.said);
    events.list
}

fn chunks(whole: &Value) -> Events {
    let mut events = Events::default();
    for choice in whole["choices"].as_array().into_iter().flatten() {
        let index = choice["index"].as_u64().unwrap_or_default();
        let piece = |text: &str, reason: &Value| json!([{"index": index, "text": text, "logprobs": null, "finish_reason": reason}]);
        for text in pieces(choice["text"].as_str().unwrap_or_default()) {
            events.list.push(chunk(whole, &piece(&text, &Value::Null), None));
            events.said = events.list.len();
        }
        events.list.push(chunk(whole, &piece("", &choice["finish_reason"]), None));
    }
    events
}

fn chunk(whole: &Value, choices: &Value, usage: Option<&Value>) -> Bytes {
    let mut chunk = json!({
        "id": whole["id"],
        "object": "text_completion",
        "created": whole["created"],
        "model": whole["model"],
        "choices": choices,
    });
    if let Some(usage) = usage {
        chunk["usage"] = usage.clone();
    }
    Bytes::from(format!("data: {chunk}\n\n"))
}
