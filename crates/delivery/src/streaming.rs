//! Streaming events on their way to one destination: at most one in flight per call; what comes
//! meanwhile merges into the next one, so that a slow receiver gets coarser updates and no backlog.
//!
//! Invariant: none is sent after its call's outcome. A piece that fails merges into the next one; one
//! that the receiver refuses is given up, and the outcome carries the whole text in any case.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

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
    /// By arrival, so that outcomes set free together go in that order.
    calls: BTreeMap<CallId, Stream>,
    /// Calls with a piece to send and none in flight.
    ready: VecDeque<CallId>,
    /// Calls whose last piece failed, until they may send again.
    resting: BTreeSet<(Timestamp, CallId)>,
    /// Calls whose outcome has a row while the journal is yet to be read up to it.
    over: HashSet<CallId>,
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
    /// The records with its text that hold the cursor: what has failed once does not.
    pub(crate) sequences: Vec<Sequence>,
    call: CallId,
}

impl Merged {
    /// The call that streams.
    pub(crate) fn call_id(&self) -> CallId {
        self.call
    }
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
    /// The call's outcome has a row, and may be sent before the records of its pieces are read.
    pub(crate) fn pass_over(&mut self, call: CallId) {
        self.over.insert(call);
    }

    /// Whether pieces of the call come too late.
    pub(crate) fn is_over(&self, call: CallId) -> bool {
        self.over.contains(&call)
    }

