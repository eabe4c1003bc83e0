//! Exchanges to events.
//!
//! Reads journal entries, makes events. Which destination gets one is not decided here, nor how it
//! is written.
//!
//! Invariant: a pure function. Deriving an entry again, in another process and years later, gives
//! the same events with the same ids, as long as the price data are the same.

mod limits;

use std::sync::Arc;

use domain::{
    call::{Endpoint, Logging},
    event::{Captured, Detail, Event, EventType, Piece, Report},
    exchange::{Exchange, Outcome},
    id::EventId,
    note::Note,
    record::{Entry, Record, Sequence},
    usage::Usage,
};

use crate::{
    answer::answer,
    price::{Prices, Tier},
};

/// The events that follow from a record: one for an outcome and one for each limit that the call ran
/// into, one per choice for a piece of a stream, none for an admission or a call that asked for no
/// events.
pub fn derive(entry: &Entry, prices: &Prices) -> Vec<Event> {
    match &entry.record {
        Record::Admitted(_) => Vec::new(),
        Record::Captured(captured) if captured.call.logging == Logging::Off => Vec::new(),
        Record::Captured(captured) => pieces(entry.sequence, captured),
        Record::Sealed(exchange) if exchange.facts.call.logging == Logging::Off => Vec::new(),
        Record::Sealed(exchange) => sealed(entry.sequence, exchange, prices),
        Record::Noted(note) => vec![noted(entry.sequence, note)],
    }
}

fn sealed(sequence: Sequence, exchange: &Arc<Exchange>, prices: &Prices) -> Vec<Event> {
    let facts = &exchange.facts;
    let report = Arc::new(report(exchange, prices));
    let (kind, detail) = match facts.outcome {
        Outcome::Completed => (EventType::Completion, Detail::Completion(Arc::clone(&report))),
        Outcome::Failed(_) => (EventType::Error, Detail::Error(Arc::clone(&report))),
    };
    let outcome = Event {
        id: EventId::of_outcome(facts.call.id, kind),
        sequence,
        occurred_at: facts.finished_at,
        detail,
    };
    let mut events = vec![outcome];
    events.extend(limits::limits(sequence, &report));
    events
}

/// What the bytes of an exchange say, whatever may be told of it: spending counts every call.
pub fn report(exchange: &Arc<Exchange>, prices: &Prices) -> Report {
    let facts = &exchange.facts;
    let answer = answer(exchange);
    let tier = answer.service_tier.as_deref().and_then(Tier::from_text);
    let charged = answer.usage.map(|usage| match facts.call.endpoint {
        // A vector is no text: there are no tokens that could be missing.
        Endpoint::Embeddings => Usage { output_tokens: usage.output_tokens.or(Some(0)), ..usage },
        _ => usage,
    });
    let cost = facts.attempts.last().zip(charged).and_then(|(attempt, usage)| {
        prices.cost_in(tier, &attempt.deployment, &usage, attempt.started_at)
    });
    Report {
        exchange: Arc::clone(exchange),
        response: answer.response,
        response_id: answer.id,
        text: answer.text,
        reasoning: answer.reasoning,
        tool_calls: answer.tool_calls,
        finish_reason: answer.finish_reason,
        usage: answer.usage,
        usage_json: answer.usage_json,
        cost,
        prices: facts
            .attempts
            .iter()
            .map(|attempt| prices.per_token(&attempt.deployment, attempt.started_at))
            .collect(),
    }
}

fn noted(sequence: Sequence, note: &Arc<Note>) -> Event {
    Event {
        id: note.id.clone(),
        sequence,
        occurred_at: note.at,
        detail: Detail::Noted(Arc::clone(note)),
    }
}

fn pieces(sequence: Sequence, captured: &Arc<Captured>) -> Vec<Event> {
    let mut pieces: Vec<Piece> = Vec::new();
    for delta in &captured.deltas {
        let known = pieces.iter().position(|piece| piece.choice_index == delta.choice_index);
        let at = known.unwrap_or(pieces.len());
        if known.is_none() {
            pieces.push(Piece {
                call: Arc::clone(&captured.call),
                choice_index: delta.choice_index,
                token_index_first: delta.token_index,
                token_index: delta.token_index,
                content: String::new(),
                finish_reason: None,
            });
        }
        let piece = &mut pieces[at];
        piece.token_index = delta.token_index;
        piece.content.push_str(&delta.content);
        if delta.finish_reason.is_some() {
            piece.finish_reason.clone_from(&delta.finish_reason);
        }
    }
    let event = |piece: Piece| Event {
        id: EventId::of_piece(
            piece.call.id,
            piece.choice_index,
            piece.token_index_first,
            piece.token_index,
        ),
        sequence,
        occurred_at: captured.at,
        detail: Detail::Streaming(piece),
    };
    pieces.into_iter().map(event).collect()
}
