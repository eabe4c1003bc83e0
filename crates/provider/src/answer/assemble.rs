//! The chunks of a stream, put together into the answer that a call without a stream would get.

use serde_json::value::RawValue;

use super::{
    Answer,
    chunk::{Choice as ChunkChoice, Chunk, Delta, Extra, Function, ToolCall as ChunkToolCall},
};
use crate::usage;

/// Choices kept, at most (`OpenAI` allows an `n` of 128).
const CHOICES_MAX: usize = 128;

/// Tool calls kept of a choice, at most.
const TOOL_CALLS_MAX: usize = 1_024;

/// Members kept of one object that we do not know, at most.
const EXTRAS_MAX: usize = 64;

/// An answer while its chunks come.
#[derive(Debug)]
pub(super) struct Assembly {
    /// The `object` of what comes of it.
    object: &'static str,
    is_begun: bool,
    id: Option<String>,
    created: Option<String>,
    model: Option<String>,
    extras: Extras,
    choices: Vec<Choice>,
    usage: Option<String>,
}

#[derive(Debug, Default)]
struct Choice {
    index: u64,
    role: Option<String>,
    content: Option<String>,
    /// A text completion's, which has no message.
    text: Option<String>,
    tool_calls: Vec<ToolCall>,
    function_call: Option<Called>,
    message_extras: Extras,
    finish_reason: Option<String>,
    extras: Extras,
}

#[derive(Debug, Default)]
struct ToolCall {
    index: u64,
    id: Option<String>,
    kind: Option<String>,
    function: Called,
}

#[derive(Debug, Default)]
struct Called {
    name: String,
    arguments: String,
}

/// Members that we do not know, by name, each as raw JSON.
#[derive(Debug, Default)]
struct Extras(Vec<(String, String)>);

impl Assembly {
    /// Nothing yet of an answer of that kind.
    pub(super) fn new(object: &'static str) -> Self {
        Self {
            object,
            is_begun: false,
            id: None,
            created: None,
            model: None,
            extras: Extras::default(),
            choices: Vec::new(),
            usage: None,
        }
    }

    /// Takes one event's data. What is no chunk (`[DONE]`, an error, garbage) adds nothing.
    pub(super) fn add(&mut self, data: &[u8]) {
        let Ok(text) = std::str::from_utf8(data) else { return };
        let Ok(chunk) = serde_json::from_str::<Chunk<'_>>(text) else { return };
        if chunk.choices.is_empty() && chunk.usage.is_none() && chunk.id.0.is_none() {
            return;
        }
        self.is_begun = true;
        set_first(&mut self.id, chunk.id.0.as_deref());
        set_first(&mut self.created, chunk.created.map(RawValue::get));
        set_first(&mut self.model, chunk.model.0.as_deref());
        self.extras.replace(&chunk.extras);
        set_last(&mut self.usage, chunk.usage.map(RawValue::get));
        for choice in chunk.choices {
            set_last(&mut self.usage, choice.usage.map(RawValue::get));
            let index = choice.index.0.unwrap_or_default();
            if let Some(known) = self.choice(index) {
                known.add(choice);
            }
        }
    }

    /// The answer, as far as it came.
    pub(super) fn finish(mut self) -> Answer {
        if !self.is_begun {
            return Answer::default();
        }
        self.choices.sort_by_key(|choice| choice.index);
        let response = String::from_utf8(self.to_json()).ok().map(Into::into);
        let service_tier = self.extras.text("service_tier");
        let first = self.choices.into_iter().next().unwrap_or_default();
        Answer {
            response,
            id: self.id,
            reasoning: first.reasoning(),
            tool_calls: first.tool_calls_json(),
            text: first.content.or(first.text),
            finish_reason: first.finish_reason,
            service_tier,
            usage: self.usage.as_deref().and_then(usage::read),
            usage_json: self.usage,
        }
    }

