//! Answers of `mock_response`: no provider is asked.
//!
//! Texts, numbers and error strings are those of LiteLLM 1.109.1: a text answers with 10, 20 and 30
//! tokens, streamed three characters a chunk; a list of numbers is an embedding. Some things are
//! ours: a streamed mock reports the same tokens; `mock_tool_calls` end with `tool_calls`; every
//! API's mock is in that API's own form, its events too; and what follows `Exception:
//! mock_streaming_error` is streamed before the failure, whereas without such a text the failure
//! comes before the first event, as it does there.
//!
//! `mock_delay` and `mock_timeout` are waits, so they are not decided here.

mod chat;
mod embeddings;
mod messages;
mod responses;
mod text;

use bytes::Bytes;
use domain::{
    call::Endpoint,
    failure::{Failure, FailureKind},
    id::CallId,
};
use serde_json::Value;

/// Characters in a chunk of a streamed mock.
const CHUNK_CHARS: usize = 3;

/// What a mock answers with.
#[derive(Debug, Clone, PartialEq)]
pub enum MockAnswer {
    /// A JSON body.
    Whole(Bytes),
    /// Server-sent events, one each, up to the one that ends the protocol's stream.
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
    /// Whether a stream of chunks ends with the usage chunk.
    pub include_usage: bool,
    /// The call; the answer's id follows from it.
    pub id: CallId,
    /// Unix seconds.
    pub created: i64,
    /// The request's `mock_tool_calls`, chat's list, which become the answer's tool calls.
    pub mock_tool_calls: Option<&'a Value>,
}

/// What a `mock_response` answers: text, an object that is the answer, for embeddings a list of
/// numbers or of such lists, or one of the error strings.
pub fn answer(mock: &Value, request: &MockRequest<'_>) -> MockAnswer {
    match mock {
        Value::String(text) => of_text(text, request),
        Value::Object(_) => of_object(mock, request),
        Value::Array(_) if request.endpoint == Endpoint::Embeddings => {
            embeddings::of_vectors(mock, request)
        }
        other => refused(&format!("mock_response must be text or an object, and is {other}")),
    }
}

fn of_text(text: &str, request: &MockRequest<'_>) -> MockAnswer {
    if let Some(failure) = error_of(text) {
        return MockAnswer::Failure(failure);
    }
    if let Some(before) = text.strip_prefix("Exception: mock_streaming_error") {
        let message = "This is a mock error raised mid-stream".to_owned();
        let failure = Failure::new(FailureKind::StreamError, 529, message);
        let before = before.trim_start();
        if !request.stream || before.is_empty() || request.endpoint == Endpoint::Embeddings {
            return MockAnswer::Failure(failure);
        }
        return MockAnswer::StreamThenFailure(begun(before, request), failure);
    }
    match request.endpoint {
        Endpoint::ChatCompletions => chat::of_text(text, request),
        Endpoint::TextCompletions => text::answer(&text::whole(text, request), request),
        Endpoint::Responses => responses::answer(&responses::whole(text, request), request),
        Endpoint::Messages => messages::answer(&messages::whole(text, request), request),
        Endpoint::Embeddings => {
            refused("mock_response must be a list of numbers for embeddings, and is text")
        }
    }
}

fn of_object(mock: &Value, request: &MockRequest<'_>) -> MockAnswer {
    match request.endpoint {
        Endpoint::ChatCompletions => chat::of_object(mock, request),
        Endpoint::TextCompletions => text::answer(&text::completed(mock, request), request),
        Endpoint::Responses => responses::answer(&responses::completed(mock, request), request),
        Endpoint::Messages => messages::answer(&messages::completed(mock, request), request),
        Endpoint::Embeddings => embeddings::of_object(mock, request),
    }
}

/// The events of a stream that fails once it has told this text.
fn begun(text: &str, request: &MockRequest<'_>) -> Vec<Bytes> {
    match request.endpoint {
        Endpoint::ChatCompletions => chat::begun(text, request),
        Endpoint::TextCompletions => text::begun(text, request),
        Endpoint::Responses => responses::begun(text, request),
        Endpoint::Messages => messages::begun(text, request),
        Endpoint::Embeddings => Vec::new(),
    }
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

fn refused(message: &str) -> MockAnswer {
    MockAnswer::Failure(Failure::new(FailureKind::BadRequest, 400, message.to_owned()))
}

/// The text, as it is streamed; at least one piece.
fn pieces(text: &str) -> impl Iterator<Item = String> {
    let characters: Vec<char> = text.chars().collect();
    let mut rest = characters.chunks(CHUNK_CHARS).map(String::from_iter).collect::<Vec<_>>();
    if rest.is_empty() {
        rest.push(String::new());
    }
    rest.into_iter()
}

/// The call's tool calls, if there are any.
fn tool_calls<'a>(request: &MockRequest<'a>) -> impl Iterator<Item = &'a Value> {
    request.mock_tool_calls.and_then(Value::as_array).into_iter().flatten()
}

/// An object as the answer that it is; what every answer of its API has and it lacks is added.
fn completed(mock: &Value, defaults: Value) -> Value {
    let mut answer = mock.clone();
    if let (Value::Object(answer), Value::Object(defaults)) = (&mut answer, defaults) {
        for (key, value) in defaults {
            answer.entry(key).or_insert(value);
        }
    }
    answer
}

/// The events of a stream, each named by its `type`.
#[derive(Default)]
struct Events {
    list: Vec<Bytes>,
    /// How many of them there are up to the last one with text.
    said: usize,
}

impl Events {
    fn add(&mut self, event: &Value) {
        let kind = event["type"].as_str().unwrap_or_default();
        self.list.push(Bytes::from(format!("event: {kind}\ndata: {event}\n\n")));
    }

    fn add_text(&mut self, event: &Value) {
        self.add(event);
        self.said = self.list.len();
    }
}

/// The answer as the caller asked for it.
fn sent(whole: &Value, request: &MockRequest<'_>, events: fn(&Value) -> Events) -> MockAnswer {
    if request.stream {
        MockAnswer::Stream(events(whole).list)
    } else {
        MockAnswer::Whole(whole.to_string().into())
    }
}

#[cfg(test)]
mod tests;
