//! `OpenAI`'s response object, whole or put together from its stream.
//!
//! A stream that reached its end tells the whole object in its last event; it is kept byte for byte.
//! Only a stream that did not is put together from its items.

mod assembly;

use serde::Deserialize;
use serde_json::value::RawValue;

use self::assembly::Assembly;
use super::{Answer, edit, edit::ToolCall, loose::LooseStr};
use crate::{sse, usage};

/// Reads a whole response.
pub(super) fn of_whole(bytes: &[u8]) -> Answer {
    let Ok(text) = std::str::from_utf8(bytes) else { return Answer::default() };
    read(text.trim()).unwrap_or_default()
}

/// Reads a stream, as far as it came.
pub(super) fn of_stream(bytes: &[u8]) -> Answer {
    let mut assembly = Assembly::default();
    for event in sse::events(bytes) {
        assembly.add(&event.data);
    }
    assembly.finish().and_then(|response| read(&response)).unwrap_or_default()
}

/// Why a response ended, in chat's words; `None` if it has not ended, or failed.
pub(crate) fn finish_reason(response: &str) -> Option<&'static str> {
    let response: Response<'_> = serde_json::from_str(response).ok()?;
    response.finish_reason(response.items().iter().any(Item::is_call))
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow, default)]
    id: LooseStr<'a>,
    #[serde(borrow, default)]
    status: LooseStr<'a>,
    #[serde(borrow, default)]
    service_tier: LooseStr<'a>,
    #[serde(borrow, default)]
    incomplete_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Item<'a> {
    #[serde(borrow)]
    r#type: LooseStr<'a>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    summary: Option<&'a RawValue>,
    #[serde(borrow)]
    call_id: LooseStr<'a>,
    #[serde(borrow)]
    name: LooseStr<'a>,
    #[serde(borrow)]
    arguments: LooseStr<'a>,
    #[serde(borrow)]
    input: LooseStr<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Part<'a> {
    #[serde(borrow)]
    r#type: LooseStr<'a>,
    #[serde(borrow)]
    text: LooseStr<'a>,
}

impl<'a> Response<'a> {
    fn items(&self) -> Vec<Item<'a>> {
        let raw: Vec<&'a RawValue> = listed(self.output);
        raw.iter().filter_map(|raw| serde_json::from_str(raw.get()).ok()).collect()
    }

    fn finish_reason(&self, has_calls: bool) -> Option<&'static str> {
        #[derive(Deserialize)]
        struct Details<'a> {
            #[serde(borrow, default)]
            reason: LooseStr<'a>,
        }
        match self.status.0.as_deref()? {
            "completed" if has_calls => Some("tool_calls"),
            "completed" => Some("stop"),
            "incomplete" => {
                let details = self.incomplete_details.map(RawValue::get).unwrap_or_default();
                let details: Option<Details<'_>> = serde_json::from_str(details).ok();
                let reason = details.and_then(|details| details.reason.0);
                let is_filtered = reason.as_deref() == Some("content_filter");
                Some(if is_filtered { "content_filter" } else { "length" })
            }
            _ => None,
        }
    }
}

impl Item<'_> {
    fn is_call(&self) -> bool {
        matches!(self.r#type.0.as_deref(), Some("function_call" | "custom_tool_call"))
    }
}

/// The elements of a raw array; none of anything else.
fn listed(raw: Option<&RawValue>) -> Vec<&RawValue> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

fn read(text: &str) -> Option<Answer> {
    let response: Response<'_> = serde_json::from_str(text).ok()?;
    if response.output.is_none() && response.error.is_some() {
        return None;
    }
    let items = response.items();
    let mut said: Option<String> = None;
    let mut thoughts: Vec<String> = Vec::new();
    let mut calls = Vec::new();
    for item in &items {
        match item.r#type.0.as_deref().unwrap_or_default() {
            "message" => {
                for text in texts(item.content, "output_text") {
                    said.get_or_insert_default().push_str(&text);
                }
            }
            // What a model thought in full, where it is told, else its summary.
            "reasoning" => {
                let full = texts(item.content, "reasoning_text");
                let summary = || texts(item.summary, "summary_text");
                thoughts.extend(if full.is_empty() { summary() } else { full });
            }
            "function_call" | "custom_tool_call" => calls.push(call(item)),
            _ => {}
        }
    }
    let reported = response.usage.map(RawValue::get);
    Some(Answer {
        response: Some(text.into()),
        finish_reason: response.finish_reason(!calls.is_empty()).map(str::to_owned),
        id: response.id.0.map(Into::into),
        text: said,
        reasoning: (!thoughts.is_empty()).then(|| thoughts.join("\n\n")),
        tool_calls: edit::tool_calls(&calls),
        service_tier: response.service_tier.0.map(Into::into),
        usage: reported.and_then(usage::read),
        usage_json: reported.and_then(usage::of_response_as_chat),
    })
}

/// The texts of the parts of one type.
fn texts(parts: Option<&RawValue>, kind: &str) -> Vec<String> {
    let parts = listed(parts);
    let parts = parts.iter().filter_map(|raw| serde_json::from_str::<Part<'_>>(raw.get()).ok());
    parts
        .filter(|part| part.r#type.0.as_deref() == Some(kind))
        .filter_map(|part| part.text.0.map(Into::into))
        .collect()
}

fn call(item: &Item<'_>) -> ToolCall {
    let text = |text: &LooseStr<'_>| text.0.as_deref().unwrap_or_default().to_owned();
    let is_custom = item.r#type.0.as_deref() == Some("custom_tool_call");
    ToolCall {
        id: text(&item.call_id),
        name: text(&item.name),
        arguments: text(if is_custom { &item.input } else { &item.arguments }),
        is_custom,
    }
}
