//! Messages in the form of `GenAI`'s conventions: a role and typed parts.

use domain::event::Report;

use super::answer::choices;
use crate::format::json::{Json, Members, Raw, elements, text_of};

/// Messages of a chat, a JSON list, as `gen_ai.input.messages`.
pub(super) fn input(messages: &str) -> String {
    list(|json| {
        for message in elements(messages) {
            let members = Members::of(message.get());
            write_message(json, &members, None);
        }
    })
}

/// A system prompt, a text or a list of parts, as `gen_ai.system_instructions`.
pub(super) fn instructions(system: &str) -> String {
    list(|json| write_content(json, system))
}

/// What each choice says and how it ended, as `gen_ai.output.messages`; `None` if nothing was seen.
pub(super) fn output(report: &Report) -> Option<String> {
    let choices = choices(report);
    if choices.len() > 1 {
        return Some(list(|json| {
            for choice in &choices {
                let reason = choice.get("finish_reason").and_then(text_of);
                match choice.get("message") {
                    Some(message) => {
                        write_message(
                            json,
                            &Members::of(message),
                            Some(finish_reason(reason.as_deref())),
                        );
                    }
                    // A text completion's choice is a text.
                    None => write_answer(json, reason.as_deref(), |json| {
                        choice.get("text").into_iter().for_each(|text| write_content(json, text));
                    }),
                }
            }
        }));
    }
    let has_any =
        report.text.is_some() || report.reasoning.is_some() || report.tool_calls.is_some();
    has_any.then(|| {
        list(|json| {
            write_answer(json, report.finish_reason.as_deref(), |json| {
                if let Some(reasoning) = &report.reasoning {
                    write_part(json, "reasoning", &quoted(reasoning));
                }
                if let Some(text) = &report.text {
                    write_part(json, "text", &quoted(text));
                }
                for call in report.tool_calls.as_deref().map(elements).unwrap_or_default() {
                    write_call(json, call.get());
                }
            });
        })
    })
}

fn list(write: impl FnOnce(&mut Json)) -> String {
    let mut json = Json::with_capacity(512);
    json.open_list();
    write(&mut json);
    json.close_list();
    String::from_utf8(json.into_bytes()).expect("JSON of texts is UTF-8")
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}

fn write_answer(json: &mut Json, reason: Option<&str>, parts: impl FnOnce(&mut Json)) {
    json.comma();
    json.open();
    json.field("role", "assistant");
    json.name("parts");
    json.open_list();
    parts(json);
    json.close_list();
    json.field("finish_reason", finish_reason(reason));
    json.close();
}

/// The conventions' word for why a choice ended. One that did not end failed on its way.
fn finish_reason(reason: Option<&str>) -> &str {
    match reason {
        Some("tool_calls" | "function_call") => "tool_call",
        Some(other) => other,
        None => "error",
    }
}

/// A chat's message; with why it ended, it is an answer.
fn write_message(json: &mut Json, message: &Members<'_>, reason: Option<&str>) {
    let role = message.get("role").and_then(text_of).unwrap_or_else(|| "user".into());
    let role = match role.as_ref() {
        "developer" => "system",
        "function" => "tool",
        role => role,
    };
    json.comma();
    json.open();
    json.field("role", role);
    json.name("parts");
    json.open_list();
    let content = message.get("content").unwrap_or("null");
    if role == "tool" {
        json.comma();
        json.open();
        json.field("type", "tool_call_response");
        json.field("id", message.get("tool_call_id").map(Raw));
        json.field("response", Raw(content));
        json.close();
    } else {
        write_reasoning(json, message);
        write_content(json, content);
        for call in message.get("tool_calls").map(elements).unwrap_or_default() {
            write_call(json, call.get());
        }
        if let Some(call) = message.get("function_call").filter(|call| call.starts_with('{')) {
            write_function(json, None, &Members::of(call), "arguments");
        }
    }
    json.close_list();
    if let Some(name) = message.get("name").filter(|name| name.starts_with('"')) {
        json.field("name", Raw(name));
    }
    if let Some(reason) = reason {
        json.field("finish_reason", reason);
    }
    json.close();
}

fn write_reasoning(json: &mut Json, message: &Members<'_>) {
    let details = message.get("reasoning_details").map(elements).unwrap_or_default();
    let mut has_details = false;
    for detail in details {
        let detail = Members::of(detail.get());
        if let Some(text) = detail.get("text").or_else(|| detail.get("summary")) {
            has_details |= text.starts_with('"');
            if text.starts_with('"') {
                write_part(json, "reasoning", text);
            }
        }
    }
    let text = message.get("reasoning_content").or_else(|| message.get("reasoning"));
    if let Some(text) = text.filter(|text| !has_details && text.starts_with('"')) {
        write_part(json, "reasoning", text);
    }
}

/// A content's parts: texts by the conventions' name, others as they are.
fn write_content(json: &mut Json, content: &str) {
    match content.as_bytes().first() {
        Some(b'"') => write_part(json, "text", content),
        Some(b'[') => {
            for part in elements(content) {
                let members = Members::of(part.get());
                match members.get("text") {
                    Some(text) if text.starts_with('"') => write_part(json, "text", text),
                    _ if !members.is_empty() => json.element(Raw(part.get())),
                    // Tokens, or whatever is no object: a part must have a type.
                    _ => write_part(json, "generic", part.get()),
                }
            }
        }
        _ => {}
    }
}

fn write_part(json: &mut Json, kind: &'static str, content: &str) {
    json.comma();
    json.open();
    json.field("type", kind);
    json.field("content", Raw(content));
    json.close();
}

fn write_call(json: &mut Json, call: &str) {
    let call = Members::of(call);
    match (call.get("function"), call.get("custom")) {
        (Some(function), _) => {
            write_function(json, call.get("id"), &Members::of(function), "arguments");
        }
        (None, Some(custom)) => {
            write_function(json, call.get("id"), &Members::of(custom), "input");
        }
        (None, None) => {}
    }
}

/// A call of a tool, its arguments as an object if they are one.
fn write_function(
    json: &mut Json,
    id: Option<&str>,
    function: &Members<'_>,
    arguments: &'static str,
) {
    json.comma();
    json.open();
    json.field("type", "tool_call");
    if let Some(id) = id {
        json.field("id", Raw(id));
    }
    json.field("name", function.get("name").map(Raw));
    if let Some(arguments) = function.get(arguments) {
        let text = text_of(arguments).unwrap_or_default();
        let object: Result<&serde_json::value::RawValue, _> = serde_json::from_str(&text);
        match object {
            Ok(object) if object.get().starts_with('{') => {
                json.field("arguments", Raw(object.get()));
            }
            _ => json.field("arguments", Raw(arguments)),
        }
    }
    json.close();
}
