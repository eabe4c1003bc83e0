//! Takes texts out of requests and answers before the journal sees them.
//!
//! LiteLLM's mark stands where a text was (its 1.109.1 writes `redacted-by-litellm`). Of a request
//! everything else stays: model, parameters, metadata, names of tools. Of an answer only what is
//! known to hold no text stays: ids, model, roles, reasons, usage, names of tools; so what a
//! provider invents tomorrow is left out, too.
//!
//! Invariant: what cannot be read is left out, never kept.

mod answer;
mod responses;
mod servers;

use std::ops::Range;

use bytes::Bytes;
use domain::call::Endpoint;

pub use self::servers::without_server_credentials;
use self::{
    answer::Answer,
    responses::{Embeddings, Responses},
};
use crate::{
    json::{self, Member},
    scan::key_text,
    sse::{self, DONE},
};

/// What stands where a text was.
pub const MARK: &str = "redacted-by-litellm";

const MARK_JSON: &[u8] = br#""redacted-by-litellm""#;
const MESSAGES: &[u8] = br#"[{"role":"user","content":"redacted-by-litellm"}]"#;

/// A request's body without its texts; empty if it is not a JSON object.
///
/// `messages` become one message as LiteLLM writes it; `prompt`, `input`, `system` and the like
/// become the mark; in `tools` and in an answer's format all texts but types and names do.
pub fn request(endpoint: Endpoint, body: &[u8]) -> Bytes {
    if !json::is_object(body) {
        return Bytes::new();
    }
    let mut out = Vec::with_capacity(256);
    rewrite_members(body, json::skip_space(body, 0), &mut out, &mut |key, value, out| match key {
        "messages" => out.extend_from_slice(MESSAGES),
        "prompt" | "input" | "suffix" | "system" | "instructions" | "prediction" | "documents"
        | "contents" | "mock_response" => out.extend_from_slice(MARK_JSON),
        "tools" | "functions" | "response_format" | "mock_tool_calls" | "output_config"
        | "output_format" => mark_texts(body, value, out),
        // Of a response that is asked for: its format.
        "text" if endpoint == Endpoint::Responses => mark_texts(body, value, out),
        _ => out.extend_from_slice(&body[value]),
    });
    out.into()
}

/// An answer's body without its texts; empty if it is not a JSON object. An answer to a chat
/// completion may be in Anthropic's dialect.
pub fn response(endpoint: Endpoint, body: &[u8]) -> Bytes {
    redactor(endpoint).redact(body).unwrap_or_default().into()
}

/// A recorded stream without its texts.
///
/// Joined, what is left of a text is the mark once, and of a tool's arguments `{}`. Comments, events
/// that are not JSON and a last event that was cut are left out.
pub fn stream(endpoint: Endpoint, body: &[u8]) -> Bytes {
    let mut answer = redactor(endpoint);
    let mut out = Vec::with_capacity(body.len());
    for event in sse::events(body) {
        let data = event.data.trim_ascii();
        let data = if data == DONE { Some(DONE.to_vec()) } else { answer.redact(data) };
        let Some(mut data) = data else {
            continue;
        };
        // Outside of strings, where JSON has none, a line's end is only space.
        data.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        if let Some(name) = event.name {
            out.extend_from_slice(b"event: ");
            out.extend_from_slice(name.as_bytes());
            out.push(b'\n');
        }
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&data);
        out.extend_from_slice(b"\n\n");
    }
    out.into()
}

/// Takes the texts out of answers, or out of the events of one stream in their order.
trait Redactor {
    /// The answer or event without its texts; `None` if it is not a JSON object.
    fn redact(&mut self, bytes: &[u8]) -> Option<Vec<u8>>;
}

fn redactor(endpoint: Endpoint) -> Box<dyn Redactor> {
    match endpoint {
        Endpoint::ChatCompletions | Endpoint::TextCompletions | Endpoint::Messages => {
            Box::new(Answer::default())
        }
        Endpoint::Responses => Box::new(Responses::default()),
        Endpoint::Embeddings => Box::new(Embeddings),
    }
}

