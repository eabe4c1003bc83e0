//! `/api/destinations`: where events go.

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::secret::Secret;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    moment,
    view::{
        DestinationList, DestinationView, NewDestination, PreviewRequest, PreviewView, RotatedView,
        TestView,
    },
};
use crate::{
    problem::{FieldProblem, Problem},
    record::{Door, Record},
    request::{read_object, read_object_if_any},
    service::{Console, New, NewSecret, ServiceError},
    spec::{
        DestinationSpec,
        describe::{MASK, mask},
        read_fields, read_rest,
    },
};

/// What an answer tells of a destination beside its settings.
const TOLD: [&str; 9] = [
    "id",
    "source",
    "public_key",
    "label",
    "backup",
    "previous_secret_until",
    "status",
    "created_at",
    "updated_at",
];
/// How long the secret before signs too, unless the request says otherwise.
const OVERLAP: Duration = Duration::from_hours(24);
/// The longest of such overlaps.
const OVERLAP_SECONDS_MAX: u64 = 30 * 86_400;
/// The longest reason for a pause, in characters.
const REASON_CHARS_MAX: usize = 200;

/// Lists destinations
///
/// Those of the configuration file first, in its order; they are read-only here. Last come those that
/// were taken out of it and left something, in the state `removed`.
#[utoipa::path(
    get, path = "/api/destinations", tag = "destinations",
    operation_id = "list_destinations",
    responses(
        (status = 200, description = "All destinations", body = DestinationList),
        (status = 401, description = "No key, or a wrong one", body = Problem),
        (status = 403, description = "Not the master key", body = Problem),
    ),
)]
pub(crate) async fn list(State(console): State<Console>) -> Result<Json<DestinationList>, Problem> {
    let (all, leftovers) = (console.all().await?, console.control.leftovers().await);
    let leftovers = leftovers.map_err(ServiceError::from)?;
    let all = all.iter().map(DestinationView::masked);
    let data = all.chain(leftovers.iter().map(DestinationView::removed)).collect();
    Ok(Json(DestinationList { data }))
}

/// Makes a destination
///
/// It gets what happens from now on. The answer shows its secret, this once.
#[utoipa::path(
    post, path = "/api/destinations", tag = "destinations",
    operation_id = "create_destination",
    request_body = NewDestination,
    responses(
        (status = 201, description = "Made; its secret is shown this once", body = DestinationView,
         headers(("location" = String, description = "Its path"))),
        (status = 400, description = "The body is not JSON", body = Problem),
        (status = 401, description = "No key, or a wrong one", body = Problem),
        (status = 403, description = "Not the master key", body = Problem),
        (status = 409, description = "The name is taken", body = Problem),
        (status = 413, description = "The body is too large", body = Problem),
        (status = 422, description = "Values that cannot be, all at once", body = Problem),
    ),
)]
pub(crate) async fn create(
    State(console): State<Console>,
    body: Body,
) -> Result<Response, Problem> {
    let (spec, problems) = read_settings(&read_object(body).await?);
    if !problems.is_empty() {
        return Err(Problem::invalid(console.all_problems(problems, &spec)));
    }
    let new = New {
        door: Door::Api,
        spec,
        secret: NewSecret::GivenOrMade,
        own: Value::Null,
        may_be_invalid: false,
    };
    let known = console.create(new).await?;
    let view = DestinationView::with_secret(&known);
    let name = known.record.map(|record| record.name.as_str().to_owned()).unwrap_or_default();
    let location = format!("/api/destinations/{}", encoded(&name));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(view)).into_response())
}

/// Shows a destination
#[utoipa::path(
    get, path = "/api/destinations/{name}", tag = "destinations",
    operation_id = "read_destination",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The destination", body = DestinationView),
        (status = 401, description = "No key, or a wrong one", body = Problem),
        (status = 403, description = "Not the master key", body = Problem),
        (status = 404, description = "There is none of that name", body = Problem),
    ),
)]
pub(crate) async fn read(
    State(console): State<Console>,
    Path(name): Path<String>,
) -> Result<Json<DestinationView>, Problem> {
    let known = console.get(&name).await;
    if matches!(known, Err(ServiceError::NotFound(_)))
        && let Some(leftover) = console.leftover(&name).await?
    {
        return Ok(Json(DestinationView::removed(&leftover)));
    }
    Ok(Json(DestinationView::masked(&known?)))
}

