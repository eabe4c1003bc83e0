//! Answers of `mock_response`: no provider is asked.
//!
//! Texts, numbers and error strings are those of LiteLLM 1.109.1: a text answers with 10, 20 and 30
//! tokens, streamed three characters a chunk. Three things are ours: a streamed mock reports the
//! same tokens; `mock_tool_calls` end with `tool_calls`; and what follows `Exception:
//! mock_streaming_error` is streamed before the failure, whereas without such a text the failure
//! comes before the first event, as it does there.
//!
//! `mock_delay` and `mock_timeout` are waits, so they are not decided here.

use bytes::Bytes;
use domain::{
    call::Endpoint,
    failure::{Failure, FailureKind},
    id::CallId,
};
use serde::Serialize;
use serde_json::{Value, json};

/// Characters in a chunk of a streamed mock.
const CHUNK_CHARS: usize = 3;

/// What a mock answers with.
#[derive(Debug, Clone, PartialEq)]
pub enum MockAnswer {
    /// A JSON body.
    Whole(Bytes),
    /// Server-sent events, one each, `[DONE]` included.
    Stream(Vec<Bytes>),
    /// An error instead of an answer.
    Failure(Failure),
    /// A stream that fails after these events.
    StreamThenFailure(Vec<Bytes>, Failure),
}

/// What the answer is for.
#[derive(Debug, Clone, Copy)]
pub struct MockRequest<'a> {
    /// The API that was called: the answer is in its form.
    pub endpoint: Endpoint,
    /// The model's name in the answer.
    pub model: &'a str,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Whether a stream ends with the usage chunk.
    pub include_usage: bool,
    /// The call; the answer's id follows from it.
    pub id: CallId,
    /// Unix seconds.
    pub created: i64,
    /// The request's `mock_tool_calls`, which become the answer's `tool_calls`.
    pub mock_tool_calls: Option<&'a Value>,
}

/// What a `mock_response` answers: text, an object that is the answer, or one of the error strings.
pub fn answer(mock: &Value, request: &MockRequest<'_>) -> MockAnswer {
    let text = match mock {
        Value::String(text) => text,
        Value::Object(_) => return answer_object(mock, request),
        other => {
            let message = format!("mock_response must be text or an object, and is {other}");
            return MockAnswer::Failure(Failure::new(FailureKind::BadRequest, 400, message));
        }
    };
    if let Some(failure) = error_of(text) {
        return MockAnswer::Failure(failure);
    }
    if let Some(before) = text.strip_prefix("Exception: mock_streaming_error") {
        let message = "This is a mock error raised mid-stream".to_owned();
        let failure = Failure::new(FailureKind::StreamError, 529, message);
        let before = before.trim_start();
        if !request.stream || before.is_empty() {
            return MockAnswer::Failure(failure);
        }
        let mut chunks = Chunks::new(id(request), request);
        chunks.add_content(0, before);
        return MockAnswer::StreamThenFailure(chunks.events, failure);
    }
    if request.stream { stream_text(text, request) } else { whole_text(text, request) }
}

