//! The input of `/v1/responses` as messages.

use super::{Gathered, call, message, object, tool_result};
use crate::format::json::{Json, Members, Raw, elements, text_of};

/// Writes a text as a user's message, or each item of a list. What the assistant said, called and
/// reasoned in a row is one message.
pub(super) fn write(json: &mut Json, input: &str) {
    if !input.starts_with('[') {
        return message(json, "user", Raw(input));
    }
    let mut assistant = Gathered::default();
    for item in elements(input) {
        let members = Members::of(item.get());
        let kind = members.get("type").and_then(text_of);
        match kind.as_deref() {
            None | Some("message") => said(json, &mut assistant, &members),
            Some("function_call") => {
                let arguments = members.get("arguments").unwrap_or("\"\"");
                let (id, name) = (members.get("call_id"), members.get("name"));
                assistant.calls.push(call(id, name, arguments));
            }
            Some("custom_tool_call") => assistant.calls.push(custom_call(&members)),
            Some("reasoning") => reasoning(&mut assistant, &members),
            Some("function_call_output" | "custom_tool_call_output") => {
                flush(json, &mut assistant);
                tool_result(json, members.get("call_id"), members.get("output"));
            }
            Some(_) if super::is_media(item.get()) => {}
            // A provider's own tool, or a reference: no chat has these.
            Some(_) => assistant.content.push(super::without_media(item.get()).into_owned()),
        }
    }
    flush(json, &mut assistant);
}

fn flush(json: &mut Json, assistant: &mut Gathered) {
    if !assistant.is_empty() {
        assistant.flush(json, "assistant");
    }
}

fn said(json: &mut Json, assistant: &mut Gathered, members: &Members<'_>) {
    let role = members.get("role").and_then(text_of).unwrap_or_else(|| "user".into());
    let content = members.get("content").unwrap_or("[]");
    if role == "assistant" {
        return assistant.add_content(content);
    }
    flush(json, assistant);
    let mut other = Gathered::default();
    other.add_content(content);
    other.flush(json, &role);
}

fn custom_call(members: &Members<'_>) -> String {
    object(|json| {
        json.field("id", members.get("call_id").map(Raw));
        json.field("type", "custom");
        json.name("custom");
        json.open();
        json.field("name", members.get("name").map(Raw));
        json.field("input", members.get("input").map(Raw));
        json.close();
    })
}

fn reasoning(assistant: &mut Gathered, members: &Members<'_>) {
    for summary in members.get("summary").map(elements).unwrap_or_default() {
        let text = Members::of(summary.get()).get("text");
        assistant.reasoning.push(object(|json| {
            json.field("type", "reasoning.summary");
            json.field("summary", text.map(Raw));
        }));
    }
    if let Some(data) = members.get("encrypted_content").filter(|data| data.starts_with('"')) {
        assistant.reasoning.push(object(|json| {
            json.field("type", "reasoning.encrypted");
            json.field("id", members.get("id").map(Raw));
            json.field("data", Raw(data));
        }));
    }
}