    /// Takes a piece up behind those that wait.
    pub(crate) fn piece(&mut self, event: &Event, piece: &Piece) {
        let call = piece.call.id;
        let stream = self.calls.entry(call).or_default();
        let merged =
            Merged { event: event.clone(), sequences: vec![event.sequence], call: piece.call.id };
        match stream.waiting.iter_mut().rev().find(|before| follow(before, &merged)) {
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

    /// A piece is given up: the outcome has its text.
    pub(crate) fn given_up(&mut self, piece: Merged) -> Released {
        let mut released = self.ended(piece.call_id(), None, Timestamp::default());
        released.sequences.extend(piece.sequences);
        released
    }

    /// A piece failed: it goes back in front, to be sent with what follows from `again_at` on;
    /// unless the outcome is there already, for then it has had its one attempt.
    pub(crate) fn failed(&mut self, piece: Merged, again_at: Timestamp) -> Released {
        self.ended(piece.call_id(), Some(piece), again_at)
    }

    fn ended(&mut self, call: CallId, failed: Option<Merged>, again_at: Timestamp) -> Released {
        let Some(stream) = self.calls.get_mut(&call) else { return Released::default() };
        let mut released = Released::default();
        let has_failed = failed.is_some();
        match failed {
            Some(failed) if stream.outcome.is_some() => released.sequences.extend(failed.sequences),
            Some(failed) => match stream.waiting.iter_mut().find(|after| follow(&failed, after)) {
                Some(after) => {
                    let later = std::mem::replace(after, failed);
                    append(after, later);
                }
                None => stream.waiting.push_front(failed),
            },
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
        self.over.remove(&call);
        let Some(stream) = self.calls.get_mut(&call) else { return items };
        if stream.waiting.is_empty() && stream.phase != Phase::InFlight {
            self.calls.remove(&call);
            return items;
        }
        // One record may make several: an error, and the limit that made it.
        stream.outcome.get_or_insert_default().extend(items);
        if let Phase::Resting(due) = stream.phase {
            // Its one attempt more, now: the outcome should not wait for the rest.
            self.resting.remove(&(due, call));
            stream.phase = Phase::Ready;
            self.ready.push_back(call);
        }
        Vec::new()
    }

    /// Whether an outcome waits for the last piece of its call.
    pub(crate) fn holds_outcome(&self) -> bool {
        self.calls.values().any(|stream| stream.outcome.is_some())
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

    /// Gives up all pieces that wait, those of running calls too.
    pub(crate) fn give_up_all(&mut self) -> Released {
        let mut released = self.give_up();
        let waiting = self.calls.values_mut().flat_map(|stream| stream.waiting.drain(..));
        released.sequences.extend(waiting.flat_map(|merged| merged.sequences));
        released
    }

    /// Bytes of text that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.calls.values().flat_map(|stream| &stream.waiting).map(text_bytes).sum()
    }

    /// Whether nothing waits, rests or is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.calls.values().all(|stream| stream.phase == Phase::Idle)
    }
}

fn text_bytes(merged: &Merged) -> usize {
    match &merged.event.detail {
        Detail::Streaming(piece) => piece.content.len(),
        _ => 0,
    }
}

/// Whether two pieces are of one choice, without a gap: what was between may have been given up.
fn follow(before: &Merged, after: &Merged) -> bool {
    let (Detail::Streaming(before), Detail::Streaming(after)) =
        (&before.event.detail, &after.event.detail)
    else {
        return false;
    };
    before.choice_index == after.choice_index
        && before.token_index.checked_add(1) == Some(after.token_index_first)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use domain::call::Call;

    use super::*;

    fn call() -> Arc<Call> {
        Arc::new(Call { stream: true, ..domain::sample::call() })
    }

    fn feed(streams: &mut Streams, choice_index: u32, token: u32, text: &str) {
        let piece = Piece {
            call: call(),
            choice_index,
            token_index_first: token,
            token_index: token,
            content: text.into(),
            finish_reason: None,
        };
        let event = Event {
            id: EventId::of_piece(piece.call.id, choice_index, token, token),
            sequence: Sequence(u64::from(token) + 1),
            occurred_at: Timestamp::from_millis(i64::from(token)),
            detail: Detail::Streaming(piece.clone()),
        };
        streams.piece(&event, &piece);
    }

    fn next(streams: &mut Streams, now: i64) -> Option<(Merged, String)> {
        let merged = streams.next(Timestamp::from_millis(now))?;
        let Detail::Streaming(piece) = &merged.event.detail else { return None };
        let range = format!("{}-{} ", piece.token_index_first, piece.token_index);
        let text = range + &piece.content;
        Some((merged, text))
    }

    fn outcome() -> Vec<Item> {
        let id = EventId::from_stored("evt_outcome");
        vec![Item { id, sequence: Sequence(9), bytes: Bytes::new() }]
    }

    #[test]
    fn what_comes_while_a_piece_is_in_flight_merges_into_the_next() {
        let mut streams = Streams::default();
        feed(&mut streams, 0, 0, "a");
        let (_, first) = next(&mut streams, 0).expect("the first goes at once");
        feed(&mut streams, 0, 1, "b");
        feed(&mut streams, 0, 2, "c");
        assert!(next(&mut streams, 0).is_none(), "one at a time");
        streams.sent(call().id);
        let (merged, second) = next(&mut streams, 0).expect("the rest follows");
        assert_eq!((first.as_str(), second.as_str()), ("0-0 a", "1-2 bc"));
        assert_eq!(merged.sequences, [Sequence(2), Sequence(3)]);
    }

    #[test]
    fn a_piece_that_fails_rests_and_goes_again_with_what_followed() {
        let mut streams = Streams::default();
        feed(&mut streams, 0, 0, "a");
        let (failed, _) = next(&mut streams, 0).expect("the first goes at once");
        feed(&mut streams, 0, 1, "b");
        streams.failed(failed, Timestamp::from_millis(50));
        assert!(next(&mut streams, 49).is_none());
        assert_eq!(next(&mut streams, 50).expect("it has rested").1, "0-1 ab");
    }

    #[test]
    fn choices_do_not_mix() {
        let mut streams = Streams::default();
        feed(&mut streams, 0, 0, "a");
        feed(&mut streams, 1, 0, "x");
        feed(&mut streams, 0, 1, "b");
        assert_eq!(next(&mut streams, 0).expect("choice 0").1, "0-1 ab");
        streams.sent(call().id);
        assert_eq!(next(&mut streams, 0).expect("choice 1").1, "0-0 x");
    }

    #[test]
    fn the_outcome_waits_for_the_last_piece_to_be_sent_or_to_fail_once() {
        for fails in [false, true] {
            let mut streams = Streams::default();
            feed(&mut streams, 0, 0, "a");
            let (piece, _) = next(&mut streams, 0).expect("the first goes at once");
            assert!(streams.outcome(call().id, outcome()).is_empty());
            let released = if fails {
                streams.failed(piece, Timestamp::from_millis(50))
            } else {
                streams.sent(call().id)
            };
            assert_eq!(released.outcome.len(), 1);
            assert_eq!(released.sequences.len(), usize::from(fails));
            assert!(next(&mut streams, 100).is_none());
            assert!(streams.is_idle());
        }
    }

    #[test]
    fn an_error_and_the_limit_that_made_it_wait_for_the_same_piece() {
        let mut streams = Streams::default();
        feed(&mut streams, 0, 0, "a");
        next(&mut streams, 0).expect("the first goes at once");
        for _ in 0..2 {
            assert!(streams.outcome(call().id, outcome()).is_empty());
        }
        assert_eq!(streams.sent(call().id).outcome.len(), 2);
    }

    #[test]
    fn when_the_receiver_is_down_outcomes_do_not_wait_for_pieces() {
        let mut streams = Streams::default();
        feed(&mut streams, 0, 0, "a");
        assert!(streams.outcome(call().id, outcome()).is_empty());
        let released = streams.give_up();
        assert_eq!((released.outcome.len(), released.sequences), (1, vec![Sequence(1)]));
        assert!(next(&mut streams, 100).is_none());
    }

    #[test]
    fn when_nothing_else_can_be_read_running_calls_lose_the_pieces_that_wait() {
        let mut streams = Streams::default();
        feed(&mut streams, 0, 0, "a");
        let released = streams.give_up_all();
        assert_eq!((released.outcome.len(), released.sequences), (0, vec![Sequence(1)]));
        feed(&mut streams, 0, 1, "b");
        assert_eq!(next(&mut streams, 0).expect("what comes later goes").1, "1-1 b");
        assert!(streams.outcome(call().id, outcome()).is_empty(), "one is in flight");
        assert_eq!(streams.give_up_all().outcome.len(), 0);
        assert_eq!(streams.sent(call().id).outcome.len(), 1);
    }

    #[test]
    fn a_piece_that_fails_does_not_merge_over_what_was_given_up() {
        let mut streams = Streams::default();
        feed(&mut streams, 0, 0, "a");
        let (failed, _) = next(&mut streams, 0).expect("the first goes at once");
        feed(&mut streams, 0, 1, "b");
        assert_eq!(streams.give_up_all().sequences, [Sequence(2)]);
        feed(&mut streams, 0, 2, "c");
        streams.failed(failed, Timestamp::from_millis(50));
        feed(&mut streams, 0, 3, "d");
        assert_eq!(next(&mut streams, 50).expect("it has rested").1, "0-0 a");
        streams.sent(call().id);
        assert_eq!(next(&mut streams, 50).expect("behind the gap").1, "2-3 cd");
    }

    #[test]
    fn pieces_come_too_late_while_their_outcome_has_a_row_and_is_yet_to_be_read() {
        let mut streams = Streams::default();
        streams.pass_over(call().id);
        assert!(streams.is_over(call().id));
        streams.outcome(call().id, Vec::new());
        assert!(!streams.is_over(call().id), "nothing is remembered of it");
    }

    #[test]
    fn a_call_without_pieces_has_nothing_to_wait_for() {
        assert_eq!(Streams::default().outcome(call().id, outcome()).len(), 1);
    }
}
