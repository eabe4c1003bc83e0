//! A destination: where events go, in which format, and how hard to try. Every system's
//! configuration maps onto this one type.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{event::EventType, failure::Severity, id::DestinationName, secret::Secret};

/// Where events go. Built and checked by `hookgate::config`; every value is final.
#[derive(Debug, Clone, PartialEq)]
pub struct Destination {
    /// Its name, which is also its lane's.
    pub name: DestinationName,
    /// An absolute `http` or `https` URL, without userinfo (that became a header).
    pub url: String,
    /// How bodies are sent.
    pub method: Method,
    /// Headers of the user's own, in order. Their values count as secrets.
    pub headers: Vec<(String, Secret)>,
    /// How events are written.
    pub format: Format,
    /// Whether the format follows the real system or its document.
    pub compat: Compat,
    /// The types it asked for.
    pub event_types: Vec<EventType>,
    /// What narrows them, by type; a type without an entry passes whole.
    pub filters: Vec<(EventType, EventFilter)>,
    /// What narrows the calls, whatever the event's type (`OpenRouter`'s filter rules).
    pub rules: Option<FilterRules>,
    /// The share of calls to tell of, `0.0..=1.0`; the same calls for all their events.
    pub sample_rate: f64,
    /// How events gather into one body.
    pub batch: Batch,
    /// When to try again, and when to stop.
    pub retry: RetryPolicy,
    /// One deadline for connecting, sending and reading the answer.
    pub timeout: Duration,
    /// Attempts running at once, at most.
    pub concurrent_deliveries: usize,
    /// Events read ahead of the cursor, at most. Nothing is dropped at the bound: reading waits.
    pub queue_size: usize,
    /// Deliveries a second, at most.
    pub rate_limit: Option<u32>,
    /// Whether message texts are left out.
    pub privacy: bool,
    /// How bodies are packed.
    pub compression: Compression,
    /// How bodies are signed; `None` sends them unsigned.
    pub signing: Option<Signing>,
    /// Whether its address may be private: true for those of the operator's own file.
    pub allow_private: bool,
    /// Whom it trusts and how it shows itself, where that is not as for every destination.
    pub tls: Option<Tls>,
    /// Whether deliveries go one by one in the journal's order: one that fails holds up the rest
    /// until it passes or is given up.
    pub strict_order: bool,
    /// The standby that the lane sends to while this one is failing.
    pub backup: Option<Box<Destination>>,
}

impl Destination {
    /// Whether it asked for events of a type.
    pub fn wants(&self, kind: EventType) -> bool {
        self.event_types.contains(&kind)
    }

    /// The filter for a type, if there is one.
    pub fn filter(&self, kind: EventType) -> Option<&EventFilter> {
        self.filters.iter().find(|(k, _)| *k == kind).map(|(_, filter)| filter)
    }
}

/// What a destination does unless its own settings say otherwise (the sections `retry`, `delivery`
/// and `security` of a configuration).
#[derive(Debug, Clone, PartialEq)]
pub struct Defaults {
    /// When to try again, and when to stop.
    pub retry: RetryPolicy,
    /// One deadline for connecting, sending and reading the answer.
    pub timeout: Duration,
    /// Attempts running at once, at most.
    pub concurrent_deliveries: usize,
    /// Events read ahead of the cursor, at most.
    pub queue_size: usize,
    /// Bytes of a body, at most, unless a single event is larger.
    pub batch_bytes_max: usize,
    /// The hash of the gateway's own signature header.
    pub signature_algorithm: SignatureAlgorithm,
    /// The gateway's own signature header.
    pub signature_header: String,
}

/// TLS towards one destination. Built and checked by `hookgate::config` or a door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Root certificates as PEM, instead of the bundled ones; `None` trusts those.
    pub roots: Option<String>,
    /// What the gateway shows of itself (mTLS).
    pub client: Option<ClientCertificate>,
}

/// A certificate to show, and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The chain as PEM, the gateway's own certificate first.
    pub chain: String,
    /// Its private key as PEM (PKCS#8, PKCS#1 or SEC1).
    pub key: Secret,
}

