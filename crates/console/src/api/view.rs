//! Destinations and tests as our own door shows them.

use delivery::{
    control::{BreakerStatus, LaneStatus, Preview},
    leftovers::Leftover,
};
use domain::{delivery::Timings, secret::Secret};
use serde::Serialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{SchemaType, Type},
    },
};

use super::moment;
use crate::{
    problem::FieldProblem,
    record::{Door, Record},
    service::Known,
    spec::{DestinationSpec, describe},
    trial::Tried,
};

/// All destinations.
#[derive(Serialize, ToSchema)]
pub(crate) struct DestinationList {
    /// Those of the configuration file in its order, then the others, oldest first; then those that are
    /// not there any more and left something.
    pub(crate) data: Vec<DestinationView>,
}

/// A destination: its settings as they are in force, secrets masked, and how it stands.
#[derive(Serialize)]
pub(crate) struct DestinationView {
    #[serde(flatten)]
    spec: DestinationSpec,
    #[serde(flatten)]
    own: DestinationFacts,
}

/// What a destination has beside its settings.
#[derive(Serialize, ToSchema)]
pub(crate) struct DestinationFacts {
    /// The id at its door; null for one of the configuration file.
    #[schema(example = "9f0e7a52-55c1-4ad4-9d2b-6d7c0e0f8a11")]
    id: Option<String>,
    /// Who made it. What the file says is changed there.
    source: Source,
    /// The public key that its receiver verifies with, if its secret is an ed25519 private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    /// The name that it has at its door, if that knows another.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    /// The standby that is sent to while this one fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<String>,
    /// When the secret before stops signing, during a rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    previous_secret_until: Option<String>,
    /// How it stands.
    status: StatusView,
    /// When it was made; null for one of the configuration file.
    #[schema(format = DateTime)]
    created_at: Option<String>,
    /// When it was last changed.
    #[schema(format = DateTime)]
    updated_at: Option<String>,
}

/// Who made a destination.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Source {
    /// The configuration file: read-only here.
    File,
    /// Our own door.
    Api,
    /// Helicone's door.
    Helicone,
    /// `OpenRouter`'s door.
    OpenRouter,
}

/// How a destination stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatusView {
    /// In one word.
    state: State,
    /// Why, where it is not active.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    since: Option<String>,
    /// What keeps it from being sent to, for one that is not allowed as it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    problems: Vec<FieldProblem>,
    /// Everything up to this record of the journal is settled.
    cursor: Option<u64>,
    /// Records behind it.
    lag: Option<u64>,
    /// Attempts that run now.
    in_flight: usize,
    /// Deliveries that were read and not yet taken by the receiver.
    waiting: usize,
    /// When the receiver last took one, since the gateway started.
    #[schema(format = DateTime)]
    delivered_at: Option<String>,
}

/// How a destination stands, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum State {
    /// It is sent to.
    Active,
    /// Its receiver is down: probes go out, nothing is lost.
    Failing,
    /// It is not sent to until it is resumed; what it wants meanwhile is kept.
    Paused,
    /// It is not enabled; what it wants meanwhile is not sent.
    Disabled,
    /// It is not allowed as it is, so it is not sent to.
    Invalid,
    /// It was taken out of the configuration file. What it left is kept and not sent, until it is put
    /// back or deleted.
    Removed,
}

impl DestinationView {
    /// A destination with its secrets masked.
    pub(crate) fn masked(known: &Known) -> Self {
        Self::new(known, false)
    }

    /// The same with its signing secret in clear, for the one answer that shows it.
    pub(crate) fn with_secret(known: &Known) -> Self {
        Self::new(known, true)
    }