/// Changes a destination
///
/// Only the settings that are given change; null takes one back to its default. The name stays.
#[utoipa::path(
    patch, path = "/api/destinations/{name}", tag = "destinations",
    operation_id = "update_destination",
    params(("name" = String, Path, description = "Its name")),
    request_body(content = DestinationSpec, example = json!({"sample_rate": 0.25})),
    responses(
        (status = 200, description = "As it is now", body = DestinationView),
        (status = 400, description = "The body is not JSON", body = Problem),
        (status = 401, description = "No key, or a wrong one", body = Problem),
        (status = 403, description = "Not the master key, or a destination of the file",
         body = Problem),
        (status = 404, description = "There is none of that name", body = Problem),
        (status = 413, description = "The body is too large", body = Problem),
        (status = 422, description = "Values that cannot be, all at once", body = Problem),
    ),
)]
pub(crate) async fn update(
    State(console): State<Console>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<DestinationView>, Problem> {
    let changes = read_object(body).await?;
    let known = console.update(&name, |record| apply(&console, record, &changes)).await?;
    Ok(Json(DestinationView::masked(&known)))
}

/// Removes a destination
///
/// With everything that waits for it, its dead letters, its attempts and its replays. Of one that was
/// taken out of the configuration file, what it left is deleted.
#[utoipa::path(
    delete, path = "/api/destinations/{name}", tag = "destinations",
    operation_id = "delete_destination",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 204, description = "Removed"),
        (status = 401, description = "No key, or a wrong one", body = Problem),
        (status = 403, description = "Not the master key, or a destination of the file",
         body = Problem),
        (status = 404, description = "There is none of that name", body = Problem),
    ),
)]
pub(crate) async fn delete(
    State(console): State<Console>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    console.delete(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a test event
///
/// At once and once, in the destination's own format and signed, with `X-Test-Connection: true`.
#[utoipa::path(
    post, path = "/api/destinations/{name}/test", tag = "destinations",
    operation_id = "test_destination",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "What came of it", body = TestView),
        (status = 401, description = "No key, or a wrong one", body = Problem),
        (status = 403, description = "Not the master key", body = Problem),
        (status = 404, description = "There is none of that name", body = Problem),
        (status = 422, description = "It is not allowed as it is", body = Problem),
    ),
)]
pub(crate) async fn test(
    State(console): State<Console>,
    Path(name): Path<String>,
) -> Result<Json<TestView>, Problem> {
    Ok(Json(console.test(&name).await?.into()))
}

/// Why a destination, or a replay, is paused.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Pause {
    /// In words, for whoever looks at it later.
    #[schema(max_length = 200, example = "the receiver moves house")]
    reason: Option<String>,
}