/// The HTTP method of deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// POST.
    #[default]
    Post,
    /// PUT.
    Put,
}

/// How events are written for a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// LiteLLM's generic API callback: `StandardLoggingPayload`s.
    GenericApi(LogFormat),
    /// Gateway events as in seed 002: one JSON object a body.
    Event,
    /// OTLP/JSON traces (seed 003).
    Otlp(Otlp),
    /// Helicone's webhook payload (seed 004).
    Helicone(Helicone),
    /// The `CloudEvents` 1.0 envelope around a gateway event.
    CloudEvents(CloudEventsMode),
    /// LiteLLM's alert webhook: budget events only.
    LitellmAlert,
}

impl Format {
    /// The types that it has a form for.
    pub const fn event_types(self) -> &'static [EventType] {
        const OUTCOMES: &[EventType] = &[EventType::Completion, EventType::Error];
        match self {
            Self::Event | Self::CloudEvents(_) => &EventType::ALL,
            Self::GenericApi(_) | Self::Otlp(_) | Self::Helicone(_) => OUTCOMES,
            Self::LitellmAlert => &[EventType::Budget],
        }
    }

    /// Events in a body, at most, and the longest that the first of them waits, unless the
    /// destination says otherwise. LiteLLM documents 100 events and a minute; `OpenRouter` sends each
    /// request's trace at once.
    pub const fn default_batch(self) -> (usize, Duration) {
        match self {
            Self::GenericApi(LogFormat::JsonArray | LogFormat::Ndjson) => {
                (100, Duration::from_mins(1))
            }
            Self::CloudEvents(CloudEventsMode::Batch) => (100, Duration::from_secs(1)),
            Self::Otlp(_) => (1, Duration::from_secs(1)),
            _ => (1, Duration::ZERO),
        }
    }
}

/// What `otlp` can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Otlp {
    /// Which names the attributes have.
    pub profile: OtlpProfile,
    /// How integers are written.
    pub integers: OtlpIntegers,
    /// What is told of a generation beside the usual; of the `OpenRouter` profile.
    pub generation_metadata: GenerationMetadata,
}

/// Groups of facts of a generation that `OpenRouter` tells only where a destination asks for them
/// (`broadcast_generation_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GenerationMetadata {
    /// Tokens and cost.
    pub cost: bool,
    /// Ids, the end user, the application.
    pub identity: bool,
    /// How it was asked for and how it went.
    pub request_context: bool,
}

/// Whose attributes a trace has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtlpProfile {
    /// `OpenRouter`'s Broadcast.
    #[default]
    OpenRouter,
    /// `OpenTelemetry`'s conventions for generative AI.
    GenAi,
}

/// How OTLP/JSON writes 64-bit integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtlpIntegers {
    /// As decimal text, as OTLP's encoding and seed 003 have them.
    #[default]
    String,
    /// As JSON numbers, as `OpenRouter` really sends them.
    Number,
}

/// What `helicone` can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Helicone {
    /// Whether model, provider, metadata and the link to the bodies go along (`includeData`).
    pub include_data: bool,
    /// How the two bodies are written.
    pub bodies: HeliconeBodies,
}

/// How a Helicone payload holds a call's bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeliconeBodies {
    /// As JSON objects, as Helicone really sends them.
    #[default]
    Object,
    /// As text of at most 10 KiB each, as its documentation and its test event have them.
    String,
}

/// How `CloudEvents` are put into a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloudEventsMode {
    /// One event a body.
    #[default]
    Structured,
    /// A JSON array of events.
    Batch,
}

/// How bodies are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// `Content-Encoding: gzip`. Signatures cover the body before it is packed.
    Gzip,
}

/// How `generic_api` puts several payloads into a body (LiteLLM's `log_format`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// A JSON array, also for one payload.
    #[default]
    JsonArray,
    /// One payload a line.
    Ndjson,
    /// One payload a body, bare.
    Single,
}

