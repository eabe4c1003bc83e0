//! OTLP/JSON traces, as `OpenRouter`'s Broadcast sends them (seed 003) or by the `GenAI`
//! conventions: one call is one trace of a root span and its children.
//!
//! The two profiles share the envelope, the ids, the times and the states; they differ in names,
//! kinds and attributes. `openrouter` follows captured deliveries of 2026-09 where `OpenRouter`'s
//! documentation differs, and `Compat::Document` adds what the documentation shows. What differs
//! from the captures, and why:
//!
//! - A call that failed before any provider was asked has a trace, too: each outcome is told.
//! - Integers are text, as OTLP has them, unless `integers: number`.
//! - What `OpenRouter` alone can know is left out (accounts, times of response heads).
//! - A `trace_id` of 32 hexadecimal digits and a `parent_span_id` of 16 are taken as they are; any
//!   other is hashed, because a receiver refuses a whole body for one id that is none.
//! - `trace.metadata.hookgate.*` has the call's id, and which bodies the journal cut.
//!
//! Every id follows from the call's, so that a repeated delivery is recognised by its spans.
//!
//! Invariant: an item is one or more elements of `resourceSpans`, each with one span, that
//! `ExportTraceServiceRequest` of the OTLP protocol reads.

mod answer;
mod content;
mod genai;
mod generation;
mod ids;
mod messages;
mod openrouter;
mod span;
mod told;
mod vendors;

use bytes::Bytes;
use domain::{
    destination::{Destination, Otlp, OtlpIntegers, OtlpProfile},
    event::{Detail, Event},
    time::Timestamp,
};

use self::{
    span::{Span, Spans, State},
    told::Told,
};
use super::{Item, Shape};
use crate::matching::matches;

/// The trace of an outcome, if the destination wants it.
pub(super) fn items(event: &Event, otlp: Otlp, destination: &Destination) -> Vec<Item> {
    // A piece of a stream, a limit and a note are no traces of their own.
    let (Detail::Completion(report) | Detail::Error(report)) = &event.detail else {
        return Vec::new();
    };
    if !matches(event.kind(), event, destination) {
        return Vec::new();
    }
    let body = String::from_utf8_lossy(&report.exchange.request.bytes);
    let told = Told::new(report, &body, destination);
    let bytes = match otlp.profile {
        OtlpProfile::OpenRouter => openrouter::trace(&told, otlp),
        OtlpProfile::GenAi => genai::trace(&told, otlp.integers),
    };
    vec![Item { id: event.id.clone(), sequence: event.sequence, bytes: bytes.into() }]
}

/// Any number of traces in one export request.
pub(super) fn shape() -> Shape {
    Shape::many(["{\"resourceSpans\":[", ",", "]}"], "application/json")
}

/// What a destination is tried with before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// An export request without a span, as for `OpenRouter`'s `webhook` destinations. Some receivers
    /// answer 400 to it.
    Empty,
    /// One span of a millisecond, as for its `otel-collector` destinations.
    Span {
        /// When it ended.
        ended_at: Timestamp,
    },
}

/// The body of a connection test.
pub fn test_payload(test: Test) -> Bytes {
    let [first, _, last] = shape().around;
    let spans = match test {
        Test::Empty => Vec::new(),
        Test::Span { ended_at } => {
            let mut spans = Spans::new(OtlpIntegers::default(), "openrouter", |resource| {
                resource.text("service.name", "openrouter");
            });
            let millisecond = std::time::Duration::from_millis(1);
            let span = Span {
                trace_id: "00000000000000000000000000000001",
                id: "0000000000000001",
                parent_id: None,
                name: "openrouter-connection-test",
                kind: span::INTERNAL,
                started_at: ended_at.minus(millisecond),
                ended_at,
                state: State::Ok,
            };
            spans.push(&span, |_| {});
            spans.into_bytes()
        }
    };
    [first.as_bytes(), &spans, last.as_bytes()].concat().into()
}
