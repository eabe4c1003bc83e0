//! One OpenAI-shaped answer out of what a provider sent: whole or in pieces, complete or not, in
//! `OpenAI`'s dialect or another.
//!
//! Reads bytes that anyone may have written, so it never fails and never panics: it keeps what it
//! understood. Whether the call succeeded is not decided here, and what it cost neither.
//!
//! Invariant: a whole answer in `OpenAI`'s dialect is kept byte for byte.

pub(crate) mod loose;

mod assemble;
mod chunk;

use std::sync::Arc;

use bytes::Bytes;
use domain::{deployment::Dialect, exchange::Exchange, usage::Usage};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{anthropic, stream::CallerStream as _, usage};
use assemble::Assembly;
use loose::{LooseCount, LooseStr, LooseText};

/// What the bytes of an answer say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// The answer as one `OpenAI`-shaped JSON object; `None` if no answer was seen.
    pub response: Option<Arc<str>>,
    /// Its id at the provider.
    pub id: Option<String>,
    /// The first choice's text, if it has any.
    pub text: Option<String>,
    /// Why the first choice ended.
    pub finish_reason: Option<String>,
    /// The tier that the provider says it served the call in.
    pub service_tier: Option<String>,
    /// Tokens, if the provider reported any.
    pub usage: Option<Usage>,
    /// The `usage` object in `OpenAI`'s shape, as JSON.
    pub usage_json: Option<String>,
}

/// Reads the answer out of an exchange's bytes.
///
/// A stream becomes one `chat.completion` object, as far as it came: a choice that did not end has
/// a null `finish_reason`. An error body is no answer.
pub fn answer(exchange: &Exchange) -> Answer {
    let facts = &exchange.facts;
    let bytes = &exchange.response.bytes;
    let Some(attempt) = facts.attempts.last() else { return Answer::default() };
    if bytes.is_empty() {
        return Answer::default();
    }
    // What the caller got was translated with the same time.
    let created = facts.call.arrived_at.as_secs();
    match (attempt.deployment.dialect, facts.response_is_stream) {
        (Dialect::OpenAi | Dialect::Mock, false) => of_whole(bytes),
        (Dialect::OpenAi | Dialect::Mock, true) => of_stream([bytes.as_ref()]),
        (Dialect::Anthropic, false) => {
            anthropic::response(bytes, created).map_or_else(|_| Answer::default(), |b| of_whole(&b))
        }
        (Dialect::Anthropic, true) => {
            let translated = translated(bytes, created);
            let answer = of_stream(translated.iter().map(AsRef::as_ref));
            let usage = answer.usage.or_else(|| begun_usage(bytes));
            Answer { usage, ..answer }
        }
    }
}

/// The stream in `OpenAI`'s dialect, as far as it can be translated.
fn translated(bytes: &Bytes, created: i64) -> Vec<Bytes> {
    let mut translator = anthropic::Translator::new(created, true, false, bytes.len());
    let mut out = Vec::new();
    // A stream that breaks off or errs is no reason to forget what came before.
    if translator.push(bytes.clone(), &mut out).is_ok() {
        translator.finish(&mut out).ok();
    }
    out
}

/// What a stream without an end says of its tokens: Anthropic counts the prompt at the beginning.
/// Its count of the answer is a mere start there.
fn begun_usage(bytes: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Begin<'a> {
        #[serde(borrow)]
        message: BegunMessage<'a>,
    }
    #[derive(Deserialize)]
    struct BegunMessage<'a> {
        #[serde(borrow)]
        usage: &'a RawValue,
    }
    let begin =
        crate::sse::events(bytes).find(|event| event.name.as_deref() == Some("message_start"))?;
    let begin: Begin<'_> = serde_json::from_slice(&begin.data).ok()?;
    let usage = usage::read(begin.message.usage.get())?;
    Some(Usage { output_tokens: None, total_tokens: None, ..usage })
}

fn of_stream<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Answer {
    let mut assembly = Assembly::default();
    for part in parts {
        for event in crate::sse::events(part) {
            assembly.add(&event.data);
        }
    }
    assembly.finish()
}

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
        text: message.content.0.map(Into::into),
        finish_reason: first.finish_reason.0.map(Into::into),
        service_tier: whole.service_tier.0.map(Into::into),
        usage: usage.and_then(usage::read),
        usage_json: usage.map(Into::into),
    }
}

/// The members of a `chat.completion` that are looked at. Anything else is left alone.
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
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    content: LooseText<'a>,
}

#[cfg(test)]
mod tests;
