//! A response while its events come.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    answer::{
        edit,
        loose::{LooseCount, LooseStr},
    },
    json,
    request::quoted,
};

/// Items kept of a response, and parts of an item, at most.
const ITEMS_MAX: usize = 1_024;

/// What came of a response.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// As the last event that told all of it has it.
    response: Option<String>,
    is_over: bool,
    items: Vec<Item>,
}

/// An item of the output.
#[derive(Debug, Default)]
struct Item {
    index: u64,
    /// As it was when it began, or when it ended; empty if neither came.
    raw: String,
    is_done: bool,
    content: Vec<Part>,
    summary: Vec<Part>,
    /// What a tool is called with: the member's name, and the text so far.
    arguments: Option<(&'static str, String)>,
}

/// A part of an item: a text, a refusal, a thought.
#[derive(Debug)]
struct Part {
    index: u64,
    raw: String,
    /// The member that holds the text.
    key: &'static str,
    /// What the deltas brought; `None` once the part came whole.
    text: Option<String>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default)]
    r#type: LooseStr<'a>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
    #[serde(default)]
    output_index: LooseCount,
    #[serde(default)]
    content_index: LooseCount,
    #[serde(default)]
    summary_index: LooseCount,
    #[serde(borrow, default)]
    item: Option<&'a RawValue>,
    #[serde(borrow, default)]
    part: Option<&'a RawValue>,
    #[serde(borrow, default)]
    delta: LooseStr<'a>,
}

impl Assembly {
    /// Takes one event's data. What is no event of this protocol adds nothing.
    pub(super) fn add(&mut self, data: &[u8]) {
        let Ok(event) = serde_json::from_slice::<Event<'_>>(data) else { return };
        let kind = event.r#type.0.as_deref().unwrap_or_default();
        let Some(kind) = kind.strip_prefix("response.") else { return };
        if let Some(response) = event.response.filter(|raw| json::is_object(raw.get().as_bytes())) {
            self.response = Some(response.get().to_owned());
            self.is_over = matches!(kind, "completed" | "incomplete" | "failed");
            return;
        }
        let Some(item) = self.item(event.output_index.0.unwrap_or_default()) else { return };
        let content = event.content_index.0.unwrap_or_default();
        let summary = event.summary_index.0.unwrap_or_default();
        let delta = event.delta.0.as_deref();
        match kind {
            "output_item.added" | "output_item.done" => item.told(&event, kind.ends_with("done")),
            "content_part.added" => begin(&mut item.content, content, event.part),
            "reasoning_summary_part.added" => begin(&mut item.summary, summary, event.part),
            "content_part.done" => tell(&mut item.content, content, event.part),
            "reasoning_summary_part.done" => tell(&mut item.summary, summary, event.part),
            "output_text.delta" => append(&mut item.content, content, "output_text", delta),
            "refusal.delta" => append(&mut item.content, content, "refusal", delta),
            "reasoning_text.delta" => append(&mut item.content, content, "reasoning_text", delta),
            "reasoning_summary_text.delta" => {
                append(&mut item.summary, summary, "summary_text", delta);
            }
            "function_call_arguments.delta" | "mcp_call_arguments.delta" => {
                item.add_arguments("arguments", delta);
            }
            "custom_tool_call_input.delta" => item.add_arguments("input", delta),
            _ => {}
        }
    }

    /// The response as one object, as far as it came; `None` if none did.
    pub(super) fn finish(mut self) -> Option<String> {
        self.items.retain(|item| !item.is_empty());
        self.items.sort_by_key(|item| item.index);
        let response = match self.response {
            Some(response) => response,
            None if self.items.is_empty() => return None,
            None => r#"{"object":"response","output":[]}"#.to_owned(),
        };
        // Some servers tell of no items at the end: they all came before.
        if self.items.is_empty() || (self.is_over && !has_no_output(&response)) {
            return Some(response);
        }
        let items: Vec<String> = self.items.iter().map(Item::to_json).collect();
        let output = edit::array(items.iter().map(String::as_str));
        Some(edit::with(&response, &[("output", &output)]))
    }

    fn item(&mut self, index: u64) -> Option<&mut Item> {
        let at = self.items.iter().position(|item| item.index == index);
        match at {
            Some(at) => self.items.get_mut(at),
            None if self.items.len() < ITEMS_MAX => {
                self.items.push(Item { index, ..Item::default() });
                self.items.last_mut()
            }
            None => None,
        }
    }
}