/// Pauses a destination
///
/// What it wants meanwhile is kept, and sent when it is resumed. It stays paused over restarts.
#[utoipa::path(
    post, path = "/api/destinations/{name}/pause", tag = "destinations",
    operation_id = "pause_destination",
    params(("name" = String, Path, description = "Its name")),
    request_body = Option<Pause>,
    responses(
        (status = 200, description = "As it is now", body = DestinationView),
        (status = 400, description = "The body is not JSON", body = Problem),
        (status = 401, description = "No key, or a wrong one", body = Problem),
        (status = 403, description = "Not the master key", body = Problem),
        (status = 404, description = "There is none of that name", body = Problem),
        (status = 409, description = "It is not enabled", body = Problem),
        (status = 413, description = "The body is too large", body = Problem),
        (status = 422, description = "Values that cannot be, all at once", body = Problem),
    ),
)]
pub(crate) async fn pause(
    State(console): State<Console>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<DestinationView>, Problem> {
    let reason = read_reason(body).await?;
    Ok(Json(DestinationView::masked(&console.pause(&name, &reason).await?)))
}

/// What a pause's body says, or what is said without one.
pub(super) async fn read_reason(body: Body) -> Result<String, Problem> {
    let Pause { reason } =
        read_fields(&read_object_if_any(body).await?).map_err(Problem::invalid)?;
    let reason = reason.unwrap_or_else(|| "paused by an operator".to_owned());
    if reason.chars().count() > REASON_CHARS_MAX {
        let message = format!("must have {REASON_CHARS_MAX} characters at most");
        return Err(Problem::invalid(vec![FieldProblem::new("reason", message)]));
    }
    Ok(reason)
}

/// Resumes a destination
///
/// It is sent to again, from where it stopped.
#[utoipa::path(
    post, path = "/api/destinations/{name}/resume", tag = "destinations",
    operation_id = "resume_destination",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "As it is now", body = DestinationView),
        (status = 401, description = "No key, or a wrong one", body = Problem),
        (status = 403, description = "Not the master key", body = Problem),
        (status = 404, description = "There is none of that name", body = Problem),
        (status = 409, description = "It is not enabled", body = Problem),
        (status = 422, description = "It is not allowed as it is", body = Problem),
    ),
)]
pub(crate) async fn resume(
    State(console): State<Console>,
    Path(name): Path<String>,
) -> Result<Json<DestinationView>, Problem> {
    Ok(Json(DestinationView::masked(&console.resume(&name).await?)))
}

/// How to rotate a secret.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rotation {
    /// The new secret. Default: one is made.
    secret: Option<String>,
    /// Seconds for which the secret before signs too. Default: 86400, a day.
    #[schema(maximum = 2_592_000, example = 86_400)]
    overlap_seconds: Option<u64>,
}

/// Rotates a destination's secret
///
/// For the overlap, `webhook-signature` carries the signatures of both; headers that hold one
/// signature switch at once. A rotation during an overlap ends that overlap.
#[utoipa::path(
    post, path = "/api/destinations/{name}/rotate-secret", tag = "destinations",
    operation_id = "rotate_secret",
    params(("name" = String, Path, description = "Its name")),
    request_body = Option<Rotation>,
    responses(
        (status = 200, description = "The new secret, shown this once", body = RotatedView),
        (status = 400, description = "The body is not JSON", body = Problem),
        (status = 401, description = "No key, or a wrong one", body = Problem),
        (status = 403, description = "Not the master key, or a destination of the file",
         body = Problem),
        (status = 404, description = "There is none of that name", body = Problem),
        (status = 413, description = "The body is too large", body = Problem),
        (status = 422, description = "Values that cannot be, all at once", body = Problem),
    ),
)]
pub(crate) async fn rotate_secret(
    State(console): State<Console>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<RotatedView>, Problem> {
    let Rotation { secret, overlap_seconds } =
        read_fields(&read_object_if_any(body).await?).map_err(Problem::invalid)?;
    let overlap = overlap_seconds.map_or(OVERLAP, Duration::from_secs);
    if overlap.as_secs() > OVERLAP_SECONDS_MAX {
        let message = format!("must be from 0 to {OVERLAP_SECONDS_MAX}");
        return Err(Problem::invalid(vec![FieldProblem::new("overlap_seconds", message)]));
    }
    let known = console.rotate(&name, secret.as_deref().map(Secret::new), overlap).await?;
    let record = known.record.as_ref();
    let secret = record.and_then(|record| record.secret.as_ref());
    Ok(Json(RotatedView {
        secret: secret.map(|secret| secret.expose().to_owned()).unwrap_or_default(),
        public_key: secret.and_then(webhook::sign::public_key),
        previous_secret_until: record
            .and_then(|record| record.previous.as_ref())
            .map(|(_, until)| moment(*until)),
    }))
}

/// Previews a destination
///
/// The newest event that it would get, rendered and signed, and not sent.
#[utoipa::path(
    get, path = "/api/destinations/{name}/preview", tag = "destinations",
    operation_id = "preview_destination",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "What would be sent", body = PreviewView),
        (status = 401, description = "No key, or a wrong one", body = Problem),
        (status = 403, description = "Not the master key", body = Problem),
        (status = 404, description = "There is none of that name", body = Problem),
        (status = 422, description = "It is not allowed as it is", body = Problem),
    ),
)]
pub(crate) async fn preview(
    State(console): State<Console>,
    Path(name): Path<String>,
) -> Result<Json<PreviewView>, Problem> {
    let (preview, destination) = console.preview(&name).await?;
    let preview = preview.map(|preview| PreviewRequest::new(preview, &destination));
    Ok(Json(PreviewView { preview }))
}

