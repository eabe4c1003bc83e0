//! The provider: answers at once, always the same. And the requests that go with its answers.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use anyhow::Result;
use clap::ValueEnum;
use memchr::memmem;
use serde_json::{Value, json};

use crate::server::{self, Answer};

/// Bytes of a plain answer's body.
const PLAIN_BYTES: usize = 736;
/// Events of a stream: the role, 29 tokens, the end, usage, `[DONE]`.
pub(crate) const STREAM_EVENTS: usize = 33;
/// Bytes of each of a stream's events but the last, so that all are about 9.4 KB.
const EVENT_BYTES: usize = 288;
/// Bytes of a long prompt.
const LONG_PROMPT_BYTES: usize = 51_000;
/// How long a paced stream waits between the writes of four events.
const PACE: Duration = Duration::from_millis(2);
/// In a request: asks for the paced stream. The gateway passes unknown fields on.
const PACED: &str = "bench_paced";

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// A short prompt, a short answer.
    Plain,
    /// A stream whose events are all there at once.
    Stream,
    /// A stream whose first event comes at once and the others by and by.
    Paced,
    /// A prompt of 51 KB, a short answer.
    Long,
}

impl Shape {
    pub(crate) const fn is_stream(self) -> bool {
        matches!(self, Self::Stream | Self::Paced)
    }

    /// A request of this shape, head and body.
    pub(crate) fn request(self, host: SocketAddr, key: &str) -> Vec<u8> {
        let filler = match self {
            Self::Long => "All happy families are alike. ".repeat(LONG_PROMPT_BYTES / 30),
            _ => "Which is the largest moon of Saturn, and who saw it first?".to_owned(),
        };
        let mut body = json!({
            "model": "fast-chat",
            "messages": [
                {"role": "system", "content": "Answer in one short sentence."},
                {"role": "user", "content": filler},
            ],
            "max_tokens": 64,
            "user": "bench",
        });
        if self.is_stream() {
            body["stream"] = true.into();
            body["stream_options"] = json!({"include_usage": true});
        }
        if self == Self::Paced {
            body[PACED] = true.into();
        }
        let body = body.to_string();
        let length = body.len();
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\naccept: application/json\r\nuser-agent: bench\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

/// Starts the provider and returns its address.
pub(crate) fn start() -> Result<SocketAddr> {
    server::start(|| {
        let plain = Answer::whole(with_length("application/json", &completion()));
        let events = events();
        let stream = Answer::whole(with_length("text/event-stream", &events.concat()));
        let paced = Answer { pieces: paced(&events), pause: PACE };
        let wants_stream = memmem::Finder::new(b"\"stream\":true").into_owned();
        let wants_paced = memmem::Finder::new(PACED).into_owned();
        move |_, body| {
            // The gateway may move fields about, so all of the body is looked through; the parts
            // of a long prompt that hold none cost less than reading it does.
            if wants_stream.find(body).is_none() {
                plain.clone()
            } else if wants_paced.find(body).is_some() {
                paced.clone()
            } else {
                stream.clone()
            }
        }
    })
}

fn with_length(content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let mut answer = head(content_type);
    answer.push_str(&["content-length: ", &length.to_string(), "\r\n\r\n", body].concat());
    answer.into_bytes()
}

/// `x-accel-buffering` is what servers of event streams tell nginx, so that it does not hold them.
fn head(content_type: &str) -> String {
    let buffering =
        if content_type == "text/event-stream" { "x-accel-buffering: no\r\n" } else { "" };
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ndate: Sat, 21 Nov 2026 09:00:00 GMT\r\n\
         x-request-id: req_0123456789abcdef\r\nopenai-processing-ms: 1\r\n{buffering}"
    )
}

fn completion() -> String {
    let answer = |text: &str| {
        json!({
            "id": "chatcmpl-0123456789abcdefghijklmnopq",
            "object": "chat.completion",
            "created": 1_763_700_000,
            "model": "gpt-4o-mini-2024-07-18",
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": null},
                "logprobs": null,
                "finish_reason": "stop",
            }],
            "usage": usage(),
            "system_fingerprint": "fp_0123456789",
        })
        .to_string()
    };
    let missing = PLAIN_BYTES.saturating_sub(answer("").len());
    answer(&"It is Titan, seen by Huygens. ".repeat(1 + missing / 30)[..missing])
}

fn usage() -> Value {
    json!({
        "prompt_tokens": 29, "completion_tokens": 30, "total_tokens": 59,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    })
}

fn events() -> Vec<String> {
    let event = |delta: Option<Value>, end: Value, usage: Value| {
        let choices = delta.map(
            |delta| json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": end}),
        );
        let mut event = json!({
            "id": "chatcmpl-0123456789",
            "object": "chat.completion.chunk",
            "created": 1_763_700_000,
            "model": "gpt-4o-mini-2024-07-18",
            "system_fingerprint": "fp_0123456789",
            "choices": choices.into_iter().collect::<Vec<_>>(),
            "usage": usage,
        });
        // OpenAI pads its events by such a field.
        let length = event.to_string().len() + r#","obfuscation":"""#.len() + "data: \n\n".len();
        event["obfuscation"] = "x".repeat(EVENT_BYTES.saturating_sub(length)).into();
        format!("data: {event}\n\n")
    };
    let delta = |delta: Value| event(Some(delta), Value::Null, Value::Null);
    let mut events = vec![delta(json!({"role": "assistant", "content": ""}))];
    events.extend((0..STREAM_EVENTS - 4).map(|_| delta(json!({"content": " Titan"}))));
    events.push(event(Some(json!({})), json!("stop"), Value::Null));
    events.push(event(None, Value::Null, usage()));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

/// The head with the first event, then four events a piece.
fn paced(events: &[String]) -> Rc<[Vec<u8>]> {
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let head = head("text/event-stream") + "transfer-encoding: chunked\r\n\r\n";
    let mut pieces = vec![(head + &chunk(&events[0])).into_bytes()];
    let rest = events[1..].chunks(4).map(|events| chunk(&events.concat()).into_bytes());
    pieces.extend(rest);
    if let Some(last) = pieces.last_mut() {
        last.extend_from_slice(b"0\r\n\r\n");
    }
    pieces.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_have_the_sizes_that_the_tables_name() {
        assert_eq!(completion().len(), PLAIN_BYTES);
        let events = events();
        assert_eq!(events.len(), STREAM_EVENTS);
        let bytes = events.concat().len();
        assert!((9_300..9_600).contains(&bytes), "{bytes}");
        let request = Shape::Long.request(SocketAddr::from(([127, 0, 0, 1], 1)), "k");
        assert!((51_000..52_000).contains(&request.len()), "{}", request.len());
    }
}
