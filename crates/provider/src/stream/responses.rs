//! `OpenAI`'s Responses, streamed.
//!
//! The end is one of `response.completed` and `response.incomplete`; there is no `[DONE]`.
//! `response.failed` and `error` are the provider's failures.

use domain::failure::Failure;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Deltas,
    typed::{Meaning, Protocol},
};
use crate::{
    answer::responses::finish_reason,
    failure::{error_code, error_object, from_event},
};

/// The protocol of streamed responses.
#[derive(Debug)]
pub(super) struct Responses;

impl Protocol for Responses {
    fn read(&mut self, kind: &[u8], data: &[u8], deltas: &mut Deltas) -> Meaning {
        match kind {
            b"\"response.output_text.delta\"" => {
                add_text(deltas, data);
                Meaning::More
            }
            b"\"response.completed\"" | b"\"response.incomplete\"" => {
                add_end(deltas, data);
                Meaning::End
            }
            b"\"response.failed\"" | b"\"error\"" => Meaning::Error(from_event(data)),
            _ => Meaning::More,
        }
    }
}

fn add_text(deltas: &mut Deltas, data: &[u8]) {
    #[derive(Deserialize)]
    struct Event {
        delta: String,
    }
    if deltas.are_wanted()
        && let Ok(event) = serde_json::from_slice::<Event>(data)
    {
        deltas.add(0, event.delta, None);
    }
}

fn add_end(deltas: &mut Deltas, data: &[u8]) {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        response: &'a RawValue,
    }
    if deltas.are_wanted() {
        let event = serde_json::from_slice::<Event<'_>>(data).ok();
        let reason = event.and_then(|event| finish_reason(event.response.get()));
        deltas.add(0, String::new(), Some(reason.unwrap_or("stop").to_owned()));
    }
}

/// The data of an `error` event, in both of its forms: flat, as `OpenAI`'s reference has it, and
/// with an `error` object, as its servers send it; its SDKs raise an exception for the latter only.
///
/// Which number the event has in its stream is not known here; strict readers refuse it without.
pub(super) fn error(failure: &Failure) -> String {
    #[derive(Serialize)]
    struct Event<'a> {
        r#type: &'static str,
        sequence_number: u32,
        code: &'a str,
        message: &'a str,
        param: Option<&'a str>,
        error: serde_json::Value,
    }
    let event = Event {
        r#type: "error",
        sequence_number: 0,
        code: error_code(failure),
        message: &failure.message,
        param: failure.param.as_deref(),
        error: error_object(failure),
    };
    serde_json::to_string(&event).unwrap_or_default()
}
