//! The texts of a call as `OpenRouter` tells them: what was asked and what was answered, each as
//! JSON text, each under three keys.

use domain::call::Endpoint;

use super::{answer::choices, told::Told};
use crate::format::{
    json::{Json, Members, Raw, elements},
    prompt,
};

/// Bytes that the texts of a call may take under all keys. Larger ones stand under one key each, and
/// the request as it was sent is left out: the messages are what it is large by.
const BYTES_MAX: usize = 8 << 20;

/// Keys that hold the same text.
const KEYS: usize = 3;

/// The two texts, as JSON strings; each `None` where it may not be told or was not seen.
pub(super) struct Content {
    prompt: Option<String>,
    completion: Option<String>,
    is_large: bool,
}

impl Content {
    pub(super) fn of(told: &Told<'_>) -> Self {
        let prompt = if told.hides_prompt() { None } else { asked(told) };
        let prompt = prompt.map(|text| quoted(&text));
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let completion = |with_request| {
            let hides = told.hides_answer();
            (!hides).then(|| quoted(&answered(told, with_request)))
        };
        let whole = completion(true);
        let is_large = (length(&prompt) + length(&whole)) * KEYS > BYTES_MAX;
        let completion = if is_large { completion(false) } else { whole };
        Self { prompt, completion, is_large }
    }

    /// What was asked, for `gen_ai.prompt`.
    pub(super) fn prompt(&self) -> Option<&str> {
        self.prompt.as_deref()
    }

    /// What was answered, for `gen_ai.completion`.
    pub(super) fn completion(&self) -> Option<&str> {
        self.completion.as_deref()
    }

    /// Both once more, for `trace.input` and `span.input`, unless they are too large for that.
    pub(super) fn copies(&self) -> [Option<&str>; 2] {
        if self.is_large { [None, None] } else { [self.prompt(), self.completion()] }
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}

/// `{"messages":[…]}`, whatever API was asked.
fn asked(told: &Told<'_>) -> Option<String> {
    let messages = prompt::messages(told.call().endpoint, &told.request, true)?;
    let mut json = Json::with_capacity(messages.len() + 16);
    json.open();
    json.field("messages", Raw(&messages));
    json.close();
    Some(text_of(json))
}

/// The first choice's text, reasoning and tool calls, further choices if there are any, the tools
/// that were offered and the request.
fn answered(told: &Told<'_>, with_request: bool) -> String {
    let report = told.report;
    let mut json = Json::with_capacity(1_024);
    json.open();
    json.field("completion", report.text.as_deref());
    json.field("reasoning", report.reasoning.as_deref());
    if let Some(calls) = &report.tool_calls {
        json.name("toolCalls");
        json.open_list();
        for (index, call) in (0..).zip(elements(calls)) {
            write_call(&mut json, index, call.get());
        }
        json.close_list();
    }
    if choices(report).len() > 1 {
        // `OpenRouter` answers with one.
        json.name("choices");
        write_choices(&mut json, told);
    }
    if !told.hides_prompt() && with_request && !told.request.is_empty() {
        if let Some(tools) = told.request.get("tools") {
            json.field("tools", Raw(tools));
        }
        json.name("rawRequest");
        write_request(&mut json, told);
    }
    json.close();
    text_of(json)
}

/// A tool call with its index behind its id.
fn write_call(json: &mut Json, index: u64, call: &str) {
    let call = Members::of(call);
    json.comma();
    json.open();
    json.field("id", call.get("id").map(Raw));
    json.field("index", index);
    for (name, value) in call.iter().filter(|(name, _)| !matches!(*name, "id" | "index")) {
        json.field_named(name, Raw(value));
    }
    json.close();
}

fn write_choices(json: &mut Json, told: &Told<'_>) {
    json.open_list();
    for choice in choices(told.report) {
        json.comma();
        json.open();
        for (name, value) in choice.iter().filter(|(name, _)| *name != "logprobs") {
            json.field_named(name, Raw(value));
        }
        json.close();
    }
    json.close_list();
}

/// The caller's body without images, sounds and files, and the API that it was for.
fn write_request(json: &mut Json, told: &Told<'_>) {
    json.open();
    for (name, value) in told.request.iter().filter(|(name, _)| *name != "_skin") {
        if matches!(name, "messages" | "input") {
            json.field_named(name, Raw(&prompt::without_media(value)));
        } else {
            json.field_named(name, Raw(value));
        }
    }
    let skin = match told.call().endpoint {
        Endpoint::ChatCompletions => "chat-completions",
        Endpoint::TextCompletions => "completions",
        Endpoint::Embeddings => "embeddings",
        Endpoint::Responses => "responses",
        Endpoint::Messages => "anthropic-messages",
    };
    json.field("_skin", skin);
    json.close();
}

fn text_of(json: Json) -> String {
    String::from_utf8(json.into_bytes()).expect("JSON of texts is UTF-8")
}