/// Puts the given settings over a record's own. Null takes a setting away; a masked secret is no
/// change.
fn apply(
    console: &Console,
    record: &mut Record,
    changes: &Map<String, Value>,
) -> Result<(), ServiceError> {
    let (given, mut problems) = read_settings(changes);
    let is_sound = |key: &str| !problems.iter().any(|problem| problem.is_in(key));
    let before = record.spec.clone();
    let mut merged = object(&before);
    let sound = object(&given);
    for (key, value) in changes.iter().filter(|(key, _)| *key != "secret") {
        // Of a setting with a mistake in it, the rest is looked at for more.
        let value = if is_sound(key) { Some(value) } else { sound.get(key) };
        match value {
            Some(Value::Null) => drop(merged.remove(key)),
            Some(value) => drop(merged.insert(key.clone(), value.clone())),
            None => {}
        }
    }
    record.spec = read_fields(&merged).map_err(ServiceError::Invalid)?;
    let was = before.headers.unwrap_or_default();
    for (name, value) in record.spec.headers.iter_mut().flatten() {
        if let Some(kept) = was.get(name).filter(|kept| mask(kept) == *value) {
            kept.clone_into(value);
        }
    }
    let key_before = before.tls.and_then(|tls| tls.client_key);
    if let Some(tls) = &mut record.spec.tls
        && tls.client_key.as_deref() == Some(MASK)
    {
        tls.client_key = key_before;
    }
    let is_masked =
        |secret: &str| record.secret.as_ref().is_some_and(|s| mask(s.expose()) == secret);
    if let Some(secret) = given.secret.filter(|secret| !is_masked(secret)) {
        record.secret = Some(Secret::new(&secret));
        record.previous = None;
    }
    if changes.get("secret").is_some_and(Value::is_null) {
        let message = "cannot be taken away; rotate-secret makes a new one";
        problems.push(FieldProblem::new("secret", message));
    }
    let name = record.name.as_str();
    if record.spec.name.as_deref() != Some(name) {
        let message = "cannot be changed; make another destination, and remove this one";
        problems.push(FieldProblem::new("name", message));
    }
    if problems.is_empty() {
        return Ok(());
    }
    let mut rest = record.spec.clone();
    rest.secret = record.secret.as_ref().map(|secret| secret.expose().to_owned());
    Err(ServiceError::Invalid(console.all_problems(problems, &rest)))
}

/// Reads settings, and what is wrong with them. What an answer told may not come back, and is said to
/// be known.
fn read_settings(given: &Map<String, Value>) -> (DestinationSpec, Vec<FieldProblem>) {
    let (spec, mut problems): (DestinationSpec, _) = read_rest(given);
    for problem in problems.iter_mut().filter(|problem| TOLD.contains(&problem.field.as_str())) {
        "is told, and cannot be set; leave it out".clone_into(&mut problem.message);
    }
    (spec, problems)
}

fn object(spec: &DestinationSpec) -> Map<String, Value> {
    match serde_json::to_value(spec) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

/// A name as a segment of a path.
fn encoded(name: &str) -> String {
    use std::fmt::Write;
    let mut path = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "%{byte:02X}");
        }
    }
    path
}
