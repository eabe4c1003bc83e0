//! A Messages stream as a `chat.completion.chunk` stream.
//!
//! Texts and tool arguments go through as the raw JSON strings that they came as. What one read
//! brings goes out as one piece. Thinking goes out as `reasoning_content`, and each thinking block,
//! once it is signed, as one of `thinking_blocks`: whole, so that a caller who sends it back needs
//! to join nothing. Blocks of Anthropic's own tools are left out.
//!
//! The end is `message_stop`, or the end of the bytes after a stop reason; then come the usage
//! chunk, if the caller wants it, and `[DONE]`.

use std::fmt::Write as _;

use bytes::Bytes;
use domain::{event::Delta, failure::Failure};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{finish_reason, usage::Reported};
use crate::{
    failure::from_event,
    request::quoted,
    scan::text,
    sse::{self, DONE, Splitter, SseEvent},
    stream::{CallerStream, Deltas, cut_short, garbage},
};

/// Translates a Messages stream while it runs.
#[derive(Debug)]
pub struct Translator {
    splitter: Splitter,
    created: i64,
    include_usage: bool,
    deltas: Deltas,
    /// How every chunk begins, up to its choices; empty before the stream has named itself.
    head: String,
    usage: Option<Reported>,
    /// The running block, as far as it matters.
    block: Block,
    /// Tool calls seen.
    tool_calls: usize,
    stage: Stage,
    /// What one read has brought so far.
    text: String,
}

#[derive(Debug)]
enum Block {
    Other,
    Thinking {
        /// The text so far, as the inside of a JSON string.
        thinking: String,
    },
    /// The last of the tool calls; `has_arguments` once a part of them went out.
    ToolUse {
        has_arguments: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Nothing,
    Events,
    StopReason,
    /// All went out, `[DONE]` included.
    End,
}

#[derive(Deserialize)]
struct Event<'a> {
    r#type: &'a str,
    #[serde(default)]
    message: Option<Start>,
    #[serde(borrow, default)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow, default)]
    delta: Option<BlockDelta<'a>>,
    #[serde(default)]
    usage: Option<Reported>,
}

#[derive(Deserialize)]
struct Start {
    id: String,
    model: String,
    #[serde(default)]
    usage: Option<Reported>,
}

#[derive(Deserialize)]
struct BlockStart<'a> {
    r#type: &'a str,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// The delta of a block, or of the message.
#[derive(Deserialize)]
struct BlockDelta<'a> {
    #[serde(default)]
    r#type: &'a str,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    partial_json: Option<&'a RawValue>,
    #[serde(borrow, default)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow, default)]
    signature: Option<&'a RawValue>,
    #[serde(default)]
    stop_reason: Option<String>,
}

impl Translator {
    /// `created` is unix seconds. `include_usage`: the caller asked for the usage chunk.
    /// `want_deltas`: collect deltas. No event may be larger than `event_bytes_max`.
    pub fn new(
        created: i64,
        include_usage: bool,
        want_deltas: bool,
        event_bytes_max: usize,
    ) -> Self {
        Self {
            splitter: Splitter::new(event_bytes_max),
            created,
            include_usage,
            deltas: Deltas::new(want_deltas),
            head: String::new(),
            usage: None,
            block: Block::Other,
            tool_calls: 0,
            stage: Stage::Nothing,
            text: String::new(),
        }
    }

    /// The chunk that tells the usage reported so far; `None` before any was. For streams that
    /// broke off: the input is reported first.
    pub fn usage_event(&self) -> Option<Bytes> {
        let usage = serde_json::to_string(&self.usage.as_ref()?.to_openai()).ok()?;
        // Its raw parts may be spread over lines, which a data line must not be.
        let usage = usage.replace(['\n', '\r'], " ");
        Some(Bytes::from(format!("{}],\"usage\":{usage}}}\n\n", self.head)))
    }

    fn translate_run(&mut self, run: &[u8]) -> Result<(), Failure> {
        for frame in sse::frames(run) {
            if let Some(event) = SseEvent::parse(&run[frame]) {
                self.translate(&event)?;
            }
            if self.stage == Stage::End {
                break;
            }
        }
        Ok(())
    }