/// Writes the value of a member, given its key and the value's span.
type WriteMember<'a> = dyn FnMut(&str, Range<usize>, &mut Vec<u8>) + 'a;

/// Copies the object at `start`, each member's value as `each` writes it. The bytes around the
/// values stay. They were checked to be JSON; were they not, the copy would end early.
fn rewrite_members(bytes: &[u8], start: usize, out: &mut Vec<u8>, each: &mut WriteMember<'_>) {
    let mut copied = start;
    let mut walk = json::members(bytes, start);
    for member in walk.by_ref().map_while(Result::ok) {
        let key = key_text(bytes, &member);
        let Member { value, .. } = member.clone();
        out.extend_from_slice(&bytes[copied..value.start]);
        copied = value.end;
        each(&key, value, out);
    }
    out.extend_from_slice(&bytes[copied..walk.end().unwrap_or(copied)]);
}

/// Copies the array at `start`, each element as `each` writes it.
fn rewrite_elements(
    bytes: &[u8],
    start: usize,
    out: &mut Vec<u8>,
    each: &mut dyn FnMut(Range<usize>, &mut Vec<u8>),
) {
    let mut copied = start;
    let mut walk = json::elements(bytes, start);
    for value in walk.by_ref().map_while(Result::ok) {
        out.extend_from_slice(&bytes[copied..value.start]);
        copied = value.end;
        each(value, out);
    }
    out.extend_from_slice(&bytes[copied..walk.end().unwrap_or(copied)]);
}

/// Copies a value with the mark in place of all its texts, but for those that are a `type` or a
/// `name`.
fn mark_texts(bytes: &[u8], value: Range<usize>, out: &mut Vec<u8>) {
    match bytes[value.start] {
        b'{' => rewrite_members(bytes, value.start, out, &mut |key, value, out| {
            if matches!(key, "type" | "name") && bytes[value.start] == b'"' {
                out.extend_from_slice(&bytes[value]);
            } else {
                mark_texts(bytes, value, out);
            }
        }),
        b'[' => rewrite_elements(bytes, value.start, out, &mut |value, out| {
            mark_texts(bytes, value, out);
        }),
        b'"' => out.extend_from_slice(MARK_JSON),
        _ => out.extend_from_slice(&bytes[value]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHAT: Endpoint = Endpoint::ChatCompletions;

    fn text(bytes: &Bytes) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        for bytes in [&b"<html>SECRET"[..], b"[\"SECRET\"]", b"{\"id\":1", b"\"SECRET\"", b""] {
            assert!(request(CHAT, bytes).is_empty());
            assert!(response(CHAT, bytes).is_empty());
            assert!(stream(CHAT, bytes).is_empty());
        }
    }

    /// Answers and chunks with the word `SECRET` as a text at any place where one can stand.
    fn answer() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::json!("a SECRET text")),
            Just(serde_json::json!(null)),
            any::<i32>().prop_map(serde_json::Value::from),
        ];
        let key = prop::sample::select(vec![
            "choices",
            "message",
            "delta",
            "content",
            "text",
            "tool_calls",
            "function",
            "arguments",
            "content_block",
            "input",
            "thinking",
            "x_new",
            "logprobs",
            "partial_json",
            "audio",
            "response",
            "output",
            "item",
            "part",
            "refusal",
            "summary",
            "instructions",
            "data",
            "embedding",
            "results",
        ]);
        leaf.prop_recursive(6, 48, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(serde_json::Value::from),
                prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..4)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn law_no_text_of_an_answer_survives(answer in answer()) {
            let body = answer.to_string();
            for endpoint in [CHAT, Endpoint::Responses, Endpoint::Embeddings] {
                let redacted = text(&response(endpoint, body.as_bytes()));
                prop_assert!(!redacted.contains("SECRET"), "{redacted}");
                prop_assert!(redacted.is_empty() != answer.is_object());
                prop_assert!(redacted.is_empty() || json::is_object(redacted.as_bytes()));
                let streamed = text(&stream(endpoint, format!("data: {body}\n\n").as_bytes()));
                prop_assert!(!streamed.contains("SECRET"), "{streamed}");
            }
        }
    }
}
