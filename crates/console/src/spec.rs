//! A destination as our own door writes it: the keys of an entry of `webhooks:` in the configuration.
//!
//! Says what may be written and finds every mistake of form at once; what the values mean is
//! `check`'s business.
//!
//! Invariant: a spec may hold secrets, so it has no `Debug` form.

pub(crate) mod check;

pub(crate) mod describe;

mod mistakes;

mod names;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

pub(crate) use mistakes::{read as read_fields, read_rest};
pub use names::{
    BodiesName, CompatName, CompressionName, EventTypeName, FormatName, GenerationGroupName,
    IntegersName, LogFormatName, LogicName, MethodName, ModeName, ProfileName, RuleFieldName,
    RuleOperatorName, SeverityName, SignedContentName,
};

/// A destination's settings. What is left out, or null, has its default.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(example = json!({
    "name": "audit",
    "url": "https://receiver.example/hooks",
    "event_types": ["completion", "error"],
}))]
pub struct DestinationSpec {
    /// Its name: 1 to 100 printable characters, unlike that of any other. Needed at creation; it
    /// cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 100, example = "audit")]
    pub name: Option<String>,
    /// Where events go. Needed at creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        pattern = "^[Hh][Tt][Tt][Pp][Ss]?://[^\\s]+$",
        max_length = 4_096,
        example = "https://receiver.example/hooks"
    )]
    pub url: Option<String>,
    /// The HTTP method. Default: `POST`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<MethodName>,
    /// Headers of your own. Their values are secrets: they are masked when they are read, and a
    /// masked value that is written changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = json!({"Authorization": "Bearer receiver-token"}))]
    pub headers: Option<BTreeMap<String, String>>,
    /// What deliveries are signed with: `whsec_` and base64, or any text. Default: a new one is made
    /// and shown once. Written later, it replaces the one in force at once; `rotate-secret` lets both
    /// sign for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    pub secret: Option<String>,
    /// What the gateway's own signature covers. Default: `timestamp`, and a point, and the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_content: Option<SignedContentName>,
    /// How events are written. Default: `event`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<FormatName>,
    /// Of `generic_api`: how payloads stand in a body. Default: `json_array`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormatName>,
    /// Of `otlp`: whose attributes traces have. Default: `openrouter`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileName>,
    /// Of `otlp`: how integers are written. Default: `string`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integers: Option<IntegersName>,
    /// Of `otlp` with `profile: openrouter`: groups of further facts of a generation, as
    /// `OpenRouter`'s `broadcast_generation_*` add them. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation_metadata: Option<Vec<GenerationGroupName>>,
    /// Of `helicone`: whether model, provider and metadata go along. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_data: Option<bool>,
    /// Of `helicone`: how the two bodies are written. Default: `object`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bodies: Option<BodiesName>,
    /// Of `cloudevents`: how events stand in a body. Default: `structured`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<ModeName>,
    /// Whether the format follows the real system or its document. Default: `real`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compat: Option<CompatName>,
    /// The types it gets. Default: those that the format has a form for, without `streaming` and
    /// those of operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1)]
    pub event_types: Option<Vec<EventTypeName>>,
    /// What narrows the events of a type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters: Option<BTreeMap<EventTypeName, FilterSpec>>,
    /// What narrows the calls, whatever the event's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<RulesSpec>,
    /// The share of calls it is told of; all events of a call, or of a session, go together.
    /// Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    pub sample_rate: Option<f64>,
    /// Events in a body, at most. Default: as the format has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10_000)]
    pub batch_size: Option<u32>,
    /// Seconds that the first event of a batch waits for others, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.001, maximum = 86_400)]
    pub flush_interval: Option<f64>,
    /// Deliveries a second, at most. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub rate_limit: Option<u32>,
    /// Milliseconds for connecting, sending and reading the answer. Default: as `delivery.timeout_ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 600_000)]
    pub timeout_ms: Option<u32>,
    /// Whether message texts are left out. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privacy: Option<bool>,
    /// How bodies are packed. Default: `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<CompressionName>,
    /// TLS towards it, where that is not as for every destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
    /// Whether deliveries go one by one in order: one that fails holds up the rest until it passes or
    /// is given up. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict_order: Option<bool>,
    /// Whether it is sent to. What happens while it is not is never sent; to have it sent later,
    /// pause. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// Whom the gateway trusts and what it shows of itself.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSpec {
    /// Root certificates as PEM, trusted in place of the bundled ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// A chain as PEM, the gateway's own certificate first, for receivers that ask for one (mTLS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<String>,
    /// Its private key as PEM (PKCS#8, PKCS#1 or SEC1, not encrypted). A secret: it is masked when it
    /// is read, and a masked one that is written changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key: Option<String>,
}

/// What narrows the events of one type. What is left out narrows nothing.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FilterSpec {
    /// Globs (`gpt-4*`), matched against the public and the provider's model name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["gpt-4*"]), required = false)]
    pub models: Vec<String>,
    /// Of completions: the fewest tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_tokens: Option<u64>,
    /// Of errors: severities.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub severity: Vec<SeverityName>,
    /// Globs, matched against the name of the caller's key; or a key's SHA-256 in hexadecimal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub keys: Vec<String>,
    /// Globs, matched against the end user.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub end_users: Vec<String>,
    /// Globs, of which one must match one of the call's tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub tags: Vec<String>,
    /// Properties that the call must have, all of them: names in any case, values exactly.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    pub properties: BTreeMap<String, String>,
}

/// Rules over the facts of a call, as `OpenRouter` has them. Every group must pass.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RulesSpec {
    /// Whether they hold. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Groups of rules.
    #[schema(required = false, max_items = 50)]
    pub groups: Vec<RuleGroupSpec>,
}

/// Rules that belong together.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RuleGroupSpec {
    /// Whether all rules must pass, or one of them. Default: `and`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logic: Option<LogicName>,
    /// The rules. A group without any passes.
    #[schema(required = false, max_items = 50)]
    pub rules: Vec<RuleSpec>,
}

/// One comparison.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(example = json!({"field": "total_tokens", "operator": "gte", "value": 1000}))]
pub struct RuleSpec {
    /// What is looked at. Needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<RuleFieldName>,
    /// How. Needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<RuleOperatorName>,
    /// What it is compared with; of no use to `exists` and `not_exists`, needed by all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<RuleValue>,
}

/// What a rule compares with.
#[derive(Clone, PartialEq, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum RuleValue {
    /// Text.
    Text(String),
    /// A number.
    Number(f64),
}

/// Numbers come out as people and programs write them: a whole one without a point.
impl Serialize for RuleValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => match whole(*number) {
                Some(whole) => serializer.serialize_i64(whole),
                None => serializer.serialize_f64(*number),
            },
        }
    }
}

/// The integer that a number is, if a double holds it and its neighbours exactly.
pub(crate) fn whole(number: f64) -> Option<i64> {
    const EXACT_MAX: f64 = (1_u64 << 53) as f64;
    (number.fract() == 0.0 && number.abs() < EXACT_MAX).then_some(number as i64)
}
