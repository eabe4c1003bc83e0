//! A Message as a `chat.completion`.

use bytes::Bytes;
use domain::failure::Failure;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{finish_reason, usage::Reported};
use crate::failure::bad_response;

#[derive(Deserialize)]
struct Message<'a> {
    r#type: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    model: String,
    #[serde(borrow, default)]
    content: Vec<&'a RawValue>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    usage: Option<Reported>,
}

#[derive(Deserialize)]
struct Block<'a> {
    r#type: String,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    thinking: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: [Choice<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<super::usage::Usage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'static str>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    message: Answer<'a>,
    finish_reason: &'static str,
}

#[derive(Default, Serialize)]
struct Answer<'a> {
    role: &'static str,
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    thinking_blocks: Vec<&'a RawValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall<'a>>,
}

#[derive(Serialize)]
struct ToolCall<'a> {
    id: String,
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: String,
    arguments: &'a str,
}

/// Translates a Message into a `chat.completion`; `created`, in unix seconds, is not in a Message.
///
/// Texts become the content, joined; `tool_use` becomes `tool_calls`. Thinking becomes
/// `reasoning_content`, and its blocks `thinking_blocks`, LiteLLM's names: with the latter a caller
/// can continue the conversation. Blocks of Anthropic's own tools are left out, their count stays
/// in `usage`.
pub fn response(body: &[u8], created: i64) -> Result<Bytes, Failure> {
    let message: Message<'_> = serde_json::from_slice(body)
        .map_err(|error| bad_response(format!("the provider's answer is no Message: {error}")))?;
    if message.r#type != "message" {
        let kind = &message.r#type;
        return Err(bad_response(format!("the provider's answer is a `{kind}`, not a Message")));
    }
    let completion = Completion {
        id: &message.id,
        object: "chat.completion",
        created,
        model: &message.model,
        choices: [Choice {
            index: 0,
            message: answer(&message.content)?,
            finish_reason: finish_reason(message.stop_reason.as_deref().unwrap_or_default()),
        }],
        usage: message.usage.as_ref().map(Reported::to_openai),
        service_tier: message.usage.as_ref().and_then(Reported::service_tier),
    };
    let body = serde_json::to_vec(&completion)
        .map_err(|error| bad_response(format!("the provider's answer is unusable: {error}")))?;
    Ok(body.into())
}

fn answer<'a>(content: &[&'a RawValue]) -> Result<Answer<'a>, Failure> {
    let mut answer = Answer { role: "assistant", ..Answer::default() };
    for raw in content {
        let block: Block<'a> = serde_json::from_str(raw.get())
            .map_err(|error| bad_response(format!("the provider sent a broken block: {error}")))?;
        match &*block.r#type {
            "text" => append(&mut answer.content, block.text),
            "thinking" => {
                append(&mut answer.reasoning_content, block.thinking);
                answer.thinking_blocks.push(raw);
            }
            "redacted_thinking" => answer.thinking_blocks.push(raw),
            "tool_use" => answer.tool_calls.push(ToolCall {
                id: block.id.unwrap_or_default(),
                r#type: "function",
                function: Function {
                    name: block.name.unwrap_or_default(),
                    arguments: block.input.map_or("{}", RawValue::get),
                },
            }),
            _ => {}
        }
    }
    Ok(answer)
}

fn append(text: &mut Option<String>, more: Option<String>) {
    if let Some(more) = more {
        text.get_or_insert_default().push_str(&more);
    }
}
