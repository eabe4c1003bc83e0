//! Events: what happened, derived from exchanges and pieces of streams.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    call::Call,
    exchange::Exchange,
    failure::LimitKind,
    id::{CallId, EventId},
    note::Note,
    record::Sequence,
    time::Timestamp,
    usage::{Cost, ModelPrice, Usage},
};

/// Something that happened, to be told to whoever asked for its type.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The same in every attempt and to every destination.
    pub id: EventId,
    /// The journal's position of the record that it follows from.
    pub sequence: Sequence,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// What happened.
    pub detail: Detail,
}

impl Event {
    /// Its type.
    pub fn kind(&self) -> EventType {
        match &self.detail {
            Detail::Completion(_) => EventType::Completion,
            Detail::Error(_) => EventType::Error,
            Detail::Streaming(_) => EventType::Streaming,
            Detail::RateLimit(_) => EventType::RateLimit,
            Detail::Noted(note) => note.kind(),
        }
    }

    /// The call that it is about, if it is about one.
    pub fn call(&self) -> Option<&Arc<Call>> {
        match &self.detail {
            Detail::Completion(report) | Detail::Error(report) => Some(&report.exchange.facts.call),
            Detail::Streaming(piece) => Some(&piece.call),
            Detail::RateLimit(limited) => Some(&limited.report.exchange.facts.call),
            Detail::Noted(_) => None,
        }
    }

    /// What the bytes of its call say, if it is about an exchange.
    pub fn report(&self) -> Option<&Arc<Report>> {
        match &self.detail {
            Detail::Completion(report) | Detail::Error(report) => Some(report),
            Detail::RateLimit(limited) => Some(&limited.report),
            Detail::Streaming(_) | Detail::Noted(_) => None,
        }
    }
}

/// What happened, by type.
#[derive(Debug, Clone, PartialEq)]
pub enum Detail {
    /// A call completed.
    Completion(Arc<Report>),
    /// A call failed; what was seen until then is in the report.
    Error(Arc<Report>),
    /// Tokens of a stream went by.
    Streaming(Piece),
    /// The gateway refused a call for its rate, or a provider did.
    RateLimit(RateLimited),
    /// News of no single call: its note says of which type.
    Noted(Arc<Note>),
}

/// A limit that a call ran into: the gateway's own, or a provider's in one of its attempts.
#[derive(Debug, Clone, PartialEq)]
pub struct RateLimited {
    /// The call, as it ended.
    pub report: Arc<Report>,
    /// The attempt that a provider refused, by its index; `None` for the gateway's own limit.
    pub attempt: Option<usize>,
    /// Whose limit: `key`, `deployment`, `gateway` or `provider`.
    pub scope: String,
    /// What it counts.
    pub kind: LimitKind,
    /// How much is allowed, if it is known.
    pub limit: Option<f64>,
    /// How much of it is left, if it is known.
    pub remaining: Option<f64>,
    /// Seconds after which to come back, if they are known.
    pub retry_after_secs: Option<u64>,
}

/// What the bytes of an exchange say. Made by `provider::derive`.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The raw facts.
    pub exchange: Arc<Exchange>,
    /// The answer as one JSON object of the API that was called (a chat completion, a message, …),
    /// whatever the dialect, streamed or not, with the provider's model name in it; `None` if no
    /// answer was seen.
    pub response: Option<Arc<str>>,
    /// The answer's id at the provider.
    pub response_id: Option<String>,
    /// The first choice's text, if it has any.
    pub text: Option<String>,
    /// What the first choice says of its reasoning, if anything.
    pub reasoning: Option<String>,
    /// The first choice's tool calls as `OpenAI`'s JSON list, if it has any.
    pub tool_calls: Option<String>,
    /// Why the first choice ended, in `OpenAI`'s words (`stop`, `length`, `tool_calls`, …).
    pub finish_reason: Option<String>,
    /// Tokens, if the provider reported any.
    pub usage: Option<Usage>,
    /// The `usage` object in `OpenAI`'s shape, as JSON, if the provider reported one.
    pub usage_json: Option<String>,
    /// Cost, if the tokens and a price are known.
    pub cost: Option<Cost>,
    /// What the models cost that were asked, one element per attempt of the exchange; `None` for
    /// a model without a known price.
    pub prices: Vec<Option<ModelPrice>>,
}

/// A range of a stream's tokens: one delta counts as one token.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// The call that streams.
    pub call: Arc<Call>,
    /// Which choice.
    pub choice_index: u32,
    /// The first token of the range, counted from 0 within the choice.
    pub token_index_first: u32,
    /// The last token of the range.
    pub token_index: u32,
    /// The range's text.
    pub content: String,
    /// Set on the piece that ends the choice.
    pub finish_reason: Option<String>,
}

/// One delta of a stream as a record keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// Which choice.
    pub choice_index: u32,
    /// Its position, counted from 0 within the choice.
    pub token_index: u32,
    /// Its text; empty on a delta that only ends the choice.
    pub content: String,
    /// Set on the delta that ends the choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
}

/// The deltas that one read from a provider brought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Captured {
    /// The call that streams.
    pub call: Arc<Call>,
    /// When they came.
    pub at: Timestamp,
    /// At least one, in order of arrival.
    pub deltas: Vec<Delta>,
}

impl Captured {
    /// The id of the call that streams.
    pub fn call_id(&self) -> CallId {
        self.call.id
    }
}

/// Types of events. The text forms of the first five are seed 002's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// A call completed.
    Completion,
    /// A call failed.
    Error,
    /// Tokens of a stream.
    Streaming,
    /// Spending reached a threshold.
    Budget,
    /// The gateway or a provider limited the rate.
    RateLimit,
    /// A destination is no longer sent to.
    #[serde(rename = "destination.disabled")]
    DestinationDisabled,
    /// A destination takes deliveries again.
    #[serde(rename = "destination.recovered")]
    DestinationRecovered,
    /// A delivery was given up.
    #[serde(rename = "delivery.exhausted")]
    DeliveryExhausted,
}

impl EventType {
    /// All types.
    pub const ALL: [Self; 8] = [
        Self::Completion,
        Self::Error,
        Self::Streaming,
        Self::Budget,
        Self::RateLimit,
        Self::DestinationDisabled,
        Self::DestinationRecovered,
        Self::DeliveryExhausted,
    ];

    /// Whether it is news of the gateway's own deliveries, and not of LLM traffic.
    pub const fn is_operational(self) -> bool {
        matches!(
            self,
            Self::DestinationDisabled | Self::DestinationRecovered | Self::DeliveryExhausted
        )
    }

    /// The text form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completion => "completion",
            Self::Error => "error",
            Self::Streaming => "streaming",
            Self::Budget => "budget",
            Self::RateLimit => "rate_limit",
            Self::DestinationDisabled => "destination.disabled",
            Self::DestinationRecovered => "destination.recovered",
            Self::DeliveryExhausted => "delivery.exhausted",
        }
    }
}
