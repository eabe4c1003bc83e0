//! Streaming events on their way to one destination: at most one in flight per call; what comes
//! meanwhile merges into the next one, so that a slow receiver gets coarser updates and no backlog.
//!
//! Invariant: none is sent after its call's outcome, and no text is lost on the way: a piece that
//! fails merges into the next one, and the outcome carries the whole text in any case.

use std::collections::{BTreeSet, HashMap, VecDeque};

use domain::{
    event::{Detail, Event, Piece},
    id::{CallId, EventId},
    record::Sequence,
    time::Timestamp,
};
use webhook::format::Item;

/// The running streams of one lane.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    calls: HashMap<CallId, Stream>,
    /// Calls with a piece to send and none in flight.
    ready: VecDeque<CallId>,
    /// Calls whose last piece failed, until they may send again.
    resting: BTreeSet<(Timestamp, CallId)>,
}

#[derive(Debug, Default)]
struct Stream {
    waiting: VecDeque<Merged>,
    phase: Phase,
    /// Set once the call's outcome was read; empty if the destination does not want it.
    outcome: Option<Vec<Item>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Idle,
    Ready,
    Resting(Timestamp),
    InFlight,
}

/// A piece, perhaps of several records.
#[derive(Debug, Clone)]
pub(crate) struct Merged {
    /// The event as it is sent.
    pub(crate) event: Event,
    /// The records that it holds text of.
    pub(crate) sequences: Vec<Sequence>,
}

/// What the end of a piece sets free.
#[derive(Debug, Default)]
pub(crate) struct Released {
    /// Records whose text is given up.
    pub(crate) sequences: Vec<Sequence>,
    /// Outcomes that waited for it.
    pub(crate) outcome: Vec<Item>,
}

impl Streams {
    /// Takes a piece up behind those that wait.
    pub(crate) fn piece(&mut self, event: &Event, piece: &Piece) {
        let call = piece.call.id;
        let stream = self.calls.entry(call).or_default();
        let merged = Merged { event: event.clone(), sequences: vec![event.sequence] };
        match stream.waiting.iter_mut().rev().find(|m| choice(m) == Some(piece.choice_index)) {
            Some(before) => append(before, merged),
            None => stream.waiting.push_back(merged),
        }
        if stream.phase == Phase::Idle {
            stream.phase = Phase::Ready;
            self.ready.push_back(call);
        }
    }

    /// The next piece to send of any call; it is in flight from now on.
    pub(crate) fn next(&mut self, now: Timestamp) -> Option<Merged> {
        while let Some((due, call)) = self.resting.first().copied().filter(|(due, _)| *due <= now) {
            self.resting.remove(&(due, call));
            if let Some(stream) = self.calls.get_mut(&call) {
                stream.phase = Phase::Ready;
                self.ready.push_back(call);
            }
        }
        while let Some(call) = self.ready.pop_front() {
            let Some(stream) = self.calls.get_mut(&call) else { continue };
            if let Some(next) = stream.waiting.pop_front() {
                stream.phase = Phase::InFlight;
                return Some(next);
            }
            stream.phase = Phase::Idle;
        }
        None
    }

    /// When the next call that rests may send again.
    pub(crate) fn due_at(&self) -> Option<Timestamp> {
        self.resting.first().map(|(due, _)| *due)
    }

    /// A piece was sent.
    pub(crate) fn sent(&mut self, call: CallId) -> Released {
        self.ended(call, None, Timestamp::default())
    }

    /// A piece failed: it goes back in front, to be sent with what follows from `again_at` on;
    /// unless the outcome is there already, for then it has had its one attempt.
    pub(crate) fn failed(&mut self, piece: Merged, again_at: Timestamp) -> Released {
        self.ended(piece.event.call().id, Some(piece), again_at)
    }

    fn ended(&mut self, call: CallId, failed: Option<Merged>, again_at: Timestamp) -> Released {
        let Some(stream) = self.calls.get_mut(&call) else { return Released::default() };
        let mut released = Released::default();
        let has_failed = failed.is_some();
        match failed {
            Some(failed) if stream.outcome.is_some() => released.sequences.extend(failed.sequences),
            Some(failed) => {
                match stream.waiting.iter_mut().find(|m| choice(m) == choice(&failed)) {
                    Some(after) => {
                        let later = std::mem::replace(after, failed);
                        append(after, later);
                    }
                    None => stream.waiting.push_front(failed),
                }
            }
            None => {}
        }
        if stream.waiting.is_empty() {
            stream.phase = Phase::Idle;
            if let Some(outcome) = stream.outcome.take() {
                released.outcome = outcome;
                self.calls.remove(&call);
            }
        } else if has_failed && stream.outcome.is_none() {
            stream.phase = Phase::Resting(again_at);
            self.resting.insert((again_at, call));
        } else {
            stream.phase = Phase::Ready;
            self.ready.push_back(call);
        }
        released
    }

    /// The call's outcome is there. Returns it if no piece is in flight or waits; else it is held.
    pub(crate) fn outcome(&mut self, call: CallId, items: Vec<Item>) -> Vec<Item> {
        let Some(stream) = self.calls.get_mut(&call) else { return items };
        if stream.waiting.is_empty() && stream.phase != Phase::InFlight {
            self.calls.remove(&call);
            return items;
        }
        stream.outcome = Some(items);
        if let Phase::Resting(due) = stream.phase {
            // Its one attempt more, now: the outcome should not wait for the rest.
            self.resting.remove(&(due, call));
            stream.phase = Phase::Ready;
            self.ready.push_back(call);
        }
        Vec::new()
    }

    /// Gives up pieces of calls whose outcome is there, as when the receiver is down: the outcomes
    /// go without waiting for them.
    pub(crate) fn give_up(&mut self) -> Released {
        let mut released = Released::default();
        self.calls.retain(|_, stream| {
            let Some(outcome) = &mut stream.outcome else { return true };
            let waiting = stream.waiting.drain(..);
            released.sequences.extend(waiting.flat_map(|merged| merged.sequences));
            if stream.phase == Phase::InFlight {
                return true;
            }
            released.outcome.append(outcome);
            false
        });
        released
    }

    /// Whether nothing waits, rests or is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.calls.values().all(|stream| stream.phase == Phase::Idle)
    }
}

fn choice(merged: &Merged) -> Option<u32> {
    match &merged.event.detail {
        Detail::Streaming(piece) => Some(piece.choice_index),
        Detail::Completion(_) | Detail::Error(_) => None,
    }
}

/// Makes one piece of two that follow each other.
fn append(before: &mut Merged, after: Merged) {
    before.sequences.extend(after.sequences);
    let (Detail::Streaming(first), Detail::Streaming(second)) =
        (&mut before.event.detail, after.event.detail)
    else {
        return;
    };
    first.content.push_str(&second.content);
    first.token_index = second.token_index;
    first.finish_reason = second.finish_reason.or(first.finish_reason.take());
    before.event.occurred_at = after.event.occurred_at;
    before.event.sequence = after.event.sequence;
    before.event.id = EventId::of_piece(
        first.call.id,
        first.choice_index,
        first.token_index_first,
        first.token_index,
    );
}
