//! A stream of chat or text completions whose provider speaks `OpenAI`'s dialect.
//!
//! Bytes pass as they are, without a copy, except that a final chunk which only carries usage is
//! left out if the caller did not ask for it. An event is parsed only if a search of its bytes says
//! that it may matter.
//!
//! The end is `[DONE]`, and nothing after it passes. Some compatible servers send none: then the
//! end of the bytes is a clean one once a choice has finished, and no `[DONE]` is added, because
//! the caller's SDK needs none. An error event passes and fails the stream; so does, without
//! passing, an event that is not JSON.

use std::sync::LazyLock;

use bytes::Bytes;
use domain::{
    event::Delta,
    failure::{Failure, FailureKind},
};
use memchr::memmem::Finder;
use serde::Deserialize;

use super::{CallerStream, Deltas};
use crate::{
    failure::{bad_response, bounded, from_event},
    json,
    sse::{self, DONE, Splitter, SseEvent},
};

static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"error\""));
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"usage\""));
static FINISH_REASON: LazyLock<Finder<'static>> =
    LazyLock::new(|| Finder::new("\"finish_reason\""));

/// A stream that is in the caller's dialect already.
#[derive(Debug)]
pub(super) struct Chunks {
    splitter: Splitter,
    hide_usage: bool,
    deltas: Deltas,
    seen: Seen,
}

/// How far the stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    Nothing,
    Events,
    /// A choice has ended.
    FinishReason,
    /// `[DONE]`.
    End,
}

/// What becomes of one frame.
enum Verdict {
    Pass,
    Hide,
    /// It passes, and is the last.
    End,
    /// It passes, and says that the stream failed.
    Error(Failure),
    /// It does not pass.
    Garbage(Failure),
}

impl Chunks {
    /// `hide_usage`: the caller did not ask for the usage chunk. `want_deltas`: collect deltas. No
    /// event may be larger than `event_bytes_max`.
    pub(super) fn new(hide_usage: bool, want_deltas: bool, event_bytes_max: usize) -> Self {
        Self {
            splitter: Splitter::new(event_bytes_max),
            hide_usage,
            deltas: Deltas::new(want_deltas),
            seen: Seen::Nothing,
        }
    }

    /// Passes on a run of whole frames, in as few pieces as possible.
    fn pass(&mut self, run: &Bytes, out: &mut Vec<Bytes>) -> Result<(), Failure> {
        let mut from = 0;
        let mut put = |from: usize, to: usize| {
            if from < to {
                out.push(run.slice(from..to));
            }
        };
        for frame in sse::frames(run) {
            match self.judge(&run[frame.clone()]) {
                Verdict::Pass => {}
                Verdict::Hide => {
                    put(from, frame.start);
                    from = frame.end;
                }
                Verdict::End => {
                    self.seen = Seen::End;
                    put(from, frame.end);
                    return Ok(());
                }
                Verdict::Error(failure) => {
                    put(from, frame.end);
                    return Err(failure);
                }
                Verdict::Garbage(failure) => {
                    put(from, frame.start);
                    return Err(failure);
                }
            }
        }
        put(from, run.len());
        Ok(())
    }

    fn judge(&mut self, frame: &[u8]) -> Verdict {
        let Some(event) = SseEvent::parse(frame) else {
            return Verdict::Pass;
        };
        let data = event.data.trim_ascii();
        if data == DONE {
            return Verdict::End;
        }
        if data.is_empty() {
            return Verdict::Pass;
        }
        if data.first() != Some(&b'{') || data.last() != Some(&b'}') {
            return Verdict::Garbage(garbage(data));
        }
        if ERROR.find(data).is_some() && is_error(data) {
            return Verdict::Error(from_event(data));
        }
        if self.seen < Seen::FinishReason {
            let finishes = is_set(&FINISH_REASON, data);
            self.seen = if finishes { Seen::FinishReason } else { Seen::Events };
        }
        if self.deltas.are_wanted() {
            add_deltas(&mut self.deltas, data);
        }
        if self.hide_usage && is_set(&USAGE, data) && is_usage_only(data) {
            return Verdict::Hide;
        }
        Verdict::Pass
    }
}

impl CallerStream for Chunks {
    fn push(&mut self, bytes: Bytes, out: &mut Vec<Bytes>) -> Result<(), Failure> {
        if self.seen == Seen::End {
            return Ok(());
        }
        for run in self.splitter.push(&bytes)? {
            self.pass(&run, out)?;
            if self.seen == Seen::End {
                break;
            }
        }
        Ok(())
    }

    fn take_deltas(&mut self) -> Vec<Delta> {
        self.deltas.take()
    }

    fn is_complete(&self) -> bool {
        self.seen == Seen::End
    }

    fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), Failure> {
        let tail = self.splitter.take_tail();
        if self.seen < Seen::End && sse::whole_tail(&tail).is_some() {
            let mut frame = tail.to_vec();
            frame.extend_from_slice(b"\n\n");
            self.pass(&frame.into(), out)?;
        }
        if self.seen >= Seen::FinishReason {
            return Ok(());
        }
        Err(cut_short(self.seen > Seen::Nothing))
    }
}

