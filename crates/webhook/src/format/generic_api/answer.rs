//! What a payload tells of the answer: `response` and the usage objects.

use super::{post::Post, request::REDACTED};
use crate::format::json::{Json, Members, Null, Raw, elements};

/// Keys of a message that receivers may index, null where the provider left them out.
const MESSAGE_KEYS: [&str; 2] = ["tool_calls", "function_call"];

/// Keys of a usage object that receivers may index, null where the provider left them out.
const USAGE_KEYS: [&str; 2] = ["completion_tokens_details", "prompt_tokens_details"];

/// Members of an answer that hold no text of the model's.
const WITHOUT_TEXT: [&str; 6] =
    ["id", "created", "model", "object", "system_fingerprint", "service_tier"];

/// Writes the answer under the model's public name; `{}` if there was none.
pub(super) fn write_response(json: &mut Json, post: &Post<'_>) {
    let response = post.report.response.as_deref().filter(|_| post.has_answer);
    let members = response.map(Members::of).unwrap_or_default();
    json.open();
    for (name, value) in members.iter() {
        match name {
            "model" => json.field("model", post.attempt.map(|a| a.deployment.model_name.as_str())),
            "choices" => {
                json.name("choices");
                write_choices(json, value, post.hides_text);
            }
            "usage" => {
                json.name("usage");
                write_usage(json, value, post);
            }
            _ if post.hides_text && !WITHOUT_TEXT.contains(&name) => {}
            _ => json.field_named(name, Raw(value)),
        }
    }
    json.close();
}

/// Writes the usage for `metadata.usage_object`; `{}` if none was reported.
pub(super) fn write_usage_object(json: &mut Json, post: &Post<'_>) {
    write_usage(json, post.usage_json().unwrap_or("{}"), post);
}

fn write_usage(json: &mut Json, usage: &str, post: &Post<'_>) {
    let members = Members::of(usage);
    if members.is_empty() {
        json.value(Raw(usage));
        return;
    }
    json.open();
    for (name, value) in members.iter() {
        json.field_named(name, Raw(value));
    }
    for name in USAGE_KEYS {
        if members.get(name).is_none() {
            json.field(name, Null);
        }
    }
    // LiteLLM adds the cost to the usage of streams, and of streams only.
    if let (true, Some(cost), None) = (post.is_streamed_success(), post.cost(), members.get("cost"))
    {
        json.field("cost", cost.total);
    }
    json.close();
}

fn write_choices(json: &mut Json, choices: &str, hides_text: bool) {
    json.open_list();
    for choice in elements(choices) {
        let members = Members::of(choice.get());
        json.comma();
        json.open();
        for (name, value) in members.iter() {
            match name {
                "message" => {
                    json.name("message");
                    write_message(json, value, hides_text);
                }
                "index" | "finish_reason" => json.field_named(name, Raw(value)),
                _ if hides_text => {}
                _ => json.field_named(name, Raw(value)),
            }
        }
        json.close();
    }
    json.close_list();
}

fn write_message(json: &mut Json, message: &str, hides_text: bool) {
    let members = Members::of(message);
    json.open();
    for (name, value) in members.iter() {
        match name {
            "role" => json.field_named(name, Raw(value)),
            "content" if hides_text && value != "null" => json.field("content", REDACTED),
            "content" => json.field("content", Raw(value)),
            // Calls of tools hold text, as do refusals, reasoning and what else there may be.
            _ if hides_text => {}
            _ => json.field_named(name, Raw(value)),
        }
    }
    for name in MESSAGE_KEYS {
        if hides_text || members.get(name).is_none() {
            json.field(name, Null);
        }
    }
    json.close();
}
