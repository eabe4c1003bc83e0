//! What was asked as the messages of a chat, whatever the API, without images, sounds and files.
//!
//! A chat's messages stay as the caller wrote them. Of the other APIs, what a chat has a form for
//! takes that form (texts, tool calls and their results, reasoning as `OpenRouter`'s
//! `reasoning_details`); the rest stays as it is, as a part of a message's content.
//!
//! Invariant: what this returns is JSON if what it was given is.

mod messages;
mod responses;

use std::borrow::Cow;

use domain::call::Endpoint;

use super::json::{Json, Members, Raw, Value, elements, text_of};

/// How deep contents are looked into for media: a tool's result is one inside of a message's.
const DEPTH_MAX: usize = 4;

/// The request's messages as a JSON list, after its system prompt if that is a member of its own and
/// `with_system` asks for it; `None` if the request has nothing of the kind.
pub(super) fn messages(
    endpoint: Endpoint,
    request: &Members<'_>,
    with_system: bool,
) -> Option<String> {
    let said = request.get(match endpoint {
        Endpoint::ChatCompletions | Endpoint::Messages => "messages",
        Endpoint::TextCompletions => "prompt",
        Endpoint::Embeddings | Endpoint::Responses => "input",
    })?;
    let mut json = Json::with_capacity(said.len() + 64);
    json.open_list();
    if let Some(system) = system(endpoint, request).filter(|_| with_system) {
        message(&mut json, "system", Raw(&without_media(system)));
    }
    match endpoint {
        Endpoint::ChatCompletions => {
            for message in elements(said) {
                json.element(Raw(&without_media(message.get())));
            }
        }
        Endpoint::TextCompletions | Endpoint::Embeddings => texts(&mut json, said),
        Endpoint::Responses => responses::write(&mut json, said),
        Endpoint::Messages => messages::write(&mut json, said),
    }
    json.close_list();
    Some(String::from_utf8(json.into_bytes()).expect("JSON of texts is UTF-8"))
}

/// The system prompt that is a member of the request's own, as it was written.
pub(super) fn system<'a>(endpoint: Endpoint, request: &Members<'a>) -> Option<&'a str> {
    let name = match endpoint {
        Endpoint::Messages => "system",
        Endpoint::Responses => "instructions",
        Endpoint::ChatCompletions | Endpoint::TextCompletions | Endpoint::Embeddings => {
            return None;
        }
    };
    request.get(name).filter(|system| system.starts_with(['"', '[']))
}

/// A message, or a list of messages or of parts, without the parts that are images, sounds or files.
pub(super) fn without_media(json: &str) -> Cow<'_, str> {
    if !may_have_media(json) {
        return json.into();
    }
    let mut out = Vec::with_capacity(json.len().min(64 << 10));
    write_without_media(&mut out, json, DEPTH_MAX);
    String::from_utf8(out).expect("parts of a text are text").into()
}

/// Whether a part's type stands in it somewhere, maybe in a text.
fn may_have_media(json: &str) -> bool {
    ["image", "audio", "video", "file", "document", "upload", "screenshot"]
        .iter()
        .any(|word| memchr::memmem::find(json.as_bytes(), word.as_bytes()).is_some())
        // A type may be written in escapes.
        || json.contains("\\u")
}

fn write_without_media(out: &mut Vec<u8>, json: &str, depth: usize) {
    match json.as_bytes().first() {
        Some(b'[') if depth > 0 => {
            out.push(b'[');
            let kept = elements(json).into_iter().map(serde_json::value::RawValue::get);
            for (position, element) in kept.filter(|part| !is_media(part)).enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write_without_media(out, element, depth - 1);
            }
            out.push(b']');
        }
        Some(b'{') if depth > 0 => {
            out.push(b'{');
            for (position, (name, value)) in Members::of(json).iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                name.write(out);
                out.push(b':');
                if matches!(name, "content" | "output") {
                    write_without_media(out, value, depth);
                } else {
                    Raw(value).write(out);
                }
            }
            out.push(b'}');
        }
        _ => Raw(json).write(out),
    }
}

/// Whether a part of a content, or an item of a response's input, is an image, a sound or a file.
fn is_media(part: &str) -> bool {
    if !part.starts_with('{') {
        return false;
    }
    Members::of(part).get("type").and_then(text_of).is_some_and(|kind| {
        matches!(
            kind.as_ref(),
            "image"
                | "image_url"
                | "input_image"
                | "output_image"
                | "image_generation_call"
                | "audio"
                | "audio_url"
                | "input_audio"
                | "output_audio"
                | "video"
                | "video_url"
                | "input_video"
                | "file"
                | "input_file"
                | "document"
                | "container_upload"
                | "computer_screenshot"
                | "computer_call_output"
        )
    })
}