    fn new(known: &Known, shows_secret: bool) -> Self {
        let record = known.record.as_ref();
        let mut spec = match (&known.destination, record) {
            (Ok(destination), _) => describe::describe(destination),
            (Err(_), Some(record)) => describe::masked(&record.spec),
            (Err(_), None) => DestinationSpec::default(),
        };
        spec.enabled = Some(record.is_none_or(Record::is_enabled));
        let secret = record.and_then(|record| record.secret.as_ref());
        if shows_secret {
            spec.secret = secret.map(|secret| secret.expose().to_owned());
        }
        let destination = known.destination.as_ref().ok();
        let newest = destination.and_then(|d| d.signing.as_ref()?.secrets.first());
        let own = DestinationFacts {
            id: record.map(|record| record.id.clone()),
            source: match record.map(|record| record.door) {
                None => Source::File,
                Some(Door::Api) => Source::Api,
                Some(Door::Helicone) => Source::Helicone,
                Some(Door::OpenRouter) => Source::OpenRouter,
            },
            public_key: newest.and_then(|secret: &Secret| webhook::sign::public_key(secret)),
            label: record.and_then(|r| r.own["name"].as_str()).map(str::to_owned),
            backup: destination
                .and_then(|d| d.backup.as_ref())
                .map(|backup| backup.name.as_str().to_owned()),
            previous_secret_until: record
                .and_then(|record| record.previous.as_ref())
                .map(|(_, until)| moment(*until)),
            status: StatusView::new(known),
            created_at: record.map(|record| moment(record.created_at)),
            updated_at: record.map(|record| moment(record.updated_at)),
        };
        Self { spec, own }
    }

    /// A destination that is not there any more: its name, and what it left.
    pub(crate) fn removed(leftover: &Leftover) -> Self {
        let spec = DestinationSpec {
            name: Some(leftover.name.as_str().to_owned()),
            enabled: Some(false),
            ..DestinationSpec::default()
        };
        let own = DestinationFacts {
            id: None,
            source: Source::File,
            public_key: None,
            label: None,
            backup: None,
            previous_secret_until: None,
            status: StatusView::removed(leftover),
            created_at: None,
            updated_at: None,
        };
        Self { spec, own }
    }
}

impl StatusView {
    fn removed(leftover: &Leftover) -> Self {
        let letters = match leftover.dead_letters {
            1 => "1 dead letter is".to_owned(),
            count => format!("{count} dead letters are"),
        };
        let reason = format!(
            "it is not in the configuration any more, and {letters} kept: put it back, or delete it"
        );
        Self {
            state: State::Removed,
            reason: Some(reason),
            since: None,
            problems: Vec::new(),
            cursor: Some(leftover.cursor.0),
            lag: Some(leftover.lag),
            in_flight: 0,
            waiting: leftover.waiting,
            delivered_at: None,
        }
    }

    fn new(known: &Known) -> Self {
        let status = known.status.as_ref();
        let (state, reason, since) = state_of(known);
        let problems = known.destination.as_ref().err().cloned().unwrap_or_default();
        Self {
            state,
            reason,
            since,
            problems,
            cursor: status.map(|status| status.cursor.0),
            lag: status.map(|status| status.lag),
            in_flight: status.map_or(0, |status| status.in_flight),
            waiting: status.map_or(0, |status| status.waiting),
            delivered_at: status.and_then(|status| status.delivered_at).map(moment),
        }
    }
}

fn state_of(known: &Known) -> (State, Option<String>, Option<String>) {
    if known.destination.is_err() {
        return (State::Invalid, Some("it is not allowed as it is".to_owned()), None);
    }
    let is_enabled = known.record.as_ref().is_none_or(Record::is_enabled);
    let disabled = known.status.as_ref().and_then(|status| status.disabled.as_ref());
    let since = disabled.map(|disabled| moment(disabled.since));
    if !is_enabled {
        return (State::Disabled, Some("`enabled` is false".to_owned()), since);
    }
    if let Some(disabled) = disabled {
        return (State::Paused, Some(disabled.why.clone()), since);
    }
    match known.status.as_ref() {
        Some(LaneStatus { breaker: BreakerStatus::Open { since, .. }, .. }) => {
            (State::Failing, Some("its receiver is down".to_owned()), Some(moment(*since)))
        }
        _ => (State::Active, None, None),
    }
}

impl PartialSchema for DestinationView {
    /// The settings' properties, and those of its own.
    fn schema() -> RefOr<Schema> {
        let RefOr::T(Schema::Object(spec)) = DestinationSpec::schema() else {
            return DestinationSpec::schema();
        };
        let RefOr::T(Schema::Object(mut view)) = DestinationFacts::schema() else {
            return DestinationFacts::schema();
        };
        let own = std::mem::replace(&mut view.properties, spec.properties);
        view.properties.extend(own);
        view.description = Some(
            "A destination: its settings as they are in force, secrets masked, and how it stands."
                .to_owned(),
        );
        RefOr::T(Schema::Object(view))
    }
}

impl ToSchema for DestinationView {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        DestinationSpec::schemas(schemas);
        DestinationFacts::schemas(schemas);
    }
}

/// The settings of a destination to be made: those of [`DestinationSpec`], of which two are needed.
/// Only its schema is used.
pub(crate) struct NewDestination;