    fn translate(&mut self, event: &SseEvent<'_>) -> Result<(), Failure> {
        let data = event.data.trim_ascii();
        // Some gateways in between add `[DONE]`.
        if data.is_empty() || data == DONE {
            return Ok(());
        }
        let said: Event<'_> = serde_json::from_slice(data).map_err(|_| garbage(data))?;
        match said.r#type {
            "error" => {
                let failure = from_event(data);
                self.write_error(&failure);
                return Err(failure);
            }
            "message_start" => self.start(said.message.ok_or_else(|| garbage(data))?),
            "content_block_start" => {
                let raw = said.content_block.ok_or_else(|| garbage(data))?;
                let block = serde_json::from_str(raw.get()).map_err(|_| garbage(data))?;
                self.start_block(&block);
            }
            "content_block_delta" => self.add_delta(&said.delta.ok_or_else(|| garbage(data))?),
            "content_block_stop" => self.end_block(),
            "message_delta" => {
                self.report(said.usage);
                let reason = said.delta.and_then(|delta| delta.stop_reason);
                if let Some(reason) = reason {
                    self.write_finish(finish_reason(&reason));
                }
            }
            "message_stop" => self.end(),
            // `ping`, and what is yet unknown.
            _ => {}
        }
        self.stage = self.stage.max(Stage::Events);
        Ok(())
    }

    fn start(&mut self, message: Start) {
        let created = self.created;
        let (id, model) = (quoted(&message.id), quoted(&message.model));
        self.head = format!(
            "data: {{\"id\":{id},\"object\":\"chat.completion.chunk\",\"created\":{created},\
             \"model\":{model},\"choices\":["
        );
        self.report(message.usage);
        self.write_delta(format_args!(r#"{{"role":"assistant","content":""}}"#));
    }

    fn report(&mut self, usage: Option<Reported>) {
        if let Some(usage) = usage {
            self.usage.get_or_insert_default().update(usage);
        }
    }

    fn start_block(&mut self, block: &BlockStart<'_>) {
        self.block = Block::Other;
        match block.r#type {
            "text" => self.write_content(block.text),
            "thinking" => self.block = Block::Thinking { thinking: String::new() },
            "redacted_thinking" => {
                let data = block.data.map_or("\"\"", RawValue::get);
                self.write_delta(format_args!(
                    r#"{{"thinking_blocks":[{{"type":"redacted_thinking","data":{data}}}]}}"#
                ));
            }
            "tool_use" => {
                let given = block.input.map(RawValue::get);
                let given = given.filter(|input| input.len() > 2 && input.starts_with('{'));
                self.block = Block::ToolUse { has_arguments: given.is_some() };
                let index = self.tool_calls;
                self.tool_calls += 1;
                let text = |raw: Option<&RawValue>| raw.map_or("\"\"", RawValue::get).to_owned();
                let (id, name) = (text(block.id), text(block.name));
                let arguments = quoted(given.unwrap_or_default());
                self.write_delta(format_args!(
                    "{{\"tool_calls\":[{{\"index\":{index},\"id\":{id},\"type\":\"function\",\
                     \"function\":{{\"name\":{name},\"arguments\":{arguments}}}}}]}}"
                ));
            }
            _ => {}
        }
    }

    fn add_delta(&mut self, delta: &BlockDelta<'_>) {
        match delta.r#type {
            "text_delta" => self.write_content(delta.text),
            "input_json_delta" => {
                let json = delta.partial_json.map(RawValue::get).filter(|json| *json != "\"\"");
                if let (Some(json), Block::ToolUse { has_arguments }) = (json, &mut self.block) {
                    *has_arguments = true;
                    self.write_arguments(json);
                }
            }
            "thinking_delta" => {
                let Some(raw) = delta.thinking.map(RawValue::get) else {
                    return;
                };
                if let Block::Thinking { thinking } = &mut self.block {
                    thinking.push_str(inside(raw));
                }
                self.write_delta(format_args!(r#"{{"reasoning_content":{raw}}}"#));
            }
            "signature_delta" => {
                let signature = delta.signature.map(RawValue::get);
                if let (Some(signature), Block::Thinking { thinking }) = (signature, &self.block) {
                    let block = format!(
                        r#"{{"type":"thinking","thinking":"{thinking}","signature":{signature}}}"#
                    );
                    self.write_delta(format_args!(r#"{{"thinking_blocks":[{block}]}}"#));
                }
            }
            _ => {}
        }
    }

    fn end_block(&mut self) {
        // A call without arguments must still have a JSON object for the caller to read.
        if matches!(self.block, Block::ToolUse { has_arguments: false }) {
            self.write_arguments("\"{}\"");
        }
        self.block = Block::Other;
    }

    fn end(&mut self) {
        if self.include_usage
            && let Some(usage) = self.usage_event()
        {
            self.text.push_str(&String::from_utf8_lossy(&usage));
        }
        self.text.push_str("data: [DONE]\n\n");
        self.stage = Stage::End;
    }

    fn write_content(&mut self, raw: Option<&RawValue>) {
        let Some(raw) = raw.map(RawValue::get).filter(|raw| *raw != "\"\"") else {
            return;
        };
        if self.deltas.are_wanted() {
            let content = text(raw.as_bytes()).unwrap_or_default().into_owned();
            self.deltas.add(0, content, None);
        }
        self.write_delta(format_args!(r#"{{"content":{raw}}}"#));
    }

    fn write_arguments(&mut self, json: &str) {
        let index = self.tool_calls.saturating_sub(1);
        self.write_delta(format_args!(
            "{{\"tool_calls\":[{{\"index\":{index},\"function\":{{\"arguments\":{json}}}}}]}}"
        ));
    }

    fn write_delta(&mut self, delta: std::fmt::Arguments<'_>) {
        self.text.push_str(&self.head);
        // Writing to a `String` cannot fail.
        let _ = self.text.write_fmt(format_args!(
            "{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}]}}\n\n"
        ));
    }

    fn write_finish(&mut self, reason: &str) {
        self.stage = Stage::StopReason;
        self.deltas.add(0, String::new(), Some(reason.to_owned()));
        self.text.push_str(&self.head);
        let _ = self.text.write_fmt(format_args!(
            "{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"{reason}\"}}]}}\n\n"
        ));
    }

    /// Tells the caller of an error, as `OpenAI` does inside a stream.
    fn write_error(&mut self, failure: &Failure) {
        let error = serde_json::json!({"error": {
            "message": failure.message,
            "type": failure.provider_type,
            "param": null,
            "code": failure.status,
        }});
        let _ = self.text.write_fmt(format_args!("data: {error}\n\n"));
    }

    /// What was translated so far, as one piece.
    fn flush(&mut self, out: &mut Vec<Bytes>) {
        if !self.text.is_empty() {
            out.push(Bytes::from(std::mem::take(&mut self.text)));
        }
    }
}

impl CallerStream for Translator {
    fn push(&mut self, bytes: Bytes, out: &mut Vec<Bytes>) -> Result<(), Failure> {
        let mut translated = Ok(());
        for run in self.splitter.push(&bytes)? {
            if translated.is_ok() && self.stage < Stage::End {
                translated = self.translate_run(&run);
            }
        }
        self.flush(out);
        translated
    }

    fn take_deltas(&mut self) -> Vec<Delta> {
        self.deltas.take()
    }

    fn is_complete(&self) -> bool {
        self.stage == Stage::End
    }

    fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), Failure> {
        let tail = self.splitter.take_tail();
        let mut translated = Ok(());
        if self.stage < Stage::End
            && let Some(event) = sse::whole_tail(&tail)
        {
            translated = self.translate(&event);
        }
        if translated.is_ok() && self.stage == Stage::StopReason {
            self.end();
        }
        self.flush(out);
        translated?;
        if self.stage == Stage::End { Ok(()) } else { Err(cut_short(self.stage > Stage::Nothing)) }
    }
}

/// The inside of a raw JSON string.
fn inside(raw: &str) -> &str {
    raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')).unwrap_or_default()
}
