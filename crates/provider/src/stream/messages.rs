//! Anthropic's Messages, streamed to a caller who speaks that protocol.
//!
//! The end is `message_stop`; where it is missing, the end of the bytes after a stop reason. An
//! `error` event is the provider's failure.

use serde::Deserialize;

use super::{
    Deltas,
    typed::{Meaning, Protocol},
};
use crate::{anthropic::finish_reason, failure::from_event};

/// The protocol of streamed messages.
#[derive(Debug)]
pub(super) struct Messages;

/// The members that matter of any event: text begins in a block's start and comes in its deltas.
#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    content_block: Option<Part>,
    #[serde(default)]
    delta: Option<Part>,
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    r#type: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    stop_reason: Option<String>,
}

impl Protocol for Messages {
    fn read(&mut self, kind: &[u8], data: &[u8], deltas: &mut Deltas) -> Meaning {
        match kind {
            b"\"content_block_delta\"" | b"\"content_block_start\"" if deltas.are_wanted() => {
                // An event of another shape has no text that we could tell; it still passes.
                if let Ok(event) = serde_json::from_slice::<Event>(data)
                    && let Some(part) = event.delta.or(event.content_block)
                    && let Some("text" | "text_delta") = part.r#type.as_deref()
                {
                    deltas.add(0, part.text.unwrap_or_default(), None);
                }
                Meaning::More
            }
            b"\"message_delta\"" => {
                let event = serde_json::from_slice::<Event>(data).ok();
                let reason = event.and_then(|event| event.delta?.stop_reason);
                let Some(reason) = reason else { return Meaning::More };
                deltas.add(0, String::new(), Some(finish_reason(&reason).to_owned()));
                Meaning::Ending
            }
            b"\"message_stop\"" => Meaning::End,
            b"\"error\"" => Meaning::Error(from_event(data)),
            _ => Meaning::More,
        }
    }
}
