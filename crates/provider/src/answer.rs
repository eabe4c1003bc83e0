//! One answer of the API that was called out of what a provider sent: whole or in pieces, complete
//! or not, in that API's protocol or another.
//!
//! Reads bytes that anyone may have written, so it never fails and never panics: it keeps what it
//! understood. Whether the call succeeded is not decided here, and what it cost neither.
//!
//! Invariant: a whole answer in the caller's protocol is kept byte for byte.

pub(crate) mod loose;
pub(crate) mod responses;

mod assemble;
mod chunk;
mod edit;
mod messages;

use std::sync::Arc;

use bytes::Bytes;
use domain::{call::Endpoint, deployment::Dialect, exchange::Exchange, usage::Usage};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{anthropic, stream::CallerStream as _, usage};
use assemble::Assembly;
use loose::{LooseCount, LooseStr, LooseText};

/// What the bytes of an answer say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// The answer as one JSON object of the API that was called; `None` if no answer was seen.
    pub response: Option<Arc<str>>,
    /// Its id at the provider.
    pub id: Option<String>,
    /// The first choice's text, if it has any.
    pub text: Option<String>,
    /// What the first choice says of its reasoning, if anything.
    pub reasoning: Option<String>,
    /// The first choice's tool calls as chat's JSON list, if it has any.
    pub tool_calls: Option<String>,
    /// Why the first choice ended, in chat's words.
    pub finish_reason: Option<String>,
    /// The tier that the provider says it served the call in.
    pub service_tier: Option<String>,
    /// Tokens, if the provider reported any.
    pub usage: Option<Usage>,
    /// The `usage` object in chat's shape, as JSON.
    pub usage_json: Option<String>,
}

/// Reads the answer out of an exchange's bytes.
///
/// A stream becomes one object, as far as it came: a choice that did not end has a null
/// `finish_reason`. An error body is no answer.
pub fn answer(exchange: &Exchange) -> Answer {
    let facts = &exchange.facts;
    let bytes = &exchange.response.bytes;
    let Some(attempt) = facts.attempts.last() else { return Answer::default() };
    if bytes.is_empty() {
        return Answer::default();
    }
    let is_stream = facts.response_is_stream;
    match (facts.call.endpoint, attempt.deployment.dialect) {
        // What the caller got was translated with the same time.
        (Endpoint::ChatCompletions, Dialect::Anthropic) => {
            translated(bytes, is_stream, facts.call.arrived_at.as_secs())
        }
        (Endpoint::Messages, _) if is_stream => messages::of_stream(bytes),
        (Endpoint::Messages, _) => messages::of_whole(bytes),
        (Endpoint::Responses, _) if is_stream => responses::of_stream(bytes),
        (Endpoint::Responses, _) => responses::of_whole(bytes),
        (Endpoint::TextCompletions, _) if is_stream => of_stream(TEXT, [bytes.as_ref()]),
        (_, _) if is_stream => of_stream(CHAT, [bytes.as_ref()]),
        (_, _) => of_whole(bytes),
    }
}

/// The `object` of a chat completion.
const CHAT: &str = "chat.completion";

/// The `object` of a text completion.
const TEXT: &str = "text_completion";

/// Anthropic's answer as a chat completion.
fn translated(bytes: &Bytes, is_stream: bool, created: i64) -> Answer {
    if is_stream {
        let chunks = translated_stream(bytes, created);
        let answer = of_stream(CHAT, chunks.iter().map(AsRef::as_ref));
        let usage = answer.usage.or_else(|| messages::of_stream(bytes).usage);
        return Answer { usage, ..answer };
    }
    match anthropic::response(bytes, created) {
        Ok(completion) => of_whole(&completion),
        // Of an answer too long to be kept little more than the usage is left.
        Err(_) => Answer { response: None, ..messages::of_whole(bytes) },
    }
}

/// The stream in `OpenAI`'s dialect, as far as it can be translated.
fn translated_stream(bytes: &Bytes, created: i64) -> Vec<Bytes> {
    let mut translator = anthropic::Translator::new(created, true, false, bytes.len());
    let mut out = Vec::new();
    // A stream that breaks off or errs is no reason to forget what came before.
    if translator.push(bytes.clone(), &mut out).is_ok() {
        translator.finish(&mut out).ok();
    }
    out
}

/// Chunks, put together as what they are chunks of.
fn of_stream<'a>(object: &'static str, parts: impl IntoIterator<Item = &'a [u8]>) -> Answer {
    let mut assembly = Assembly::new(object);
    for part in parts {
        for event in crate::sse::events(part) {
            assembly.add(&event.data);
        }
    }
    assembly.finish()
}

/// Whether raw JSON is a list that is not empty.
fn is_list_of_some(raw: &&str) -> bool {
    raw.strip_prefix('[').is_some_and(|rest| !rest.trim_start().starts_with(']'))
}

/// A chat or text completion, or a list of embeddings.
fn of_whole(bytes: &[u8]) -> Answer {
    let Ok(text) = std::str::from_utf8(bytes) else { return Answer::default() };
    let Ok(whole) = serde_json::from_str::<Whole<'_>>(text) else { return Answer::default() };
    if whole.choices.is_none() && whole.error.is_some() {
        return Answer::default();
    }
    let choices = whole.choices.map(RawValue::get).unwrap_or_default();
    let choices: Vec<WholeChoice<'_>> = serde_json::from_str(choices).unwrap_or_default();
    let first = choices.into_iter().min_by_key(|choice| choice.index.0).unwrap_or_default();
    let content = first.message.map(RawValue::get).unwrap_or_default();
    let message: Message<'_> = serde_json::from_str(content).unwrap_or_default();
    let usage = whole.usage.map(RawValue::get);
    Answer {
        response: Some(text.trim().into()),
        id: whole.id.0.map(Into::into),
        text: message.content.0.or(first.text.0).map(Into::into),
        reasoning: message.reasoning_content.0.or(message.reasoning.0).map(Into::into),
        tool_calls: message.tool_calls.map(RawValue::get).filter(is_list_of_some).map(Into::into),
        finish_reason: first.finish_reason.0.map(Into::into),
        service_tier: whole.service_tier.0.map(Into::into),
        usage: usage.and_then(usage::read),
        usage_json: usage.map(Into::into),
    }
}

/// The members of a completion that are looked at. Anything else is left alone.
#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(borrow, default)]
    id: LooseStr<'a>,
    #[serde(borrow, default)]
    service_tier: LooseStr<'a>,
    #[serde(borrow)]
    choices: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WholeChoice<'a> {
    index: LooseCount,
    #[serde(borrow)]
    finish_reason: LooseStr<'a>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    /// A text completion's.
    #[serde(borrow)]
    text: LooseStr<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    content: LooseText<'a>,
    #[serde(borrow)]
    reasoning_content: LooseStr<'a>,
    /// Some servers' name for it.
    #[serde(borrow)]
    reasoning: LooseStr<'a>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
}

#[cfg(test)]
mod tests;