impl PartialSchema for NewDestination {
    fn schema() -> RefOr<Schema> {
        let RefOr::T(Schema::Object(mut spec)) = DestinationSpec::schema() else {
            return DestinationSpec::schema();
        };
        for needed in ["name", "url"] {
            spec.required.push(needed.to_owned());
            if let Some(RefOr::T(Schema::Object(property))) = spec.properties.get_mut(needed) {
                property.schema_type = SchemaType::new(Type::String);
                property.default = None;
            }
        }
        spec.description = Some(
            "The settings of a destination to be made. What is left out, or null, has its default."
                .to_owned(),
        );
        RefOr::T(Schema::Object(spec))
    }
}

impl ToSchema for NewDestination {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        DestinationSpec::schemas(schemas);
    }
}

/// What came of a test.
#[derive(Serialize, ToSchema)]
pub(crate) struct TestView {
    /// Whether the receiver took it.
    passed: bool,
    /// The receiver's status, if it answered.
    #[schema(example = 200)]
    status: Option<u16>,
    /// The beginning of its answer.
    answer_start: String,
    /// Why there was no answer.
    error: Option<String>,
    /// The address that was dialled.
    #[schema(example = "203.0.113.7:443")]
    address: Option<String>,
    /// How long it took.
    duration_ms: u32,
    /// Where those milliseconds went.
    timings: TimingsView,
}

/// The phases of an attempt, in milliseconds; null for one that was not reached or not needed.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "units stand in names")]
pub(crate) struct TimingsView {
    /// Resolving the name.
    dns_ms: Option<u32>,
    /// Connecting.
    connect_ms: Option<u32>,
    /// The TLS handshake.
    tls_ms: Option<u32>,
    /// From the request's first byte to the answer's head.
    answer_ms: Option<u32>,
    /// Reading the answer's body.
    body_ms: Option<u32>,
}

impl From<Timings> for TimingsView {
    fn from(timings: Timings) -> Self {
        let Timings { dns_ms, connect_ms, tls_ms, answer_ms, body_ms } = timings;
        Self { dns_ms, connect_ms, tls_ms, answer_ms, body_ms }
    }
}

impl From<Tried> for TestView {
    fn from(tried: Tried) -> Self {
        let Tried { passed, tested } = tried;
        Self {
            passed,
            status: tested.status,
            answer_start: tested.answer_start,
            error: tested.error,
            address: tested.address,
            duration_ms: tested.duration_ms,
            timings: tested.timings.into(),
        }
    }
}

/// A secret, shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct RotatedView {
    /// The new secret, in clear.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    pub(crate) secret: String,
    /// Its public key, if it is an ed25519 private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) public_key: Option<String>,
    /// Until when the secret before signs too; null if it does not any more.
    #[schema(format = DateTime)]
    pub(crate) previous_secret_until: Option<String>,
}

/// The newest event that a destination would get, as it would be sent.
#[derive(Serialize, ToSchema)]
pub(crate) struct PreviewView {
    /// The request; null if none of the newest events is one that it wants.
    pub(crate) preview: Option<PreviewRequest>,
}

/// A request that is not sent.
#[derive(Serialize, ToSchema)]
pub(crate) struct PreviewRequest {
    /// The delivery's id.
    id: String,
    /// The event's type.
    #[schema(example = "completion")]
    r#type: &'static str,
    /// Its position in the journal.
    sequence: u64,
    /// The method.
    method: &'static str,
    /// The URL.
    url: String,
    /// Names and values in order; values of your own headers are hidden.
    headers: Vec<HeaderView>,
    /// The body, before it is packed.
    body: String,
}

/// A header.
#[derive(Serialize, ToSchema)]
struct HeaderView {
    /// Its name.
    name: String,
    /// Its value.
    value: String,
}

impl PreviewRequest {
    pub(crate) fn new(preview: Preview, destination: &domain::destination::Destination) -> Self {
        let headers = preview.headers.into_iter();
        Self {
            id: preview.id.as_str().to_owned(),
            r#type: preview.event_type.as_str(),
            sequence: preview.sequence.0,
            method: match destination.method {
                domain::destination::Method::Post => "POST",
                domain::destination::Method::Put => "PUT",
            },
            url: destination.url.clone(),
            headers: headers.map(|(name, value)| HeaderView { name, value }).collect(),
            body: String::from_utf8_lossy(&preview.content).into_owned(),
        }
    }
}
