//! `OpenRouter`'s destinations as they are written, and as ours.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Refused;
use crate::{
    api::moment,
    problem::FieldProblem,
    record::Record,
    spec::{
        CompatName, DestinationSpec, EventTypeName, FilterSpec, FormatName,
        GenerationGroupName::{self, Cost, Identity, RequestContext},
        MethodName, ProfileName, RulesSpec,
        describe::mask,
        read_fields, whole,
    },
};

/// The workspace of destinations that were made without naming one: there is but one gateway.
const WORKSPACE: &str = "00000000-0000-0000-0000-000000000000";
/// The lowest share of sessions.
const SAMPLING_RATE_MIN: f64 = 0.0001;

/// The types that there are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// Any receiver of OTLP/JSON; `config.url`.
    Webhook,
    /// An `OpenTelemetry` collector; `config.endpoint`.
    OtelCollector,
}

/// A body of POST or PATCH. Keys that nobody knows are passed over, as `OpenRouter` does.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wire {
    r#type: Option<String>,
    name: Option<String>,
    config: Option<Config>,
    enabled: Option<bool>,
    privacy_mode: Option<bool>,
    sampling_rate: Option<f64>,
    api_key_hashes: Option<Vec<String>>,
    filter_rules: Option<RulesSpec>,
    broadcast_generation_cost: Option<bool>,
    broadcast_generation_identity: Option<bool>,
    broadcast_generation_request_context: Option<bool>,
    workspace_id: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Config {
    url: Option<String>,
    endpoint: Option<String>,
    method: Option<MethodName>,
    headers: Option<BTreeMap<String, String>>,
}

/// What the door keeps with a destination.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Own {
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    name: String,
    workspace_id: String,
}

/// Reads a body of POST: everything that is wrong, at once.
pub(super) fn read_new(given: &Map<String, Value>) -> Result<Wire, Vec<FieldProblem>> {
    let wire: Wire = read_fields(given)?;
    let problems = wire.problems();
    if problems.is_empty() { Ok(wire) } else { Err(problems) }
}

/// Reads a body of PATCH over what there is. Masked values change nothing.
pub(super) fn read_change(
    record: &Record,
    changes: &Map<String, Value>,
) -> Result<Wire, Vec<FieldProblem>> {
    let change: Wire = read_fields(changes)?;
    let mut wire = Wire::of(record)?;
    let mut problems = Vec::new();
    if change.r#type.is_some() && change.r#type != wire.r#type {
        problems.push(FieldProblem::new("type", "cannot be changed"));
    }
    macro_rules! take {
        ($($field:ident),*) => {
            $(if changes.contains_key(stringify!($field)) {
                wire.$field = change.$field;
            })*
        };
    }
    take!(
        name,
        enabled,
        privacy_mode,
        sampling_rate,
        api_key_hashes,
        filter_rules,
        broadcast_generation_cost,
        broadcast_generation_identity,
        broadcast_generation_request_context,
        workspace_id
    );
    if let Some(config) = change.config {
        wire.config = Some(wire.config.unwrap_or_default().changed(config));
    }
    problems.extend(wire.problems());
    if problems.is_empty() { Ok(wire) } else { Err(problems) }
}

impl Config {
    /// With what is given put over it; a masked header stays as it was.
    fn changed(self, given: Self) -> Self {
        let was = self.headers.unwrap_or_default();
        let kept = |name: &String, value: String| match was.get(name) {
            Some(kept) if mask(kept) == value => kept.clone(),
            _ => value,
        };
        let headers = given.headers.map(|headers| {
            let headers = headers.into_iter();
            headers.map(|(name, value)| (name.clone(), kept(&name, value))).collect()
        });
        Self {
            url: given.url.or(self.url),
            endpoint: given.endpoint.or(self.endpoint),
            method: given.method.or(self.method),
            headers: headers.or(Some(was)),
        }
    }
}

impl Wire {
    /// What would have made a destination.
    fn of(record: &Record) -> Result<Self, Vec<FieldProblem>> {
        let own: Own = own_of(record).ok_or_else(|| {
            vec![FieldProblem::new("type", "was made by another version of the gateway")]
        })?;
        let spec = record.spec.clone();
        let (url, endpoint) = match own.kind {
            Kind::Webhook => (spec.url.clone(), None),
            Kind::OtelCollector => (None, spec.url.clone()),
        };
        let filter = spec.filters.as_ref().and_then(|filters| filters.values().next());
        let tells = |group| Some(tells(&spec, group));
        Ok(Self {
            r#type: Some(kind_name(own.kind).to_owned()),
            name: Some(own.name),
            api_key_hashes: filter.map(|filter| filter.keys.clone()),
            broadcast_generation_cost: tells(Cost),
            broadcast_generation_identity: tells(Identity),
            broadcast_generation_request_context: tells(RequestContext),
            config: Some(Config { url, endpoint, method: spec.method, headers: spec.headers }),
            enabled: spec.enabled,
            privacy_mode: spec.privacy,
            sampling_rate: spec.sample_rate,
            filter_rules: spec.rules,
            workspace_id: Some(own.workspace_id),
        })
    }

