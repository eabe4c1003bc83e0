//! Helicone's door: `/v1/webhooks` (seed 004).
//!
//! Envelopes, texts and statuses are those of Helicone's server in 2026-07: an update does not exist,
//! DELETE answers 201, a destination is not checked before it is tested. What it would never send to
//! is stored and not sent to here either.

mod validation;

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Request, State},
    http::{Method, StatusCode, Uri},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use delivery::control::Tested;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    api::moment,
    auth::{Denied, NOT_MASTER, may_manage},
    problem::report,
    record::{Door, Record},
    request::{BodyError, is_text, read_body},
    service::{Console, New, NewSecret, ServiceError},
    spec::{CompatName, DestinationSpec, EventTypeName, FilterSpec, FormatName},
    trial::{TIMEOUT_MAX, Tried},
};

/// The version of the payload that Helicone gives new webhooks.
const VERSION: &str = "2024-10-22";

/// Every route of the door.
pub(crate) fn router(console: Console) -> Router {
    Router::new()
        .route("/v1/webhooks", get(list).post(create))
        .route("/v1/webhooks/{id}", delete(remove))
        .route("/v1/webhooks/{id}/test", post(test))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(from_fn(guard))
        .with_state(console)
}

/// Whether a path is one of the door's.
pub(crate) fn owns(path: &str) -> bool {
    path == "/v1/webhooks" || path.starts_with("/v1/webhooks/")
}

/// Helicone answers every refusal with 401.
async fn guard(request: Request, next: Next) -> Response {
    let error = match may_manage(request.extensions()) {
        Ok(()) if is_text(request.uri().path()) => return next.run(request).await,
        Ok(()) => return unknown(request.method().clone(), request.uri().clone()).await,
        Err(Denied::NoKey(_)) => "No authorization header",
        Err(Denied::WrongKey(_)) => "No API key found",
        Err(Denied::Foreign(text)) => text,
        Err(Denied::NotMaster) => NOT_MASTER,
    };
    let body = json!({"error": error, "trace": "isAuthenticated.error"});
    (StatusCode::UNAUTHORIZED, Json(body)).into_response()
}

/// Helicone's envelope.
fn envelope(status: StatusCode, data: &Value, error: Option<&str>) -> Response {
    (status, Json(json!({"data": data, "error": error}))).into_response()
}

fn failed(status: StatusCode, error: &str) -> Response {
    envelope(status, &Value::Null, Some(error))
}

/// A failure of the gateway's own; its cause is in the log.
fn internal(error: &ServiceError) -> Response {
    tracing::error!(error = report(error), "A request at Helicone's door failed.");
    failed(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
}

async fn unknown(method: Method, uri: Uri) -> Response {
    failed(StatusCode::NOT_FOUND, &format!("Cannot {method} {}", uri.path()))
}

/// What Helicone keeps as a webhook's `config`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    sample_rate: serde_json::Number,
    property_filters: Vec<PropertyFilter>,
    include_data: bool,
}

#[derive(Clone, Serialize, Deserialize)]
struct PropertyFilter {
    key: String,
    value: String,
}

/// What the door keeps with a destination.
#[derive(Serialize, Deserialize)]
struct Own {
    /// As the caller wrote it.
    destination: String,
    config: Config,
}

