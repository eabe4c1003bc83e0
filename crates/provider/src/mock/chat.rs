//! Mocks of chat completions.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use super::{MockAnswer, MockRequest, pieces};

/// The answer to a text.
pub(super) fn of_text(text: &str, request: &MockRequest<'_>) -> MockAnswer {
    if request.stream { stream_text(text, request) } else { whole_text(text, request) }
}

/// The first chunks of a stream, as far as the text goes.
pub(super) fn begun(text: &str, request: &MockRequest<'_>) -> Vec<Bytes> {
    let mut chunks = Chunks::new(id(request), request);
    chunks.add_content(0, text);
    chunks.events
}

const USAGE: Usage = Usage { completion_tokens: 20, prompt_tokens: 10, total_tokens: 30 };

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are the format's")]
struct Usage {
    completion_tokens: u32,
    prompt_tokens: u32,
    total_tokens: u32,
}

#[derive(Serialize)]
struct Completion<'a> {
    id: String,
    created: i64,
    model: &'a str,
    object: &'static str,
    choices: [Choice<'a>; 1],
    usage: Usage,
}

#[derive(Serialize)]
struct Choice<'a> {
    finish_reason: &'static str,
    index: u32,
    message: Message<'a>,
}

#[derive(Serialize)]
struct Message<'a> {
    content: &'a str,
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<&'a Value>,
}

fn finish_reason(request: &MockRequest<'_>) -> &'static str {
    if request.mock_tool_calls.is_some() { "tool_calls" } else { "stop" }
}

fn id(request: &MockRequest<'_>) -> String {
    format!("chatcmpl-{}", request.id)
}

fn whole_text(text: &str, request: &MockRequest<'_>) -> MockAnswer {
    let message = Message { content: text, role: "assistant", tool_calls: request.mock_tool_calls };
    let completion = Completion {
        id: id(request),
        created: request.created,
        model: request.model,
        object: "chat.completion",
        choices: [Choice { finish_reason: finish_reason(request), index: 0, message }],
        usage: USAGE,
    };
    MockAnswer::Whole(serde_json::to_vec(&completion).unwrap_or_default().into())
}

fn stream_text(text: &str, request: &MockRequest<'_>) -> MockAnswer {
    let mut chunks = Chunks::new(id(request), request);
    chunks.add_content(0, text);
    if let Some(calls) = request.mock_tool_calls {
        chunks.add_tool_calls(0, calls);
    }
    chunks.add_end(0, finish_reason(request).into());
    chunks.into_stream(serde_json::to_value(USAGE).ok(), request)
}

/// The events of a streamed mock.
struct Chunks<'a> {
    id: String,
    created: i64,
    model: &'a str,
    events: Vec<Bytes>,
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: &'a [ChunkChoice],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Value>,
}

#[derive(Serialize)]
struct ChunkChoice {
    index: u64,
    delta: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<Value>,
}

impl<'a> Chunks<'a> {
    fn new(id: String, request: &MockRequest<'a>) -> Self {
        Self { id, created: request.created, model: request.model, events: Vec::new() }
    }

    fn add(&mut self, choices: &[ChunkChoice], usage: Option<Value>) {
        let chunk = Chunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.created,
            model: self.model,
            choices,
            usage,
        };
        let json = serde_json::to_string(&chunk).unwrap_or_default();
        self.events.push(Bytes::from(format!("data: {json}\n\n")));
    }

    fn add_delta(&mut self, index: u64, delta: Value) {
        self.add(&[ChunkChoice { index, delta, finish_reason: None }], None);
    }

    /// A text, three characters a chunk; the first one names the role.
    fn add_content(&mut self, index: u64, text: &str) {
        let mut pieces = pieces(text);
        let first = pieces.next().unwrap_or_default();
        self.add_delta(index, json!({"role": "assistant", "content": first}));
        for piece in pieces {
            self.add_delta(index, json!({"content": piece}));
        }
    }

    /// Tool calls as one delta. Streamed ones carry their position.
    fn add_tool_calls(&mut self, index: u64, calls: &Value) {
        let Some(mut calls) = calls.as_array().cloned() else {
            return;
        };
        for (position, call) in calls.iter_mut().enumerate() {
            if let Value::Object(call) = call {
                call.entry("index").or_insert(position.into());
            }
        }
        self.add_delta(index, json!({"tool_calls": calls}));
    }

    fn add_end(&mut self, index: u64, reason: Value) {
        let choice = ChunkChoice { index, delta: json!({}), finish_reason: Some(reason) };
        self.add(&[choice], None);
    }

    fn into_stream(mut self, usage: Option<Value>, request: &MockRequest<'_>) -> MockAnswer {
        if request.include_usage && usage.is_some() {
            self.add(&[], usage);
        }
        self.events.push(Bytes::from_static(b"data: [DONE]\n\n"));
        MockAnswer::Stream(self.events)
    }
}

/// An object is the answer itself; what every answer has and it lacks is added.
pub(super) fn of_object(mock: &Value, request: &MockRequest<'_>) -> MockAnswer {
    let mut answer = mock.as_object().cloned().unwrap_or_default();
    if !request.stream {
        answer.entry("id").or_insert_with(|| id(request).into());
        answer.entry("created").or_insert(request.created.into());
        answer.entry("model").or_insert(request.model.into());
        answer.entry("object").or_insert("chat.completion".into());
        return MockAnswer::Whole(Value::Object(answer).to_string().into());
    }
    let own_id = answer.get("id").and_then(Value::as_str).map(str::to_owned);
    let mut chunks = Chunks::new(own_id.unwrap_or_else(|| id(request)), request);
    let choices = answer.get("choices").and_then(Value::as_array).map(Vec::as_slice);
    for (position, choice) in choices.unwrap_or_default().iter().enumerate() {
        let index = choice["index"].as_u64().unwrap_or(position as u64);
        let message = &choice["message"];
        let text = message["content"].as_str().unwrap_or_default();
        chunks.add_content(index, text);
        chunks.add_tool_calls(index, &message["tool_calls"]);
        let reason = match &choice["finish_reason"] {
            Value::Null => "stop".into(),
            reason => reason.clone(),
        };
        chunks.add_end(index, reason);
    }
    chunks.into_stream(answer.get("usage").cloned(), request)
}
