//! Anthropic's messages as a chat's.

use super::{Gathered, call, is_media, object, tool_result, without_media};
use crate::format::json::{Json, Members, Raw, Value, elements, text_of};

/// What `OpenRouter` calls the form of this reasoning.
const REASONING_FORMAT: &str = "anthropic-claude-v1";

/// Writes a list of messages. A tool's result is a message of its own, in the place where it stood.
pub(super) fn write(json: &mut Json, messages: &str) {
    for message in elements(messages) {
        let members = Members::of(message.get());
        let role = members.get("role").and_then(text_of).unwrap_or_else(|| "user".into());
        let content = members.get("content").unwrap_or("[]");
        let mut gathered = Gathered::default();
        if !content.starts_with('[') {
            gathered.add_content(content);
            gathered.flush(json, &role);
            continue;
        }
        let mut has_results = false;
        for block in elements(content) {
            let block = block.get();
            let parts = Members::of(block);
            match parts.get("type").and_then(text_of).as_deref() {
                Some("tool_result") => {
                    if !gathered.is_empty() {
                        gathered.flush(json, &role);
                    }
                    tool_result(json, parts.get("tool_use_id"), parts.get("content"));
                    has_results = true;
                }
                Some("tool_use") => {
                    let arguments = in_string(parts.get("input").unwrap_or("{}"));
                    let (id, name) = (parts.get("id"), parts.get("name"));
                    gathered.calls.push(call(id, name, &arguments));
                }
                Some("thinking") => gathered.reasoning.push(object(|json| {
                    json.field("type", "reasoning.text");
                    json.field("text", parts.get("thinking").map(Raw));
                    json.field("signature", parts.get("signature").map(Raw));
                    json.field("format", REASONING_FORMAT);
                })),
                Some("redacted_thinking") => gathered.reasoning.push(object(|json| {
                    json.field("type", "reasoning.encrypted");
                    json.field("data", parts.get("data").map(Raw));
                    json.field("format", REASONING_FORMAT);
                })),
                _ if is_media(block) => {}
                _ => gathered.content.push(without_media(block).into_owned()),
            }
        }
        // A message of results alone is told by them.
        if !gathered.is_empty() || !has_results {
            gathered.flush(json, &role);
        }
    }
}

/// JSON in a JSON string.
fn in_string(json: &str) -> String {
    let mut line = Vec::with_capacity(json.len());
    Raw(json).write(&mut line);
    let mut out = Vec::with_capacity(line.len() + 16);
    String::from_utf8(line).expect("white space goes, all else stays").as_str().write(&mut out);
    String::from_utf8(out).expect("JSON is UTF-8")
}