fn message(json: &mut Json, role: &'static str, content: impl Value) {
    json.comma();
    json.open();
    json.field("role", role);
    json.field("content", content);
    json.close();
}

/// A user's message for each text; tokens stay as they are.
fn texts(json: &mut Json, said: &str) {
    let elements = elements(said);
    if elements.first().is_none_or(|first| !first.get().starts_with('"')) {
        return message(json, "user", Raw(said));
    }
    for text in elements {
        message(json, "user", Raw(text.get()));
    }
}

/// A message while its parts are gathered. Raw JSON all of it.
#[derive(Default)]
struct Gathered {
    content: Vec<String>,
    /// A content that is one text, if nothing else came.
    text: Option<String>,
    calls: Vec<String>,
    reasoning: Vec<String>,
}

impl Gathered {
    fn is_empty(&self) -> bool {
        self.content.is_empty()
            && self.text.is_none()
            && self.calls.is_empty()
            && self.reasoning.is_empty()
    }

    /// Adds a content: a text, or the parts of a list.
    fn add_content(&mut self, content: &str) {
        let has_other = self.text.is_some() || !self.content.is_empty();
        if let Some(text) = self.text.take() {
            self.content.push(text_part(&text));
        }
        match content.as_bytes().first() {
            Some(b'"') if has_other => self.content.push(text_part(content)),
            Some(b'"') => self.text = Some(content.to_owned()),
            Some(b'[') => {
                let parts = elements(content).into_iter();
                self.content
                    .extend(parts.filter(|part| !is_media(part.get())).map(|p| part(p.get())));
            }
            _ => {}
        }
    }

    /// Writes what was gathered as a message, if that is anything, and begins anew.
    fn flush(&mut self, json: &mut Json, role: &str) {
        let Self { content, text, calls, reasoning } = std::mem::take(self);
        json.comma();
        json.open();
        json.field("role", role);
        match text {
            Some(text) => json.field("content", Raw(&text)),
            None => list(json, "content", &content),
        }
        if !calls.is_empty() {
            list(json, "tool_calls", &calls);
        }
        if !reasoning.is_empty() {
            list(json, "reasoning_details", &reasoning);
        }
        json.close();
    }
}

fn list(json: &mut Json, name: &'static str, elements: &[String]) {
    json.name(name);
    json.open_list();
    for element in elements {
        json.element(Raw(element));
    }
    json.close_list();
}

/// An object of JSON, written by `write`.
fn object(write: impl FnOnce(&mut Json)) -> String {
    let mut json = Json::with_capacity(128);
    json.open();
    write(&mut json);
    json.close();
    String::from_utf8(json.into_bytes()).expect("JSON of texts is UTF-8")
}

/// A part that is a text, given as a JSON string.
fn text_part(text: &str) -> String {
    object(|json| {
        json.field("type", "text");
        json.field("text", Raw(text));
    })
}

/// A part of a content in a chat's form: the texts of `/v1/responses` have names of their own.
fn part(raw: &str) -> String {
    let members = Members::of(raw);
    let kind = members.get("type").and_then(text_of);
    match (kind.as_deref(), members.get("text")) {
        (Some("input_text" | "output_text"), Some(text)) => text_part(text),
        _ => without_media(raw).into_owned(),
    }
}

/// A tool call in `OpenAI`'s form; `arguments` is JSON in a JSON string.
fn call(id: Option<&str>, name: Option<&str>, arguments: &str) -> String {
    object(|json| {
        json.field("id", id.map(Raw));
        json.field("type", "function");
        json.name("function");
        json.open();
        json.field("name", name.map(Raw));
        json.field("arguments", Raw(arguments));
        json.close();
    })
}

/// A tool's result as a message.
fn tool_result(json: &mut Json, id: Option<&str>, content: Option<&str>) {
    json.comma();
    json.open();
    json.field("role", "tool");
    match content {
        Some(list) if list.starts_with('[') => {
            let mut gathered = Gathered::default();
            gathered.add_content(list);
            self::list(json, "content", &gathered.content);
        }
        content => json.field("content", content.map(Raw)),
    }
    json.field("tool_call_id", id.map(Raw));
    json.close();
}

#[cfg(test)]
mod tests;
