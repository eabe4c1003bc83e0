//! Streams whose events say in their data of which type they are: Responses' and Messages'.
//!
//! Bytes pass as they are, without a copy; of most events nothing but the type is looked at. What
//! a type means is the protocol's business. Nothing after the protocol's end passes. An event that
//! reports an error passes and fails the stream; so does, without passing, one that is not JSON.

use bytes::Bytes;
use domain::{event::Delta, failure::Failure};

use super::{CallerStream, Deltas, cut_short, garbage};
use crate::{
    failure::from_event,
    json,
    sse::{self, DONE, Splitter, SseEvent},
};

/// What an event means for its stream.
#[derive(Debug, PartialEq)]
pub(super) enum Meaning {
    /// More will come.
    More,
    /// The answer is whole: should the bytes end here, they end well.
    Ending,
    /// It is the last.
    End,
    /// The stream failed.
    Error(Failure),
}

/// A protocol whose events name their types.
pub(super) trait Protocol: Send {
    /// Reads an event, given its `type` as raw JSON and all of its data, which is an object.
    fn read(&mut self, kind: &[u8], data: &[u8], deltas: &mut Deltas) -> Meaning;
}

/// A stream of a protocol whose events name their types.
#[derive(Debug)]
pub(super) struct Typed<P> {
    protocol: P,
    splitter: Splitter,
    deltas: Deltas,
    seen: Seen,
}

/// How far the stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    Nothing,
    Events,
    Ending,
    End,
}

/// What becomes of one frame, when it is not just one more.
enum Verdict {
    /// It passes, and is the last.
    End,
    /// It passes, and says that the stream failed.
    Error(Failure),
    /// It does not pass.
    Garbage(Failure),
}

impl<P: Protocol> Typed<P> {
    pub(super) fn new(protocol: P, want_deltas: bool, event_bytes_max: usize) -> Self {
        Self {
            protocol,
            splitter: Splitter::new(event_bytes_max),
            deltas: Deltas::new(want_deltas),
            seen: Seen::Nothing,
        }
    }

    /// Passes on a run of whole frames, as one piece.
    fn pass(&mut self, run: &Bytes, out: &mut Vec<Bytes>) -> Result<(), Failure> {
        let mut put = |to: usize| {
            if to > 0 {
                out.push(run.slice(..to));
            }
        };
        for frame in sse::frames(run) {
            match self.judge(&run[frame.clone()]) {
                None => {}
                Some(Verdict::End) => {
                    self.seen = Seen::End;
                    put(frame.end);
                    return Ok(());
                }
                Some(Verdict::Error(failure)) => {
                    put(frame.end);
                    return Err(failure);
                }
                Some(Verdict::Garbage(failure)) => {
                    put(frame.start);
                    return Err(failure);
                }
            }
        }
        put(run.len());
        Ok(())
    }

    fn judge(&mut self, frame: &[u8]) -> Option<Verdict> {
        let event = SseEvent::parse(frame)?;
        let data = event.data.trim_ascii();
        // Some gateways in between add `[DONE]`.
        if data.is_empty() || data == DONE {
            return None;
        }
        if data.first() != Some(&b'{') || data.last() != Some(&b'}') {
            return Some(Verdict::Garbage(garbage(data)));
        }
        let meaning = match kind(data) {
            Kind::Named(kind) => self.protocol.read(kind, data, &mut self.deltas),
            Kind::Nameless { is_error: true } => Meaning::Error(from_event(data)),
            Kind::Nameless { is_error: false } => Meaning::More,
        };
        self.seen = self.seen.max(Seen::Events);
        match meaning {
            Meaning::More => None,
            Meaning::Ending => {
                self.seen = self.seen.max(Seen::Ending);
                None
            }
            Meaning::End => Some(Verdict::End),
            Meaning::Error(failure) => Some(Verdict::Error(failure)),
        }
    }
}

/// What the data of an event say of its type.
enum Kind<'a> {
    /// The raw JSON of `type`.
    Named(&'a [u8]),
    /// It has none, as an error of a gateway in between has none.
    Nameless { is_error: bool },
}

/// The type, which stands first as a rule: then the rest is not read.
fn kind(data: &[u8]) -> Kind<'_> {
    let mut is_error = false;
    for member in json::members(data, 0).map_while(Result::ok) {
        match &data[member.key] {
            b"\"type\"" => return Kind::Named(&data[member.value]),
            b"\"error\"" => is_error = &data[member.value] != b"null",
            _ => {}
        }
    }
    Kind::Nameless { is_error }
}

impl<P: Protocol> CallerStream for Typed<P> {
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
        if self.seen >= Seen::Ending {
            return Ok(());
        }
        Err(cut_short(self.seen > Seen::Nothing))
    }
}
