//! Mocks of embeddings. They do not stream.

use serde::Serialize;
use serde_json::{Value, json};

use super::{MockAnswer, MockRequest, completed, refused};

#[derive(Serialize)]
struct List<'a> {
    model: &'a str,
    data: Vec<Embedding<'a>>,
    object: &'static str,
    usage: Value,
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are the format's")]
struct Embedding<'a> {
    embedding: &'a Value,
    index: usize,
    object: &'static str,
}

/// LiteLLM's numbers: its mock counts ten tokens of the prompt, and none in all.
fn usage() -> Value {
    json!({
        "completion_tokens": 0,
        "prompt_tokens": 10,
        "total_tokens": 0,
        "completion_tokens_details": null,
        "prompt_tokens_details": null,
    })
}

/// A list of numbers is one vector, a list of such lists several.
pub(super) fn of_vectors(mock: &Value, request: &MockRequest<'_>) -> MockAnswer {
    let is_vector = |value: &Value| {
        value.as_array().is_some_and(|numbers| numbers.iter().all(Value::is_number))
    };
    let vectors: Vec<&Value> = match mock.as_array() {
        Some(list) if !list.is_empty() && list.iter().all(is_vector) => list.iter().collect(),
        _ if is_vector(mock) => vec![mock],
        _ => return refused("mock_response must be a list of numbers for embeddings"),
    };
    let data = vectors
        .into_iter()
        .enumerate()
        .map(|(index, embedding)| Embedding { embedding, index, object: "embedding" })
        .collect();
    let list = List { model: request.model, data, object: "list", usage: usage() };
    MockAnswer::Whole(serde_json::to_vec(&list).unwrap_or_default().into())
}

/// The object is the answer.
pub(super) fn of_object(mock: &Value, request: &MockRequest<'_>) -> MockAnswer {
    let defaults = json!({"object": "list", "model": request.model, "data": [], "usage": usage()});
    MockAnswer::Whole(completed(mock, defaults).to_string().into())
}