/// The failure of a stream whose bytes ended before its end.
pub(crate) fn cut_short(has_events: bool) -> Failure {
    let message = if has_events {
        "the provider's stream ended before its end"
    } else {
        "the provider's stream ended before its first event"
    };
    Failure::new(FailureKind::StreamCut, 502, message.into())
}

/// The failure of an event whose data is not JSON.
pub(crate) fn garbage(data: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(&data[..data.len().min(200)]);
    bad_response(bounded(&format!("the provider sent an event that is not JSON: {text}")))
}

/// Whether a key that `finder` looks for, quotes included, is there with a value other than null.
/// In a JSON text its quotes cannot belong to a string's content: there they are escaped.
fn is_set(finder: &Finder<'_>, data: &[u8]) -> bool {
    finder.find_iter(data).any(|at| {
        let colon = json::skip_space(data, at + finder.needle().len());
        let value = json::skip_space(data, colon + 1);
        data.get(colon) == Some(&b':') && !data[value.min(data.len())..].starts_with(b"null")
    })
}

/// The values of an object's top-level members, by raw key. What is not JSON has none from there
/// on.
fn members(data: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    json::members(data, 0).map_while(Result::ok).map(|m| (&data[m.key], &data[m.value]))
}

fn is_error(data: &[u8]) -> bool {
    members(data).any(|(key, value)| match key {
        b"\"error\"" => value != b"null",
        // vLLM's form.
        b"\"object\"" => value == b"\"error\"",
        _ => false,
    })
}