async fn create(State(console): State<Console>, body: Body) -> Response {
    let bytes = match read_body(body).await {
        Ok(bytes) => bytes,
        Err(BodyError::TooLarge) => {
            return failed(StatusCode::PAYLOAD_TOO_LARGE, "request entity too large");
        }
        Err(BodyError::Broken) => return failed(StatusCode::BAD_REQUEST, "request aborted"),
    };
    let given: Value = match serde_json::from_slice(&bytes) {
        Ok(given) => given,
        Err(error) => return failed(StatusCode::BAD_REQUEST, &format!("Invalid JSON: {error}")),
    };
    let asked = match read(given) {
        Ok(asked) => asked,
        Err(details) => {
            let body = json!({"message": "Validation Failed", "details": details});
            return (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response();
        }
    };
    let own = match asked.check() {
        Ok(own) => own,
        Err(text) => return failed(StatusCode::BAD_REQUEST, text),
    };
    let new = New {
        door: Door::Helicone,
        spec: spec(&own),
        secret: NewSecret::GivenOrMade,
        own: serde_json::to_value(&own).unwrap_or_default(),
        may_be_invalid: true,
    };
    match console.create(new).await {
        // Helicone inserts without returning anything; id and key are in the list.
        Ok(_) => envelope(StatusCode::OK, &json!([]), None),
        Err(error) => internal(&error),
    }
}

/// A request body of the right form.
struct Asked {
    destination: String,
    config: Map<String, Value>,
    include_data: bool,
}

/// Checks the form of a body as Helicone's framework does: missing, mistyped and unknown keys, all at
/// once.
fn read(given: Value) -> Result<Asked, Map<String, Value>> {
    let mut details = Map::new();
    let mut note = |field: &str, message: &str, value: Option<&Value>| {
        let key = if field.is_empty() {
            "webhookData".to_owned()
        } else {
            format!("webhookData.{field}")
        };
        let mut detail = json!({"message": message});
        if let Some(value) = value {
            detail["value"] = value.clone();
        }
        details.insert(key, detail);
    };
    let Value::Object(given) = given else {
        note("", "invalid object", Some(&given));
        return Err(details);
    };
    let destination = match given.get("destination") {
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => {
            note("destination", "invalid string value", Some(other));
            None
        }
        None => {
            note("destination", "'destination' is required", None);
            None
        }
    };
    let config = match given.get("config") {
        Some(Value::Object(config)) => Some(config.clone()),
        Some(other) => {
            note("config", "invalid object", Some(other));
            None
        }
        None => {
            note("config", "'config' is required", None);
            None
        }
    };
    let include_data = match given.get("includeData") {
        None => Some(true),
        Some(Value::Bool(flag)) => Some(*flag),
        Some(other) => {
            note("includeData", "invalid boolean value", Some(other));
            None
        }
    };
    for key in given.keys() {
        if !["destination", "config", "includeData"].contains(&key.as_str()) {
            let message = format!("\"{key}\" is an excess property and therefore is not allowed");
            note(key, &message, None);
        }
    }
    match (destination, config, include_data) {
        (Some(destination), Some(config), Some(include_data)) if details.is_empty() => {
            Ok(Asked { destination, config, include_data })
        }
        _ => Err(details),
    }
}

impl Asked {
    /// Checks the values in Helicone's order; the first mistake is told.
    fn check(self) -> Result<Own, &'static str> {
        let rate = self.config.get("sampleRate").filter(|rate| !rate.is_null());
        let sample_rate = match rate {
            None => 100.into(),
            Some(Value::Number(n)) if n.as_f64().is_some_and(|n| (0.0..=100.0).contains(&n)) => {
                n.clone()
            }
            Some(_) => return Err("Sample rate must be between 0 and 100"),
        };
        let filters = self.config.get("propertyFilters").filter(|filters| !filters.is_null());
        let filters = match filters {
            None => &Vec::new(),
            Some(Value::Array(filters)) => filters,
            Some(_) => return Err("Property filters must be an array"),
        };
        let text = |filter: &Value, key: &str| filter.get(key)?.as_str().map(str::to_owned);
        let filter = |filter: &Value| {
            Some(PropertyFilter { key: text(filter, "key")?, value: text(filter, "value")? })
        };
        let property_filters: Option<Vec<_>> = filters.iter().map(filter).collect();
        let property_filters = property_filters
            .ok_or("Property filters must be an array of objects with key and value properties")?;
        let include_data = self.include_data;
        Ok(Own {
            destination: self.destination,
            config: Config { sample_rate, property_filters, include_data },
        })
    }
}

