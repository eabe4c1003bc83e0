//! Completions and their chunks, Messages and their events: what may stay of them.

use std::{collections::HashSet, ops::Range};

use super::{MARK_JSON, Redactor, rewrite_elements, rewrite_members};
use crate::json;

/// Which texts of an answer have been replaced so far, so that each is replaced once.
#[derive(Debug, Default)]
pub(super) struct Answer {
    marked: HashSet<(u64, Text)>,
}

/// A text of a choice or of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Text {
    Content,
    Reasoning,
    Refusal,
    /// The arguments of a tool call, by its position.
    Arguments(u64),
}

/// Members whose text is none of the model's, wherever they stand.
const KEPT_TEXTS: [&str; 17] = [
    "id",
    "object",
    "created",
    "model",
    "system_fingerprint",
    "service_tier",
    "provider",
    "request_id",
    "type",
    "role",
    "index",
    "name",
    "tool_use_id",
    "finish_reason",
    "native_finish_reason",
    "stop_reason",
    "status",
];

/// Members that are kept whole: they count, or say why there is no answer.
const KEPT_WHOLE: [&str; 3] = ["usage", "x_groq", "error"];

impl Redactor for Answer {
    fn redact(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if !json::is_object(bytes) {
            return None;
        }
        let mut out = Vec::with_capacity(bytes.len().min(4096));
        let start = json::skip_space(bytes, 0);
        self.top(bytes, start, &mut out);
        Some(out)
    }
}

impl Answer {
    /// A completion, a chunk, a Message or an event of its stream.
    fn top(&mut self, bytes: &[u8], start: usize, out: &mut Vec<u8>) {
        let index = index_of(bytes, start);
        rewrite_members(
            bytes,
            start,
            out,
            &mut |key, value, out| match (key, bytes[value.start]) {
                ("choices", b'[') => {
                    rewrite_elements(bytes, value.start, out, &mut |choice, out| {
                        self.choice(bytes, choice, out);
                    });
                }
                ("content", b'[') => {
                    rewrite_elements(bytes, value.start, out, &mut |block, out| {
                        self.said(bytes, 0, block, out);
                    });
                }
                ("message", b'{') => self.top(bytes, value.start, out),
                ("content_block" | "delta", b'{') => self.said(bytes, index, value, out),
                _ => keep(bytes, key, value, out),
            },
        );
    }

    fn choice(&mut self, bytes: &[u8], choice: Range<usize>, out: &mut Vec<u8>) {
        if bytes[choice.start] != b'{' {
            return out.extend_from_slice(b"null");
        }
        let index = index_of(bytes, choice.start);
        rewrite_members(bytes, choice.start, out, &mut |key, value, out| match (
            key,
            bytes[value.start],
        ) {
            ("message" | "delta", b'{') => self.said(bytes, index, value, out),
            ("text", b'"') => self.mark(bytes, index, Text::Content, value, out),
            _ => keep(bytes, key, value, out),
        });
    }

    /// What holds the texts: a choice's message or delta, a Message's block or a delta of one.
    fn said(&mut self, bytes: &[u8], index: u64, said: Range<usize>, out: &mut Vec<u8>) {
        if bytes[said.start] != b'{' {
            return out.extend_from_slice(b"null");
        }
        rewrite_members(bytes, said.start, out, &mut |key, value, out| {
            match (key, bytes[value.start]) {
                // A list is the parts of an answer that is no single text: the mark is one.
                ("content" | "text", b'"') | ("content", b'[') => {
                    self.mark(bytes, index, Text::Content, value, out);
                }
                ("reasoning_content" | "reasoning" | "thinking", b'"') => {
                    self.mark(bytes, index, Text::Reasoning, value, out);
                }
                ("refusal", b'"') => self.mark(bytes, index, Text::Refusal, value, out),
                ("partial_json", b'"') => {
                    self.mark(bytes, index, Text::Arguments(0), value, out);
                }
                ("input", b'{') => out.extend_from_slice(b"{}"),
                ("tool_calls", b'[') => {
                    let mut position = 0;
                    rewrite_elements(bytes, value.start, out, &mut |call, out| {
                        self.tool_call(bytes, index, position, call, out);
                        position += 1;
                    });
                }
                ("function_call", b'{') => self.function(bytes, index, 0, value, out),
                _ => keep(bytes, key, value, out),
            }
        });
    }

    fn tool_call(
        &mut self,
        bytes: &[u8],
        choice: u64,
        position: u64,
        call: Range<usize>,
        out: &mut Vec<u8>,
    ) {
        if bytes[call.start] != b'{' {
            return out.extend_from_slice(b"null");
        }
        let position = find(bytes, call.start, "index").and_then(number).unwrap_or(position);
        rewrite_members(bytes, call.start, out, &mut |key, value, out| match (
            key,
            bytes[value.start],
        ) {
            ("function", b'{') => self.function(bytes, choice, position, value, out),
            _ => keep(bytes, key, value, out),
        });
    }

    fn function(
        &mut self,
        bytes: &[u8],
        choice: u64,
        position: u64,
        function: Range<usize>,
        out: &mut Vec<u8>,
    ) {
        rewrite_members(bytes, function.start, out, &mut |key, value, out| match (
            key,
            bytes[value.start],
        ) {
            ("arguments", b'"') => {
                self.mark(bytes, choice, Text::Arguments(position), value, out);
            }
            _ => keep(bytes, key, value, out),
        });
    }

    /// Writes the mark for the first text of its kind that is not empty, nothing for the others.
    fn mark(
        &mut self,
        bytes: &[u8],
        index: u64,
        text: Text,
        value: Range<usize>,
        out: &mut Vec<u8>,
    ) {
        let is_empty = &bytes[value] == b"\"\"";
        if is_empty || !self.marked.insert((index, text)) {
            return out.extend_from_slice(b"\"\"");
        }
        // Who reads arguments reads them as JSON.
        let is_arguments = matches!(text, Text::Arguments(_));
        out.extend_from_slice(if is_arguments { b"\"{}\"" } else { MARK_JSON });
    }
}

/// Copies a member that holds no text of the model's; of any other only numbers and truth values.
pub(super) fn keep(bytes: &[u8], key: &str, value: Range<usize>, out: &mut Vec<u8>) {
    let is_kept = match bytes[value.start] {
        b'[' | b'{' => KEPT_WHOLE.contains(&key),
        b'"' => KEPT_TEXTS.contains(&key) || KEPT_WHOLE.contains(&key),
        _ => true,
    };
    out.extend_from_slice(if is_kept { &bytes[value] } else { b"null" });
}

fn index_of(bytes: &[u8], start: usize) -> u64 {
    find(bytes, start, "index").and_then(number).unwrap_or_default()
}

/// The raw value of an object's member.
pub(super) fn find<'a>(bytes: &'a [u8], start: usize, key: &str) -> Option<&'a [u8]> {
    let mut members = json::members(bytes, start).map_while(Result::ok);
    let member = members.find(|member| crate::scan::is_key(bytes, member, key))?;
    Some(&bytes[member.value])
}

fn number(raw: &[u8]) -> Option<u64> {
    std::str::from_utf8(raw).ok()?.parse().ok()
}
