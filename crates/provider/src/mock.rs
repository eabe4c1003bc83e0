//! Answers of `mock_response`.

use bytes::Bytes;
use domain::{failure::Failure, id::CallId};

/// What a mock answers with.
#[derive(Debug, Clone, PartialEq)]
pub enum MockAnswer {
    /// A JSON body.
    Whole(Bytes),
    /// Server-sent events, one piece each.
    Stream(Vec<Bytes>),
    /// An error instead of an answer.
    Failure(Failure),
    /// A stream that fails after these events.
    StreamThenFailure(Vec<Bytes>, Failure),
}

/// What the call is about.
#[derive(Debug, Clone, Copy)]
pub struct MockRequest<'a> {
    /// The model's name for the answer.
    pub model: &'a str,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Whether the caller asked for the usage chunk.
    pub include_usage: bool,
    /// The call: the answer's id follows from it.
    pub id: CallId,
    /// Unix seconds.
    pub created: i64,
    /// LiteLLM's `mock_tool_calls`: becomes the answer's `tool_calls`.
    pub mock_tool_calls: Option<&'a serde_json::Value>,
}

/// What `mock_response` answers.
pub fn answer(mock: &serde_json::Value, request: &MockRequest<'_>) -> MockAnswer {
    let _ = (mock, request);
    unimplemented!()
}