/// The destination that a webhook of Helicone's is.
fn spec(own: &Own) -> DestinationSpec {
    let config = &own.config;
    let mut properties = BTreeMap::new();
    let mut is_contradiction = false;
    for filter in &config.property_filters {
        let before = properties.insert(filter.key.to_lowercase(), filter.value.clone());
        is_contradiction |= before.is_some_and(|before| before != filter.value);
    }
    let percent = config.sample_rate.as_f64().unwrap_or(100.0);
    let filter = FilterSpec { properties, ..FilterSpec::default() };
    let types = [EventTypeName::Completion, EventTypeName::Error];
    DestinationSpec {
        url: Some(own.destination.clone()),
        format: Some(FormatName::Helicone),
        compat: Some(CompatName::Real),
        include_data: Some(config.include_data),
        event_types: Some(types.to_vec()),
        filters: (!config.property_filters.is_empty())
            .then(|| types.map(|kind| (kind, filter.clone())).into()),
        // Two values of one property: nothing has both.
        sample_rate: Some(if is_contradiction { 0.0 } else { percent / 100.0 }),
        ..DestinationSpec::default()
    }
}

async fn list(State(console): State<Console>) -> Response {
    let records = match console.records().await {
        Ok(records) => records,
        Err(error) => return internal(&error),
    };
    let mut data = Vec::new();
    for record in records.iter().filter(|record| record.door == Door::Helicone) {
        data.push(json!({
            "id": record.id,
            "created_at": moment(record.created_at),
            "destination": record.own["destination"],
            "version": VERSION,
            "config": record.own["config"],
            "hmac_key": record.secret.as_ref().map(|secret| secret.expose().to_owned()),
        }));
    }
    envelope(StatusCode::OK, &Value::Array(data), None)
}

/// The webhook of an id.
async fn find(console: &Console, id: &str) -> Result<Option<Record>, ServiceError> {
    let records = console.records().await?;
    Ok(records.into_iter().find(|record| record.door == Door::Helicone && record.id == id))
}