    fn kind(&self) -> Option<Kind> {
        match self.r#type.as_deref() {
            Some("webhook") => Some(Kind::Webhook),
            Some("otel-collector") => Some(Kind::OtelCollector),
            _ => None,
        }
    }

    fn problems(&self) -> Vec<FieldProblem> {
        let mut problems = Vec::new();
        let mut problem = |field: &str, message: &str| {
            problems.push(FieldProblem::new(field, message));
        };
        match (&self.r#type, self.kind()) {
            (None, _) => problem("type", "is required: webhook or otel-collector"),
            (Some(name), None) => {
                let message =
                    format!("`{name}` is not available here; there are webhook and otel-collector");
                problem("type", &message);
            }
            _ => {}
        }
        if self.name.as_ref().is_none_or(|name| name.trim().is_empty()) {
            problem("name", "is required");
        }
        match (&self.config, self.kind()) {
            (None, _) => problem("config", "is required"),
            (Some(config), Some(Kind::Webhook)) if config.url.is_none() => {
                problem("config.url", "is required");
            }
            (Some(config), Some(Kind::OtelCollector)) if config.endpoint.is_none() => {
                problem("config.endpoint", "is required");
            }
            _ => {}
        }
        if self.sampling_rate.is_some_and(|rate| !(SAMPLING_RATE_MIN..=1.0).contains(&rate)) {
            problem("sampling_rate", "must be from 0.0001 to 1");
        }
        if self.api_key_hashes.as_ref().is_some_and(Vec::is_empty) {
            problem("api_key_hashes", "must name a key, or be null for all");
        }
        problems
    }

    /// What the door keeps.
    pub(super) fn own(&self) -> Result<Own, Refused> {
        let missing = || Refused(StatusCode::BAD_REQUEST, "type is required".to_owned());
        Ok(Own {
            kind: self.kind().ok_or_else(missing)?,
            name: self.name.clone().unwrap_or_default(),
            workspace_id: self.workspace_id.clone().unwrap_or_else(|| WORKSPACE.to_owned()),
        })
    }

    /// The destination that it asks for, without a name.
    pub(super) fn spec(&self) -> DestinationSpec {
        let config = self.config.clone().unwrap_or_default();
        let types = [EventTypeName::Completion, EventTypeName::Error];
        let filters = self.api_key_hashes.clone().map(|keys| {
            let filter = FilterSpec { keys, ..FilterSpec::default() };
            types.map(|kind| (kind, filter.clone())).into()
        });
        let groups = [
            (self.broadcast_generation_cost, Cost),
            (self.broadcast_generation_identity, Identity),
            (self.broadcast_generation_request_context, RequestContext),
        ];
        let groups = groups.into_iter().filter(|(is_told, _)| *is_told == Some(true));
        let (url, method) = match self.kind() {
            Some(Kind::OtelCollector) => (config.endpoint, None),
            _ => (config.url, config.method),
        };
        DestinationSpec {
            url,
            method,
            headers: config.headers,
            format: Some(FormatName::Otlp),
            profile: Some(ProfileName::OpenRouter),
            generation_metadata: Some(groups.map(|(_, group)| group).collect()),
            compat: Some(CompatName::Real),
            event_types: Some(types.to_vec()),
            filters,
            rules: self.filter_rules.clone(),
            sample_rate: Some(self.sampling_rate.unwrap_or(1.0)),
            privacy: Some(self.privacy_mode.unwrap_or(false)),
            enabled: Some(self.enabled.unwrap_or(true)),
            ..DestinationSpec::default()
        }
    }
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Webhook => "webhook",
        Kind::OtelCollector => "otel-collector",
    }
}

/// Whether a destination is told a group of facts of a generation.
fn tells(spec: &DestinationSpec, group: GenerationGroupName) -> bool {
    spec.generation_metadata.as_ref().is_some_and(|groups| groups.contains(&group))
}

fn own_of(record: &Record) -> Option<Own> {
    serde_json::from_value(record.own.clone()).ok()
}

/// Our fields' names as this door has them.
pub(super) fn renamed(problems: Vec<FieldProblem>, kind: Kind) -> Vec<FieldProblem> {
    let rename = |field: String| match field.as_str() {
        "url" if kind == Kind::OtelCollector => "config.endpoint".to_owned(),
        "url" => "config.url".to_owned(),
        "sample_rate" => "sampling_rate".to_owned(),
        name if name.starts_with("headers") => format!("config.{name}"),
        name if name.starts_with("rules") => format!("filter_{name}"),
        name if name.starts_with("filters") => "api_key_hashes".to_owned(),
        _ => field,
    };
    let problems = problems.into_iter();
    problems.map(|p| FieldProblem::new(rename(p.field), p.message)).collect()
}

/// A destination as this door shows it, secrets masked.
pub(super) fn show(record: &Record) -> Value {
    let spec = &record.spec;
    let own = &record.own;
    let headers = spec.headers.iter().flatten();
    let headers: BTreeMap<_, _> = headers.map(|(name, value)| (name, mask(value))).collect();
    let config = match own_of(record).map(|own| own.kind) {
        Some(Kind::OtelCollector) => json!({"endpoint": spec.url, "headers": headers}),
        _ => json!({
            "url": spec.url,
            "method": spec.method.unwrap_or(MethodName::Post),
            "headers": headers,
        }),
    };
    let filter = spec.filters.as_ref().and_then(|filters| filters.values().next());
    let rate = spec.sample_rate.unwrap_or(1.0);
    json!({
        "id": record.id,
        "type": own["type"],
        "name": own["name"],
        "config": config,
        "enabled": record.is_enabled(),
        "privacy_mode": spec.privacy.unwrap_or(false),
        "sampling_rate": whole(rate).map_or_else(|| json!(rate), |rate| json!(rate)),
        "api_key_hashes": filter.map(|filter| filter.keys.clone()),
        "filter_rules": spec.rules,
        "broadcast_generation_cost": tells(spec, Cost),
        "broadcast_generation_identity": tells(spec, Identity),
        "broadcast_generation_request_context": tells(spec, RequestContext),
        "workspace_id": own["workspace_id"],
        "created_at": moment(record.created_at),
        "updated_at": moment(record.updated_at),
    })
}
