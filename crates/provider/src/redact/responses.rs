//! `OpenAI`'s responses and their events, and lists of embeddings: what may stay of them.
//!
//! A text comes four times in a stream: in its deltas, and whole in the ends of its part, its item
//! and the response. The deltas have the mark once, each whole text has it.

use std::{collections::HashSet, ops::Range};

use super::{MARK_JSON, Redactor, answer, mark_texts, rewrite_elements, rewrite_members};
use crate::json;

/// Members with texts that are none of the model's, beside those of any answer.
const KEPT_TEXTS: [&str; 8] = [
    "call_id",
    "item_id",
    "phase",
    "previous_response_id",
    "server_label",
    "tool_choice",
    "truncation",
    "effort",
];

/// A response or the events of its stream.
#[derive(Debug, Default)]
pub(super) struct Responses {
    /// The deltas that have had their mark, by what they are deltas of.
    marked: HashSet<String>,
}

impl Redactor for Responses {
    fn redact(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if !json::is_object(bytes) {
            return None;
        }
        let start = json::skip_space(bytes, 0);
        let mut out = Vec::with_capacity(bytes.len().min(4096));
        match answer::find(bytes, start, "delta") {
            Some(delta) if delta.starts_with(b"\"") => self.delta(bytes, start, &mut out),
            _ => object(bytes, start, &mut out),
        }
        Some(out)
    }
}

impl Responses {
    /// An event with a piece of a text, or of what a tool is called with.
    fn delta(&mut self, bytes: &[u8], start: usize, out: &mut Vec<u8>) {
        let member = |key| answer::find(bytes, start, key).unwrap_or_default();
        let is_arguments = answer::find(bytes, start, "type")
            .is_some_and(|kind| memchr::memmem::find(kind, b"_arguments.").is_some());
        let place: Vec<_> = ["type", "item_id", "output_index", "content_index", "summary_index"]
            .map(|key| String::from_utf8_lossy(member(key)).into_owned())
            .into();
        let is_empty = member("delta") == b"\"\"";
        let is_first = !is_empty && self.marked.insert(place.join(" "));
        rewrite_members(bytes, start, out, &mut |key, value, out| match (key, is_first) {
            ("delta", false) => out.extend_from_slice(b"\"\""),
            ("delta", true) if is_arguments => out.extend_from_slice(b"\"{}\""),
            ("delta", true) => out.extend_from_slice(MARK_JSON),
            _ => keep(bytes, key, value, out),
        });
    }
}

/// A response, an item, a part, or an event that holds one of them.
fn object(bytes: &[u8], start: usize, out: &mut Vec<u8>) {
    rewrite_members(bytes, start, out, &mut |key, value, out| {
        match (key, bytes[value.start]) {
            ("response" | "item" | "part" | "reasoning", b'{') => object(bytes, value.start, out),
            ("output" | "content" | "summary", b'[') => objects(bytes, value, out),
            // What the caller asked for, and the answer repeats.
            ("tools" | "text", b'[' | b'{') => mark_texts(bytes, value, out),
            ("annotations" | "logprobs", b'[') => out.extend_from_slice(b"[]"),
            ("arguments", b'"') => out.extend_from_slice(b"\"{}\""),
            ("text" | "refusal" | "instructions" | "input" | "output_text", b'"')
                if &bytes[value.clone()] != b"\"\"" =>
            {
                out.extend_from_slice(MARK_JSON);
            }
            ("instructions", b'[') => out.extend_from_slice(MARK_JSON),
            ("incomplete_details", b'{') => out.extend_from_slice(&bytes[value]),
            _ => keep(bytes, key, value, out),
        }
    });
}

fn objects(bytes: &[u8], list: Range<usize>, out: &mut Vec<u8>) {
    rewrite_elements(bytes, list.start, out, &mut |value, out| {
        if bytes[value.start] == b'{' {
            object(bytes, value.start, out);
        } else {
            out.extend_from_slice(b"null");
        }
    });
}

fn keep(bytes: &[u8], key: &str, value: Range<usize>, out: &mut Vec<u8>) {
    match bytes[value.start] {
        b'"' if KEPT_TEXTS.contains(&key) => out.extend_from_slice(&bytes[value]),
        b'"' if &bytes[value.clone()] == b"\"\"" => out.extend_from_slice(b"\"\""),
        _ => answer::keep(bytes, key, value, out),
    }
}

/// A list of embeddings: vectors tell of their texts.
#[derive(Debug)]
pub(super) struct Embeddings;

impl Redactor for Embeddings {
    fn redact(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if !json::is_object(bytes) {
            return None;
        }
        let mut out = Vec::with_capacity(256);
        let embedding = &mut |value: Range<usize>, out: &mut Vec<u8>| {
            if bytes[value.start] != b'{' {
                return out.extend_from_slice(b"null");
            }
            rewrite_members(bytes, value.start, out, &mut |key, value, out| match key {
                "embedding" => out.extend_from_slice(b"[]"),
                _ => answer::keep(bytes, key, value, out),
            });
        };
        let start = json::skip_space(bytes, 0);
        rewrite_members(bytes, start, &mut out, &mut |key, value, out| match (
            key,
            bytes[value.start],
        ) {
            ("data", b'[') => rewrite_elements(bytes, value.start, out, embedding),
            _ => answer::keep(bytes, key, value, out),
        });
        Some(out)
    }
}