/// What a format follows where a system and its document differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compat {
    /// What the system really sends.
    #[default]
    Real,
    /// What its document shows, word by word.
    Document,
}

/// What narrows the events of one type. An empty list or `None` narrows nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EventFilter {
    /// Globs (`gpt-4*`), matched against the public and the provider's model name.
    pub models: Vec<String>,
    /// The fewest tokens; an event without a count passes.
    pub min_tokens: Option<u64>,
    /// Severities of errors.
    pub severity: Vec<Severity>,
    /// Globs, matched against the name of the caller's key.
    pub keys: Vec<String>,
    /// Globs, matched against the end user.
    pub end_users: Vec<String>,
    /// Globs, of which one must match one of the call's tags.
    pub tags: Vec<String>,
    /// Properties that the call must have, all of them: names without regard to case, values exactly
    /// (Helicone's property filters; `model` and `user_id` fall back to the call's own).
    pub properties: Vec<(String, String)>,
}

/// Rules over the facts of a call (`OpenRouter`'s `filter_rules`). Every group must pass.
#[derive(Debug, Clone, PartialEq)]
pub struct FilterRules {
    /// A group that has no rule passes.
    pub groups: Vec<RuleGroup>,
}

/// Rules that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleGroup {
    /// Whether one of them is enough.
    pub any: bool,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// What is looked at.
    pub field: RuleField,
    /// How.
    pub operator: RuleOperator,
    /// What it is compared with, as text; empty for `exists` and `not_exists`.
    pub value: String,
}

/// What a rule looks at. The text forms are `OpenRouter`'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is what its name says")]
pub enum RuleField {
    Model,
    Provider,
    SessionId,
    UserId,
    ApiKeyName,
    FinishReason,
    Input,
    Output,
    TotalCost,
    TotalTokens,
    PromptTokens,
    CompletionTokens,
}

/// How a rule compares. The text forms are `OpenRouter`'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is what its name says")]
pub enum RuleOperator {
    Equals,
    NotEquals,
    Contains,
    NotContains,
    Regex,
    StartsWith,
    EndsWith,
    Gt,
    Lt,
    Gte,
    Lte,
    Exists,
    NotExists,
}

/// When events gathered for a body are sent: whichever bound is reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Events in a body, at most; 1 sends each on its own.
    pub events_max: usize,
    /// Bytes of a body, at most, unless a single event is larger.
    pub bytes_max: usize,
    /// The longest that the first event of a batch waits for others.
    pub flush_interval: Duration,
}

/// When to try again, and when to stop.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Attempts of one delivery, the first included.
    pub max_attempts: u32,
    /// The ceiling of the first wait.
    pub initial_delay: Duration,
    /// By how much the ceiling grows with each attempt.
    pub multiplier: f64,
    /// Where the ceiling stops growing.
    pub max_delay: Duration,
    /// The most that a receiver's `Retry-After` may ask for.
    pub retry_after_max: Duration,
    /// Statuses worth another attempt, beside time-outs and broken connections.
    pub retryable_status_codes: Vec<u16>,
}

/// How bodies are signed.
#[derive(Debug, Clone, PartialEq)]
pub struct Signing {
    /// The secrets in force, the newest first. One that begins with `whsk_` is an ed25519 private key
    /// (Standard Webhooks' asymmetric form), any other is a key of an HMAC. Only a header that can
    /// carry several signatures uses more than the first.
    pub secrets: Vec<Secret>,
    /// The hash of the gateway's own header.
    pub algorithm: SignatureAlgorithm,
    /// The gateway's own header (seed 002's `signature_header`).
    pub header: String,
    /// What that header's signature covers.
    pub signed_content: SignedContent,
}

/// The hash under an HMAC signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignatureAlgorithm {
    /// HMAC-SHA-256.
    #[default]
    Sha256,
    /// HMAC-SHA-512.
    Sha512,
}

/// What a signature covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignedContent {
    /// `timestamp.body`, so that an old body cannot be sent again.
    #[default]
    TimestampAndBody,
    /// The body alone.
    Body,
}
