//! Anthropic's Message, whole or put together from its stream, for callers who speak that protocol.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Answer, edit,
    edit::ToolCall,
    loose::{LooseCount, LooseStr},
};
use crate::{anthropic, json, request::quoted, sse, usage};

/// Blocks kept of a Message, at most.
const BLOCKS_MAX: usize = 1_024;

/// Citations kept of a block, at most.
const CITATIONS_MAX: usize = 1_024;

/// Reads a whole Message.
pub(super) fn of_whole(bytes: &[u8]) -> Answer {
    let Ok(text) = std::str::from_utf8(bytes) else { return Answer::default() };
    read(text.trim()).unwrap_or_default()
}

/// Reads a stream, as far as it came. Of a stream that ended before it told its usage only the
/// input is known: the output's count at the beginning is a mere start.
pub(super) fn of_stream(bytes: &[u8]) -> Answer {
    let mut assembly = Assembly::default();
    for event in sse::events(bytes) {
        assembly.add(&event.data);
    }
    assembly.finish()
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    id: LooseStr<'a>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stop_reason: LooseStr<'a>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// A block, or the delta of one.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Block<'a> {
    #[serde(borrow)]
    r#type: LooseStr<'a>,
    #[serde(borrow)]
    text: LooseStr<'a>,
    #[serde(borrow)]
    thinking: LooseStr<'a>,
    #[serde(borrow)]
    signature: LooseStr<'a>,
    #[serde(borrow)]
    partial_json: LooseStr<'a>,
    #[serde(borrow)]
    id: LooseStr<'a>,
    #[serde(borrow)]
    name: LooseStr<'a>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    citation: Option<&'a RawValue>,
}

fn read(text: &str) -> Option<Answer> {
    let message: Message<'_> = serde_json::from_str(text).ok()?;
    if message.content.is_none() && message.error.is_some() {
        return None;
    }
    let content = message.content.map(RawValue::get).unwrap_or_default();
    let blocks: Vec<&RawValue> = serde_json::from_str(content).unwrap_or_default();
    let mut answer = Answer {
        response: Some(text.into()),
        id: message.id.0.map(Into::into),
        finish_reason: message.stop_reason.0.map(|r| anthropic::finish_reason(&r).to_owned()),
        ..Answer::default()
    };
    let mut calls = Vec::new();
    for raw in blocks {
        let Ok(block) = serde_json::from_str::<Block<'_>>(raw.get()) else { continue };
        match block.r#type.0.as_deref() {
            Some("text") => append(&mut answer.text, block.text),
            Some("thinking") => append(&mut answer.reasoning, block.thinking),
            Some("tool_use") => calls.push(ToolCall {
                id: block.id.0.unwrap_or_default().into(),
                name: block.name.0.unwrap_or_default().into(),
                arguments: block.input.map_or("{}", RawValue::get).to_owned(),
                is_custom: false,
            }),
            _ => {}
        }
    }
    answer.tool_calls = edit::tool_calls(&calls);
    if let Some(reported) = message.usage.map(RawValue::get) {
        answer.usage = usage::read(reported);
        answer.usage_json = anthropic::usage_as_openai(reported);
        answer.service_tier = anthropic::service_tier(reported).map(str::to_owned);
    }
    Some(answer)
}

fn append(text: &mut Option<String>, more: LooseStr<'_>) {
    if let Some(more) = more.0 {
        text.get_or_insert_default().push_str(&more);
    }
}

/// A Message while its events come.
#[derive(Debug, Default)]
struct Assembly {
    /// As `message_start` has it, with the changes of `message_delta`.
    message: Option<String>,
    usage: Option<String>,
    is_usage_final: bool,
    blocks: Vec<Begun>,
}

/// A block while its deltas come.
#[derive(Debug, Default)]
struct Begun {
    index: u64,
    /// As `content_block_start` has it.
    raw: String,
    kind: String,
    text: String,
    signature: Option<String>,
    input: String,
    citations: Vec<String>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default)]
    r#type: LooseStr<'a>,
    #[serde(default)]
    index: LooseCount,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

