//! The two bodies of a payload, as objects or as text.

use domain::{destination::HeliconeBodies, event::Report, exchange::Payload, failure::Failure};

use super::stream;
use crate::{
    format::json::Json,
    javascript::{self, StringifyError},
};

/// What stands for a body that is too large, word by word as Helicone's documentation has it.
const TOO_LARGE: &str =
    "Body too large for webhook, please fetch the full request and response from Helicone";

/// UTF-16 units that a body has at most where bodies are text.
const TEXT_UNITS_MAX: usize = 10 << 10;

/// Bytes that a body has at most where bodies are objects.
const OBJECT_BYTES_MAX: usize = 1 << 20;

/// A JSON text in JavaScript's own form.
pub(super) fn normalised(json: &[u8]) -> Result<String, StringifyError> {
    let written = javascript::stringify(json)?;
    Ok(String::from_utf8(written).expect("what JavaScript writes is UTF-8"))
}

/// What is told of a body that the caller keeps to itself.
pub(super) fn omitted(model: &str, bodies: HeliconeBodies) -> String {
    fitted(object(|json| json.field("model", model)), bodies).unwrap_or_else(too_large)
}

/// The request's body.
pub(super) fn request(request: &Payload, bodies: HeliconeBodies) -> String {
    if request.truncated {
        return too_large();
    }
    let text = String::from_utf8_lossy(&request.bytes);
    let body = match normalised(text.as_bytes()) {
        Ok(body) => body,
        Err(_) if text.is_empty() => "{}".to_owned(),
        Err(error) => {
            let told = format!("Error parsing request body, SyntaxError: {error}, {text}");
            object(|json| json.field("error", told.as_str()))
        }
    };
    fitted(body, bodies).unwrap_or_else(too_large)
}

/// The answer's body: the provider's, or the error that the gateway made. `as_stream` writes a
/// streamed one as Helicone does, with its events as long as there is room for them.
pub(super) fn response(report: &Report, bodies: HeliconeBodies, as_stream: bool) -> String {
    let exchange = &report.exchange;
    if exchange.response.truncated {
        return too_large();
    }
    let is_stream = exchange.facts.response_is_stream && !exchange.response.bytes.is_empty();
    if !is_stream || (!as_stream && report.response.is_some()) {
        return fitted(whole(report), bodies).unwrap_or_else(too_large);
    }
    let merged = |with_data| fitted(stream::merged(report, with_data)?, bodies);
    merged(true).or_else(|| merged(false)).unwrap_or_else(too_large)
}

/// An answer that was no stream.
fn whole(report: &Report) -> String {
    let exchange = &report.exchange;
    let body = report.response.as_deref().and_then(|body| normalised(body.as_bytes()).ok());
    if let Some(body) = body {
        return body;
    }
    let text = String::from_utf8_lossy(&exchange.response.bytes);
    if text.is_empty() {
        return exchange.facts.outcome.failure().map_or_else(|| "{}".to_owned(), failure_object);
    }
    match normalised(text.as_bytes()) {
        Ok(body) => body,
        Err(_) if text.trim_start().starts_with('<') => object(|json| {
            json.field("error", "HTML response detected:");
            json.field("html_response", text.as_ref());
        }),
        Err(error) => object(|json| {
            json.field("helicone_error", "error parsing response");
            json.field("parse_response_error", format!("SyntaxError: {error}").as_str());
            json.field("body", text.as_ref());
        }),
    }
}

/// A failure as callers are told of it.
pub(super) fn failure_object(failure: &Failure) -> String {
    object(|json| {
        json.name("error");
        json.open();
        json.field("message", failure.message.as_str());
        let kind = failure.kind.as_str();
        json.field("type", failure.provider_type.as_deref().unwrap_or(kind));
        json.field("param", failure.param.as_deref());
        json.field("code", failure.code.as_deref().unwrap_or(kind));
        json.close();
    })
}

/// The body as the destination takes bodies, if it is not too large.
fn fitted(body: String, bodies: HeliconeBodies) -> Option<String> {
    match bodies {
        HeliconeBodies::Object => (body.len() <= OBJECT_BYTES_MAX).then_some(body),
        HeliconeBodies::String => {
            let units = body.encode_utf16().take(TEXT_UNITS_MAX + 1).count();
            (units <= TEXT_UNITS_MAX).then(|| quoted(&body))
        }
    }
}

fn too_large() -> String {
    quoted(TOO_LARGE)
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text is JSON")
}

/// An object whose members need no order of JavaScript's.
pub(super) fn object(write: impl FnOnce(&mut Json)) -> String {
    let mut json = Json::with_capacity(256);
    json.open();
    write(&mut json);
    json.close();
    String::from_utf8(json.into_bytes()).expect("what was written is UTF-8")
}