/// The failure that one of LiteLLM's error strings stands for.
fn error_of(text: &str) -> Option<Failure> {
    let (kind, status, message) = match text {
        "litellm.RateLimitError" => {
            (FailureKind::RateLimit, 429, "this is a mock rate limit error")
        }
        "litellm.ContextWindowExceededError" => (
            FailureKind::ContextWindowExceeded,
            400,
            "this is a mock context window exceeded error",
        ),
        "litellm.InternalServerError" => {
            (FailureKind::ProviderError, 500, "this is a mock internal server error")
        }
        text if text.starts_with("Exception: content_filter_policy") => {
            (FailureKind::ContentFilter, 400, text)
        }
        _ => return None,
    };
    Some(Failure::new(kind, status, message.to_owned()))
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
        let characters: Vec<char> = text.chars().collect();
        let mut pieces = characters.chunks(CHUNK_CHARS).map(String::from_iter);
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
fn answer_object(mock: &Value, request: &MockRequest<'_>) -> MockAnswer {
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

#[cfg(test)]
mod tests {
    use domain::time::Timestamp;

    use super::*;

    fn request(stream: bool) -> MockRequest<'static> {
        MockRequest {
            endpoint: Endpoint::ChatCompletions,
            model: "gpt-4o",
            stream,
            include_usage: true,
            id: CallId::new(Timestamp::from_millis(1_795_227_718_000), [7; 10]),
            created: 1_795_227_718,
            mock_tool_calls: None,
        }
    }

    fn asked(mock: &Value, stream: bool, tool_calls: Option<&Value>) -> MockAnswer {
        answer(mock, &MockRequest { mock_tool_calls: tool_calls, ..request(stream) })
    }

    fn whole(mock: &Value, tool_calls: Option<&Value>) -> String {
        match asked(mock, false, tool_calls) {
            MockAnswer::Whole(body) => String::from_utf8(body.to_vec()).unwrap(),
            other => panic!("expected a whole answer, got {other:?}"),
        }
    }

    fn streamed(mock: &Value, tool_calls: Option<&Value>) -> String {
        match asked(mock, true, tool_calls) {
            MockAnswer::Stream(chunks) => String::from_utf8(chunks.concat()).unwrap(),
            other => panic!("expected a stream, got {other:?}"),
        }
    }

    #[test]
    fn a_text_answers_as_litellm_does() {
        // LiteLLM 1.109.1's answer to the same mock, but for the id.
        let expected = [
            r#"{"id":"chatcmpl-01a1fbe9-1170-7707-8707-070707070707","created":1795227718,"#,
            r#""model":"gpt-4o","object":"chat.completion","choices":[{"finish_reason":"stop","#,
            r#""index":0,"message":{"content":"hey!","role":"assistant"}}],"#,
            r#""usage":{"completion_tokens":20,"prompt_tokens":10,"total_tokens":30}}"#,
        ];
        assert_eq!(whole(&json!("hey!"), None), expected.concat());
    }

    #[test]
    fn a_text_streams_three_characters_a_chunk() {
        insta::assert_snapshot!(streamed(&json!("héy!"), None));
    }

    #[test]
    fn the_usage_chunk_is_for_those_who_asked() {
        let asked = MockRequest { include_usage: false, ..request(true) };
        let MockAnswer::Stream(chunks) = answer(&json!("hey!"), &asked) else {
            panic!("expected a stream");
        };
        assert!(!String::from_utf8_lossy(&chunks.concat()).contains("usage"));
    }

    #[test]
    fn tool_calls_are_answered_whole_and_streamed() {
        let calls = json!([{"id": "call_1", "type": "function",
            "function": {"name": "weather", "arguments": "{}"}}]);
        let answer = whole(&json!(""), Some(&calls));
        insta::assert_snapshot!(format!("{answer}\n\n{}", streamed(&json!(""), Some(&calls))));
    }

    #[test]
    fn an_object_is_the_answer() {
        let mock = json!({"id": "own", "choices": [
            {"message": {"content": "abcd"}, "finish_reason": "length"},
            {"index": 1, "message": {"content": null, "tool_calls": [{"id": "x"}]}},
        ], "usage": {"total_tokens": 1}});
        let answer = whole(&mock, None);
        insta::assert_snapshot!(format!("{answer}\n\n{}", streamed(&mock, None)));
    }

    #[test]
    fn error_strings_fail_as_their_names_say() {
        let cases = [
            ("litellm.RateLimitError", FailureKind::RateLimit, 429),
            ("litellm.ContextWindowExceededError", FailureKind::ContextWindowExceeded, 400),
            ("litellm.InternalServerError", FailureKind::ProviderError, 500),
            ("Exception: content_filter_policy of ours", FailureKind::ContentFilter, 400),
            ("Exception: mock_streaming_error", FailureKind::StreamError, 529),
        ];
        for (mock, kind, status) in cases {
            for stream in [false, true] {
                let MockAnswer::Failure(failure) = asked(&json!(mock), stream, None) else {
                    panic!("{mock} did not fail");
                };
                assert_eq!((failure.kind, failure.status), (kind, status), "{mock}");
            }
        }
        let answer = asked(&json!([0.1]), false, None);
        assert!(matches!(answer, MockAnswer::Failure(f) if f.kind == FailureKind::BadRequest));
    }

    #[test]
    fn a_text_after_the_streaming_error_comes_before_it() {
        let mock = json!("Exception: mock_streaming_error hello");
        let MockAnswer::StreamThenFailure(chunks, failure) = asked(&mock, true, None) else {
            panic!("expected a stream that fails");
        };
        assert_eq!((chunks.len(), failure.status), (2, 529));
        assert!(String::from_utf8_lossy(&chunks[1]).contains(r#""content":"lo""#));
    }
}