fn is_usage_only(data: &[u8]) -> bool {
    let mut has_usage = false;
    let mut has_no_choices = false;
    for (key, value) in members(data) {
        match key {
            b"\"usage\"" => has_usage = value != b"null",
            b"\"choices\"" => {
                let inner = value.strip_prefix(b"[").and_then(|inner| inner.strip_suffix(b"]"));
                has_no_choices = inner.is_some_and(|inner| inner.trim_ascii().is_empty());
            }
            _ => {}
        }
    }
    has_usage && has_no_choices
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    #[serde(default)]
    delta: Option<ChoiceDelta>,
    /// A text completion's, which has no delta.
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct ChoiceDelta {
    #[serde(default)]
    content: Option<String>,
}

fn add_deltas(deltas: &mut Deltas, data: &[u8]) {
    // A chunk of another shape has no text that we could tell; it still passes.
    let Ok(chunk) = serde_json::from_slice::<Chunk>(data) else {
        return;
    };
    for choice in chunk.choices {
        let content = choice.delta.and_then(|delta| delta.content).or(choice.text);
        deltas.add(choice.index, content.unwrap_or_default(), choice.finish_reason);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROLE: &str =
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"usage":null}"#;
    const TEXT: &str =
        r#"{"choices":[{"index":0,"delta":{"content":"a \"usage\": 1"},"finish_reason":null}]}"#;
    const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason": "stop"}]}"#;
    const USAGE: &str = r#"{"choices": [ ],"usage":{"prompt_tokens":1}}"#;

    fn stream(events: &[&str]) -> String {
        events.iter().flat_map(|event| ["data: ", event, "\n\n"]).collect()
    }

    /// What the caller got of a stream, and how it ended.
    fn passed(reads: &[&[u8]], hide_usage: bool) -> (String, Result<bool, Failure>) {
        let mut stream = Chunks::new(hide_usage, false, 4096);
        let mut out = Vec::new();
        let pushed =
            reads.iter().try_for_each(|r| stream.push(Bytes::copy_from_slice(r), &mut out));
        let ended = pushed.and_then(|()| stream.finish(&mut out));
        let text = String::from_utf8(out.concat()).unwrap();
        (text, ended.map(|()| stream.is_complete()))
    }

    #[test]
    fn the_usage_chunk_is_hidden_from_a_caller_who_did_not_ask() {
        let all = stream(&[ROLE, TEXT, STOP, USAGE, "[DONE]"]);
        let hidden = stream(&[ROLE, TEXT, STOP, "[DONE]"]);
        assert_eq!(passed(&[all.as_bytes()], true), (hidden, Ok(true)));
        assert_eq!(passed(&[all.as_bytes()], false), (all.clone(), Ok(true)));
    }

    #[test]
    fn usage_in_a_chunk_with_choices_passes() {
        let both = r#"{"choices":[{"index":0,"delta":{"content":"a"}}],"usage":{"x":1}}"#;
        let all = stream(&[both, "[DONE]"]);
        assert_eq!(passed(&[all.as_bytes()], true), (all.clone(), Ok(true)));
    }

    #[test]
    fn what_follows_the_end_does_not_pass() {
        let all = stream(&[TEXT, "[DONE]"]);
        let more = format!("{all}data: more\n\n");
        assert_eq!(passed(&[more.as_bytes(), b"data: x\n\n"], true), (all, Ok(true)));
    }

    #[test]
    fn a_server_without_done_ends_cleanly_after_a_finished_choice() {
        let all = stream(&[TEXT, STOP]);
        assert_eq!(passed(&[all.as_bytes()], true), (all.clone(), Ok(false)));
        let without_blank_line = &all[..all.len() - 2];
        assert_eq!(passed(&[without_blank_line.as_bytes()], true), (all.clone(), Ok(false)));
    }

    #[test]
    fn an_end_before_the_end_is_a_cut() {
        let cases = [
            (stream(&[TEXT]), "the provider's stream ended before its end"),
            (
                stream(&[TEXT]) + "data: {\"choices\":[{\"fini",
                "the provider's stream ended before its end",
            ),
            (": hi\n\n".into(), "the provider's stream ended before its first event"),
            (String::new(), "the provider's stream ended before its first event"),
        ];
        for (bytes, expected) in cases {
            let (_, ended) = passed(&[bytes.as_bytes()], true);
            let failure = ended.unwrap_err();
            assert_eq!((failure.kind, &*failure.message), (FailureKind::StreamCut, expected));
        }
    }

    #[test]
    fn an_error_event_passes_and_fails_the_stream() {
        for error in [
            r#"{"error":{"message":"boom","code":503}}"#,
            r#"{"object":"error","message":"boom","code":503}"#,
        ] {
            let all = stream(&[TEXT, error]);
            let (text, ended) = passed(&[all.as_bytes(), stream(&[STOP]).as_bytes()], true);
            let failure = ended.unwrap_err();
            assert_eq!(text, all);
            assert_eq!((failure.kind, failure.status), (FailureKind::StreamError, 503));
            assert_eq!(failure.message, "boom");
        }
    }

    #[test]
    fn what_only_looks_like_an_error_passes() {
        let all = stream(&[
            r#"{"error":null,"choices":[{"index":0,"delta":{"content":"error"}}]}"#,
            r#"{"choices":[{"delta":{"content":"{\"error\":1}"},"finish_reason":"stop"}]}"#,
        ]);
        assert_eq!(passed(&[all.as_bytes()], true), (all.clone(), Ok(false)));
    }

    #[test]
    fn garbage_does_not_pass() {
        for garbage in ["data: hello\n\n", "data: {\"cut\":\n\n"] {
            let good = stream(&[TEXT]);
            let (text, ended) = passed(&[format!("{good}{garbage}").as_bytes()], true);
            assert_eq!(text, good);
            assert_eq!(ended.unwrap_err().kind, FailureKind::BadResponse);
        }
        let (text, ended) = passed(&[b"<html><body>502"], true);
        assert_eq!((&*text, ended.unwrap_err().kind), ("", FailureKind::BadResponse));
        let large = format!("data: {{{}", " ".repeat(5000));
        assert_eq!(passed(&[large.as_bytes()], true).1.unwrap_err().kind, FailureKind::BadResponse);
    }

    #[test]
    fn comments_and_named_events_pass_untouched() {
        let all = format!(": processing\n\nevent: x\nid: 1\ndata: {TEXT}\r\n\r\ndata: [DONE]\n\n");
        assert_eq!(passed(&[all.as_bytes()], true), (all.clone(), Ok(true)));
    }

    #[test]
    fn a_read_of_whole_events_passes_as_one_piece_and_without_a_copy() {
        let bytes = Bytes::from(stream(&[ROLE, TEXT, STOP]));
        let mut out = Vec::new();
        Chunks::new(true, false, 4096).push(bytes.clone(), &mut out).unwrap();
        assert_eq!(out.len(), 1);
        assert_eq!((out[0].as_ptr(), out[0].len()), (bytes.as_ptr(), bytes.len()));
    }

    #[test]
    fn deltas_are_numbered_by_choice_and_the_last_one_ends_it() {
        let mut passthrough = Chunks::new(true, true, 4096);
        let other = r#"{"choices":[{"index":1,"delta":{"content":"b"},"finish_reason":"length"}]}"#;
        let bytes = stream(&[ROLE, TEXT, other, TEXT, STOP, USAGE, "[DONE]"]);
        passthrough.push(bytes.into(), &mut Vec::new()).unwrap();
        let deltas: Vec<_> = passthrough
            .take_deltas()
            .into_iter()
            .map(|d| (d.choice_index, d.token_index, d.content, d.finish_reason))
            .collect();
        let text = || "a \"usage\": 1".to_owned();
        assert_eq!(
            deltas,
            [
                (0, 0, text(), None),
                (1, 0, "b".into(), Some("length".into())),
                (0, 1, text(), None),
                (0, 2, String::new(), Some("stop".into())),
            ]
        );
        assert!(passthrough.take_deltas().is_empty());
    }

    proptest! {
        #[test]
        fn law_the_caller_gets_the_same_however_the_stream_is_cut(
            events in prop::collection::vec(
                prop::sample::select(vec![
                    ROLE, TEXT, STOP, USAGE, "[DONE]", "{\"error\":\"e\"}", "x",
                ]),
                0..8,
            ),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            hide_usage: bool,
        ) {
            let bytes = stream(&events).into_bytes();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let reads: Vec<_> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            prop_assert_eq!(passed(&reads, hide_usage), passed(&[&bytes], hide_usage));
        }
    }
}
