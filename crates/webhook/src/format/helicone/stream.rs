//! A streamed answer as one object, and the events that it came in, as Helicone keeps both.
//!
//! Helicone splits a stream into lines and knows nothing of events; so does this.

use domain::{call::Endpoint, deployment::Dialect, event::Report};

use super::body::normalised;
use crate::format::json::{Json, Members, Raw, elements};

/// What begins a line of data.
const DATA: &str = "data:";

/// The answer put together, in JavaScript's own form. With `streamed_data`: the parsed lines of a
/// stream in `OpenAI`'s dialect, and the text of one in Anthropic's. `None` if nobody can read it.
pub(super) fn merged(report: &Report, with_data: bool) -> Option<String> {
    let exchange = &report.exchange;
    let text = String::from_utf8_lossy(&exchange.response.bytes);
    let answer = Members::of(report.response.as_deref().unwrap_or("{}"));
    let is_anthropic = exchange
        .facts
        .attempts
        .last()
        .is_some_and(|attempt| attempt.deployment.dialect == Dialect::Anthropic)
        || exchange.facts.call.endpoint == Endpoint::Messages;
    let chunks = if is_anthropic { Vec::new() } else { chunks(&text) };
    let first = first_with_choices(&chunks);
    let mut json = Json::with_capacity(2 * text.len());
    json.open();
    match first {
        Some(first) => by_first_chunk(&mut json, &first, &answer),
        None => {
            for (name, value) in answer.iter() {
                match name {
                    "choices" => choices(&mut json, value),
                    _ => json.field_named(name, Raw(value)),
                }
            }
        }
    }
    if with_data {
        json.name("streamed_data");
        if is_anthropic {
            json.value(text.as_ref());
        } else {
            json.open_list();
            for chunk in &chunks {
                json.element(Raw(chunk));
            }
            json.close_list();
        }
    }
    json.close();
    normalised(&json.into_bytes()).ok()
}

/// The lines of data, each as JSON. One that is none, like the `[DONE]` at the end, becomes the
/// error that Helicone has for it.
fn chunks(text: &str) -> Vec<String> {
    let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    lines
        .filter_map(|line| {
            let data = line.strip_prefix(DATA)?;
            Some(normalised(data.as_bytes()).unwrap_or_else(|_| unreadable(line)))
        })
        .collect()
}

fn unreadable(line: &str) -> String {
    super::body::object(|json| {
        json.field("data", crate::format::json::Null);
        json.name("error");
        json.open();
        json.field("msg", "Error parsing line");
        json.field("line", line);
        json.close();
    })
}

fn first_with_choices(chunks: &[String]) -> Option<Members<'_>> {
    let objects = chunks.iter().map(|chunk| Members::of(chunk));
    objects.into_iter().find(|chunk| chunk.get("choices").is_some())
}

/// The first chunk's members, with what came in all of them in place of its choices and usage.
fn by_first_chunk(json: &mut Json, first: &Members<'_>, answer: &Members<'_>) {
    let is_empty = |value: &str| matches!(value, "\"\"" | "null");
    for (name, value) in first.iter() {
        match (name, answer.get(name)) {
            ("choices", Some(known)) => choices(json, known),
            ("usage", Some(known)) => json.field_named(name, Raw(known)),
            // Azure's first chunk names neither.
            ("id" | "model", Some(known)) if is_empty(value) => json.field_named(name, Raw(known)),
            _ => json.field_named(name, Raw(value)),
        }
    }
    if let Some(usage) = answer.get("usage").filter(|_| first.get("usage").is_none()) {
        json.field("usage", Raw(usage));
    }
}

/// Choices with their message under both names that Helicone has for it. Those of a text completion
/// have none.
fn choices(json: &mut Json, choices: &str) {
    json.name("choices");
    json.open_list();
    for choice in elements(choices) {
        json.comma();
        json.open();
        for (name, value) in Members::of(choice.get()).iter() {
            if name == "message" {
                json.field("delta", Raw(value));
            }
            json.field_named(name, Raw(value));
        }
        json.close();
    }
    json.close_list();
}