fn has_no_output(response: &str) -> bool {
    #[derive(Deserialize)]
    struct Response<'a> {
        #[serde(borrow, default)]
        output: Vec<&'a RawValue>,
    }
    serde_json::from_str::<Response<'_>>(response).is_ok_and(|response| response.output.is_empty())
}

impl Item {
    fn told(&mut self, event: &Event<'_>, is_done: bool) {
        if let Some(raw) = event.item.filter(|raw| json::is_object(raw.get().as_bytes())) {
            raw.get().clone_into(&mut self.raw);
            self.is_done = is_done;
        }
    }

    fn add_arguments(&mut self, key: &'static str, delta: Option<&str>) {
        let (_, text) = self.arguments.get_or_insert((key, String::new()));
        text.push_str(delta.unwrap_or_default());
    }

    fn is_empty(&self) -> bool {
        self.raw.is_empty()
            && self.content.is_empty()
            && self.summary.is_empty()
            && self.arguments.is_none()
    }

    fn to_json(&self) -> String {
        if self.is_done {
            return self.raw.clone();
        }
        let list = |parts: &[Part]| {
            let parts: Vec<String> = parts.iter().map(Part::to_json).collect();
            edit::array(parts.iter().map(String::as_str))
        };
        let (content, summary) = (list(&self.content), list(&self.summary));
        let arguments = self.arguments.as_ref().map(|(key, text)| (*key, quoted(text)));
        let mut members: Vec<(&str, &str)> = Vec::new();
        if !self.content.is_empty() {
            members.push(("content", &content));
        }
        if !self.summary.is_empty() {
            members.push(("summary", &summary));
        }
        members.extend(arguments.as_ref().map(|(key, text)| (*key, &**text)));
        let raw = match (&*self.raw, &self.arguments) {
            ("", None) if self.content.is_empty() => r#"{"type":"reasoning","summary":[]}"#,
            ("", None) => r#"{"type":"message","role":"assistant","content":[]}"#,
            ("", Some(("input", _))) => r#"{"type":"custom_tool_call","input":""}"#,
            ("", Some(_)) => r#"{"type":"function_call","arguments":""}"#,
            (raw, _) => raw,
        };
        edit::with(raw, &members)
    }
}

impl Part {
    fn to_json(&self) -> String {
        match &self.text {
            Some(text) => edit::with(&self.raw, &[(self.key, &quoted(text))]),
            None => self.raw.clone(),
        }
    }
}

/// Takes a part as it is when it begins.
fn begin(parts: &mut Vec<Part>, index: u64, raw: Option<&RawValue>) {
    #[derive(Deserialize)]
    struct Begun<'a> {
        #[serde(borrow, default)]
        text: LooseStr<'a>,
        #[serde(borrow, default)]
        refusal: LooseStr<'a>,
    }
    let Some(raw) = raw.filter(|raw| json::is_object(raw.get().as_bytes())) else { return };
    let Ok(begun) = serde_json::from_str::<Begun<'_>>(raw.get()) else { return };
    let key = if begun.refusal.0.is_some() { "refusal" } else { "text" };
    if let Some(part) = part(parts, index, key) {
        raw.get().clone_into(&mut part.raw);
        part.text = Some(begun.text.0.or(begun.refusal.0).unwrap_or_default().into_owned());
    }
}

/// Takes a part as it is at its end.
fn tell(parts: &mut Vec<Part>, index: u64, raw: Option<&RawValue>) {
    let Some(raw) = raw.filter(|raw| json::is_object(raw.get().as_bytes())) else { return };
    if let Some(part) = part(parts, index, "text") {
        raw.get().clone_into(&mut part.raw);
        part.text = None;
    }
}

fn append(parts: &mut Vec<Part>, index: u64, kind: &str, delta: Option<&str>) {
    let key = if kind == "refusal" { "refusal" } else { "text" };
    let Some(part) = part(parts, index, key) else { return };
    if part.raw.is_empty() {
        part.raw = format!(r#"{{"type":"{kind}","{key}":""}}"#);
    }
    if let (Some(text), Some(delta)) = (&mut part.text, delta) {
        text.push_str(delta);
    }
}

fn part<'a>(parts: &'a mut Vec<Part>, index: u64, key: &'static str) -> Option<&'a mut Part> {
    let at = parts.iter().position(|part| part.index == index);
    match at {
        Some(at) => parts.get_mut(at),
        None if parts.len() < ITEMS_MAX => {
            parts.push(Part { index, raw: String::new(), key, text: Some(String::new()) });
            parts.last_mut()
        }
        None => None,
    }
}