async fn remove(State(console): State<Console>, Path(id): Path<String>) -> Response {
    if let Err(text) = validation::check_id(&id) {
        return failed(StatusCode::INTERNAL_SERVER_ERROR, &text);
    }
    let removed = match find(&console, &id).await {
        Ok(Some(record)) => console.delete(record.name.as_str()).await,
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    match removed {
        // Somebody else may have removed it in between; it is gone all the same.
        Ok(()) | Err(ServiceError::NotFound(_)) => {
            envelope(StatusCode::CREATED, &Value::Null, None)
        }
        Err(error) => internal(&error),
    }
}

async fn test(State(console): State<Console>, Path(id): Path<String>) -> Response {
    let Ok(Some(record)) = find(&console, &id).await else {
        return failed(StatusCode::NOT_FOUND, "Webhook not found");
    };
    let url = record.spec.url.as_deref().unwrap_or_default();
    let refused = validation::check_destination(url, &console.policy).err();
    let tested = match refused {
        Some(text) => Err(text.to_owned()),
        None => match console.test(record.name.as_str()).await {
            Ok(tried) => verdict(&tried),
            // What passed Helicone's checks and not ours is an address that nobody may send to.
            Err(ServiceError::Invalid(_)) => Err(validation::PRIVATE.to_owned()),
            Err(error) => return internal(&error),
        },
    };
    match tested {
        Ok(()) => {
            let data = json!({"success": true, "message": "Test webhook sent successfully"});
            envelope(StatusCode::OK, &data, None)
        }
        Err(text) => failed(StatusCode::INTERNAL_SERVER_ERROR, &text),
    }
}

/// What Helicone says of a test.
fn verdict(tried: &Tried) -> Result<(), String> {
    let Tested { status, error, duration_ms, .. } = &tried.tested;
    if tried.passed {
        return Ok(());
    }
    if let Some(status) = status {
        let code = StatusCode::from_u16(*status).ok();
        let reason = code.and_then(|code| code.canonical_reason()).unwrap_or_default();
        return Err(format!(
            "Test webhook failed: Webhook test failed with status {status}: {reason}"
        ));
    }
    if u128::from(*duration_ms) >= TIMEOUT_MAX.as_millis() {
        let secs = TIMEOUT_MAX.as_secs();
        return Err(format!("Test webhook request timed out after {secs} seconds"));
    }
    Err(format!("Test webhook failed: {}", error.as_deref().unwrap_or("fetch failed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(given: Value) -> String {
        match read(given) {
            Err(details) => serde_json::to_string(&details).unwrap(),
            Ok(asked) => match asked.check() {
                Err(text) => text.to_owned(),
                Ok(own) => serde_json::to_string(&own.config).unwrap(),
            },
        }
    }

    #[test]
    fn bodies_are_judged_as_helicone_judges_them() {
        let whole = |config: Value| answer(json!({"destination": "x", "config": config}));
        let filters = "Property filters must be an array of objects with key and value properties";
        for (config, expected) in [
            (json!({}), r#"{"sampleRate":100,"propertyFilters":[],"includeData":true}"#),
            (
                json!({"sampleRate": 12.5, "propertyFilters": [{"key": "a", "value": "b", "c": 1}],
                       "includeData": false, "x": 1}),
                r#"{"sampleRate":12.5,"propertyFilters":[{"key":"a","value":"b"}],"includeData":true}"#,
            ),
            (
                json!({"sampleRate": null, "propertyFilters": null}),
                r#"{"sampleRate":100,"propertyFilters":[],"includeData":true}"#,
            ),
            (
                json!({"sampleRate": 0}),
                r#"{"sampleRate":0,"propertyFilters":[],"includeData":true}"#,
            ),
            (json!({"sampleRate": "50"}), "Sample rate must be between 0 and 100"),
            (json!({"sampleRate": 100.1}), "Sample rate must be between 0 and 100"),
            (
                json!({"sampleRate": -1, "propertyFilters": 1}),
                "Sample rate must be between 0 and 100",
            ),
            (json!({"propertyFilters": {}}), "Property filters must be an array"),
            (json!({"propertyFilters": [null]}), filters),
            (json!({"propertyFilters": [{"key": "a"}]}), filters),
            (json!({"propertyFilters": [{"key": "a", "value": 1}]}), filters),
        ] {
            assert_eq!(whole(config.clone()), expected, "{config}");
        }
    }

    #[test]
    fn mistakes_of_form_are_told_all_at_once() {
        let given = json!({"destination": 5, "includeData": "yes", "url": "https://a.example"});
        let expected = json!({
            "webhookData.destination": {"message": "invalid string value", "value": 5},
            "webhookData.config": {"message": "'config' is required"},
            "webhookData.includeData": {"message": "invalid boolean value", "value": "yes"},
            "webhookData.url": {
                "message": "\"url\" is an excess property and therefore is not allowed",
            },
        });
        assert_eq!(answer(given), expected.to_string());
        let expected = json!({"webhookData": {"message": "invalid object", "value": []}});
        assert_eq!(answer(json!([])), expected.to_string());
    }

    #[test]
    fn two_values_of_one_property_match_nothing() {
        let filter =
            |key: &str, value: &str| PropertyFilter { key: key.into(), value: value.into() };
        let own = |property_filters| Own {
            destination: "https://a.example".to_owned(),
            config: Config { sample_rate: 50.into(), property_filters, include_data: true },
        };
        let both = spec(&own(vec![filter("Env", "a"), filter("env", "b")]));
        assert_eq!(both.sample_rate, Some(0.0));
        let same = spec(&own(vec![filter("Env", "a"), filter("env", "a")]));
        assert_eq!(same.sample_rate, Some(0.5));
    }
}