impl Assembly {
    /// Takes one event's data. What is no event of this protocol adds nothing.
    fn add(&mut self, data: &[u8]) {
        let Ok(event) = serde_json::from_slice::<Event<'_>>(data) else { return };
        let index = event.index.0.unwrap_or_default();
        match event.r#type.0.as_deref().unwrap_or_default() {
            "message_start" => {
                let Some(message) = event.message.filter(|m| json::is_object(m.get().as_bytes()))
                else {
                    return;
                };
                self.message = Some(message.get().to_owned());
                let said: Option<Message<'_>> = serde_json::from_str(message.get()).ok();
                self.usage = said.and_then(|said| said.usage).map(|usage| usage.get().to_owned());
            }
            "content_block_start" if self.blocks.len() < BLOCKS_MAX => {
                if let Some(raw) = event.content_block {
                    self.blocks.push(Begun::new(index, raw.get()));
                }
            }
            "content_block_delta" => {
                let block = self.blocks.iter_mut().rfind(|block| block.index == index);
                let delta = event.delta.and_then(|raw| serde_json::from_str(raw.get()).ok());
                if let (Some(block), Some(delta)) = (block, delta) {
                    block.add(&delta);
                }
            }
            "message_delta" => {
                if let (Some(message), Some(delta)) = (&mut self.message, event.delta) {
                    *message = edit::merged(message, delta.get());
                }
                if let Some(usage) = event.usage.map(RawValue::get) {
                    let begun = self.usage.as_deref().unwrap_or("{}");
                    self.usage = Some(edit::merged(begun, usage));
                    self.is_usage_final = true;
                }
            }
            _ => {}
        }
    }

    /// The answer, as far as it came.
    fn finish(self) -> Answer {
        let Some(message) = self.message else { return Answer::default() };
        let blocks: Vec<String> = self.blocks.iter().map(Begun::to_json).collect();
        let content = edit::array(blocks.iter().map(String::as_str));
        let mut members = vec![("content", content.as_str())];
        if let Some(usage) = &self.usage {
            members.push(("usage", usage));
        }
        let mut answer = read(&edit::with(&message, &members)).unwrap_or_default();
        let calls: Vec<_> = self.blocks.iter().filter_map(Begun::tool_call).collect();
        answer.tool_calls = edit::tool_calls(&calls);
        if !self.is_usage_final {
            if let Some(usage) = &mut answer.usage {
                (usage.output_tokens, usage.total_tokens) = (None, None);
            }
            answer.usage_json = None;
        }
        answer
    }
}

impl Begun {
    fn new(index: u64, raw: &str) -> Self {
        let block: Block<'_> = serde_json::from_str(raw).unwrap_or_default();
        let kind = block.r#type.0.unwrap_or_default().into_owned();
        let text = if kind == "thinking" { block.thinking } else { block.text };
        let text = text.0.unwrap_or_default().into_owned();
        Self { index, raw: raw.to_owned(), kind, text, ..Self::default() }
    }

    fn add(&mut self, delta: &Block<'_>) {
        let piece = |text: &LooseStr<'_>| text.0.as_deref().unwrap_or_default().to_owned();
        match delta.r#type.0.as_deref().unwrap_or_default() {
            "text_delta" => self.text.push_str(&piece(&delta.text)),
            "thinking_delta" => self.text.push_str(&piece(&delta.thinking)),
            "input_json_delta" => self.input.push_str(&piece(&delta.partial_json)),
            "signature_delta" => {
                self.signature.get_or_insert_default().push_str(&piece(&delta.signature));
            }
            "citations_delta" if self.citations.len() < CITATIONS_MAX => {
                self.citations.extend(delta.citation.map(|raw| raw.get().to_owned()));
            }
            _ => {}
        }
    }

    fn to_json(&self) -> String {
        let text = quoted(&self.text);
        let signature = self.signature.as_deref().map(quoted);
        let citations = edit::array(self.citations.iter().map(String::as_str));
        let mut members: Vec<(&str, &str)> = Vec::new();
        match &*self.kind {
            "text" => members.push(("text", &text)),
            "thinking" => members.push(("thinking", &text)),
            // An input that was cut is no object; the tool call keeps it as text.
            _ if json::is_object(self.input.as_bytes()) => members.push(("input", &self.input)),
            _ => {}
        }
        members.extend(signature.as_deref().map(|signature| ("signature", signature)));
        if !self.citations.is_empty() {
            members.push(("citations", &citations));
        }
        edit::with(&self.raw, &members)
    }

    fn tool_call(&self) -> Option<ToolCall> {
        if self.kind != "tool_use" {
            return None;
        }
        let block: Block<'_> = serde_json::from_str(&self.raw).unwrap_or_default();
        let given = block.input.map_or("{}", RawValue::get);
        let arguments = if self.input.is_empty() { given } else { &self.input };
        Some(ToolCall {
            id: block.id.0.unwrap_or_default().into(),
            name: block.name.0.unwrap_or_default().into(),
            arguments: arguments.to_owned(),
            is_custom: false,
        })
    }
}