    fn choice(&mut self, index: u64) -> Option<&mut Choice> {
        let at = self.choices.iter().position(|choice| choice.index == index);
        match at {
            Some(at) => self.choices.get_mut(at),
            None if self.choices.len() < CHOICES_MAX => {
                self.choices.push(Choice { index, ..Choice::default() });
                self.choices.last_mut()
            }
            None => None,
        }
    }

    fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(br#"{"id":"#);
        write_text(&mut out, self.id.as_deref());
        out.extend_from_slice(br#","created":"#);
        out.extend_from_slice(self.created.as_deref().unwrap_or("null").as_bytes());
        out.extend_from_slice(br#","model":"#);
        write_text(&mut out, self.model.as_deref());
        out.extend_from_slice(br#","object":"#);
        write_text(&mut out, Some(self.object));
        self.extras.write(&mut out);
        out.extend_from_slice(br#","choices":["#);
        for (position, choice) in self.choices.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            choice.write(self.object, &mut out);
        }
        out.push(b']');
        if let Some(usage) = &self.usage {
            out.extend_from_slice(br#","usage":"#);
            out.extend_from_slice(usage.as_bytes());
        }
        out.push(b'}');
        out
    }
}

impl Choice {
    fn add(&mut self, choice: ChunkChoice<'_>) {
        let Delta { role, content, tool_calls, function_call, extras } = choice.delta;
        set_first(&mut self.role, role.0.as_deref());
        if let Some(content) = content.0 {
            self.content.get_or_insert_default().push_str(&content);
        }
        if let Some(text) = choice.text.0 {
            self.text.get_or_insert_default().push_str(&text);
        }
        for call in tool_calls {
            self.add_tool_call(&call);
        }
        if let Some(called) = function_call {
            self.function_call.get_or_insert_default().add(&called);
        }
        self.message_extras.append(&extras);
        set_last(&mut self.finish_reason, choice.finish_reason.0.as_deref());
        self.extras.replace(&choice.extras);
    }

    fn add_tool_call(&mut self, piece: &ChunkToolCall<'_>) {
        let id = piece.id.0.as_deref().filter(|id| !id.is_empty());
        let at = match piece.index.0 {
            Some(index) => self.tool_calls.iter().position(|call| call.index == index),
            // Some providers leave the index out: a new id begins a new call.
            None => self
                .tool_calls
                .len()
                .checked_sub(1)
                .filter(|&last| id.is_none() || self.tool_calls[last].id.as_deref() == id),
        };
        let at = match at {
            Some(at) => at,
            None if self.tool_calls.len() < TOOL_CALLS_MAX => {
                let index = piece.index.0.unwrap_or(self.tool_calls.len() as u64);
                self.tool_calls.push(ToolCall { index, ..ToolCall::default() });
                self.tool_calls.len() - 1
            }
            None => return,
        };
        let call = &mut self.tool_calls[at];
        set_first(&mut call.id, id);
        set_first(&mut call.kind, piece.kind.0.as_deref());
        if let Some(function) = &piece.function {
            call.function.add(function);
        }
    }

    fn reasoning(&self) -> Option<String> {
        let extras = &self.message_extras;
        extras.text("reasoning_content").or_else(|| extras.text("reasoning"))
    }

    fn tool_calls_json(&self) -> Option<String> {
        let mut out = Vec::new();
        self.write_tool_calls(&mut out);
        String::from_utf8(out).ok().filter(|list| !list.is_empty())
    }

    fn write(&self, object: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"finish_reason":"#);
        write_text(out, self.finish_reason.as_deref());
        out.extend_from_slice(br#","index":"#);
        out.extend_from_slice(itoa::Buffer::new().format(self.index).as_bytes());
        if object == super::TEXT {
            out.extend_from_slice(br#","text":"#);
            write_text(out, Some(self.text.as_deref().unwrap_or_default()));
        } else {
            self.write_message(out);
        }
        self.extras.write(out);
        out.push(b'}');
    }

    fn write_message(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#","message":{"content":"#);
        write_text(out, self.content.as_deref());
        out.extend_from_slice(br#","role":"#);
        write_text(out, Some(self.role.as_deref().unwrap_or("assistant")));
        if !self.tool_calls.is_empty() {
            out.extend_from_slice(br#","tool_calls":"#);
            self.write_tool_calls(out);
        }
        if let Some(called) = &self.function_call {
            out.extend_from_slice(br#","function_call":"#);
            called.write(out);
        }
        self.message_extras.write(out);
        out.push(b'}');
    }

    /// Writes the list of tool calls; nothing if there are none.
    fn write_tool_calls(&self, out: &mut Vec<u8>) {
        for (position, call) in self.tool_calls.iter().enumerate() {
            out.push(if position == 0 { b'[' } else { b',' });
            out.extend_from_slice(br#"{"id":"#);
            write_text(out, call.id.as_deref());
            out.extend_from_slice(br#","type":"#);
            write_text(out, Some(call.kind.as_deref().unwrap_or("function")));
            out.extend_from_slice(br#","function":"#);
            call.function.write(out);
            out.push(b'}');
        }
        if !self.tool_calls.is_empty() {
            out.push(b']');
        }
    }
}

impl Called {
    fn add(&mut self, piece: &Function<'_>) {
        // A name comes whole; providers that repeat it in every piece must not double it.
        if let Some(name) = piece.name.0.as_deref().filter(|_| self.name.is_empty()) {
            self.name.push_str(name);
        }
        if let Some(arguments) = &piece.arguments.0 {
            self.arguments.push_str(arguments);
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"name":"#);
        write_text(out, Some(&self.name));
        out.extend_from_slice(br#","arguments":"#);
        write_text(out, Some(&self.arguments));
        out.push(b'}');
    }
}

impl Extras {
    /// Keeps the last value of each member that is not null, and null if it never was anything else.
    fn replace(&mut self, found: &[Extra<'_>]) {
        for (key, value) in found {
            let Some(slot) = self.slot(key.0.as_deref().unwrap_or_default()) else { continue };
            if slot.is_empty() || value.get() != "null" && slot != value.get() {
                value.get().clone_into(slot);
            }
        }
    }

    /// Like `replace`, but texts are joined: `reasoning_content`, `refusal` and their kind come in
    /// pieces.
    fn append(&mut self, found: &[Extra<'_>]) {
        for (key, value) in found {
            let Some(slot) = self.slot(key.0.as_deref().unwrap_or_default()) else { continue };
            let value = value.get();
            if slot.len() > 1 && slot.ends_with('"') && value.starts_with('"') {
                // Two JSON strings become one by taking out the quotation marks between them.
                slot.pop();
                slot.push_str(&value[1..]);
            } else if slot.is_empty() || value != "null" {
                value.clone_into(slot);
            }
        }
    }

    fn slot(&mut self, name: &str) -> Option<&mut String> {
        let at = self.0.iter().position(|(known, _)| known == name);
        match at {
            Some(at) => self.0.get_mut(at).map(|(_, value)| value),
            None if self.0.len() < EXTRAS_MAX => {
                self.0.push((name.to_owned(), String::new()));
                self.0.last_mut().map(|(_, value)| value)
            }
            None => None,
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
        serde_json::from_str(value).ok()
    }

    fn write(&self, out: &mut Vec<u8>) {
        for (name, value) in &self.0 {
            out.push(b',');
            write_text(out, Some(name));
            out.push(b':');
            out.extend_from_slice(value.as_bytes());
        }
    }
}

fn set_first(slot: &mut Option<String>, value: Option<&str>) {
    if slot.is_none() {
        *slot = value.map(Into::into);
    }
}

fn set_last(slot: &mut Option<String>, value: Option<&str>) {
    if let Some(value) = value.filter(|value| slot.as_deref() != Some(value)) {
        *slot = Some(value.to_owned());
    }
}

fn write_text(out: &mut Vec<u8>, text: Option<&str>) {
    serde_json::to_writer(out, &text).expect("text is JSON, and a vector takes it");
}
