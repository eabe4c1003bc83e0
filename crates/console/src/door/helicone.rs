//! Helicone's door: `/v1/webhooks` (seed 004).
//!
//! Envelopes, texts and statuses are those of Helicone's server in 2026-07: an update does not exist,
//! DELETE answers 201, a destination is not checked before it is tested. What it would never send to
//! is stored and not sent to here either.

mod validation;

mod wire;

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
use serde::Serialize;
use serde_json::{Map, Value, json};

use self::wire::{Webhook, read};
use crate::{
    auth::{Denied, NOT_MASTER, may_manage},
    problem::report,
    record::{Door, Record},
    request::{BodyError, is_text, read_body},
    service::{Console, New, NewSecret, ServiceError},
    trial::{TIMEOUT_MAX, Tried},
};

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
#[derive(Serialize)]
struct Envelope<'a, T> {
    data: T,
    error: Option<&'a str>,
}

fn done(status: StatusCode, data: impl Serialize) -> Response {
    (status, Json(Envelope { data, error: None })).into_response()
}

fn failed(status: StatusCode, error: &str) -> Response {
    (status, Json(Envelope { data: (), error: Some(error) })).into_response()
}

/// A failure of the gateway's own; its cause is in the log.
fn internal(error: &ServiceError) -> Response {
    tracing::error!(error = report(error), "A request at Helicone's door failed.");
    failed(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
}

async fn unknown(method: Method, uri: Uri) -> Response {
    failed(StatusCode::NOT_FOUND, &format!("Cannot {method} {}", uri.path()))
}

async fn create(State(console): State<Console>, body: Body) -> Response {
    let bytes = match read_body(body).await {
        Ok(bytes) => bytes,
        Err(BodyError::TooLarge) => {
            return failed(StatusCode::PAYLOAD_TOO_LARGE, "request entity too large");
        }
        Err(BodyError::Broken) => return failed(StatusCode::BAD_REQUEST, "request aborted"),
    };
    let given = match serde_json::from_slice(&bytes) {
        Ok(given) => given,
        // No body is an empty one there.
        Err(_) if bytes.is_empty() => Value::Object(Map::new()),
        Err(error) => return failed(StatusCode::BAD_REQUEST, &format!("Invalid JSON: {error}")),
    };
    let asked = match read(given) {
        Ok(asked) => asked,
        Err(details) => {
            let body = json!({"message": "Validation Failed", "details": details});
            return (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response();
        }
    };
    let (spec, own) = match asked.check() {
        Ok(asked) => asked,
        Err(text) => return failed(StatusCode::BAD_REQUEST, text),
    };
    let new = New {
        door: Door::Helicone,
        spec,
        secret: NewSecret::GivenOrMade,
        own: serde_json::to_value(&own).unwrap_or_default(),
        may_be_invalid: true,
    };
    match console.create(new).await {
        // Helicone inserts without returning anything; id and key are in the list.
        Ok(_) => done(StatusCode::OK, [(); 0]),
        Err(error) => internal(&error),
    }
}

async fn list(State(console): State<Console>) -> Response {
    let records = match console.records().await {
        Ok(records) => records,
        Err(error) => return internal(&error),
    };
    let own = records.iter().filter(|record| record.door == Door::Helicone);
    done(StatusCode::OK, own.map(Webhook::of).collect::<Vec<_>>())
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
        Ok(()) | Err(ServiceError::NotFound(_)) => done(StatusCode::CREATED, ()),
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
            // What passed Helicone's checks and not ours.
            Err(ServiceError::Invalid(problems)) => {
                let texts = problems.iter().map(|p| format!("{} {}", p.field, p.message));
                Err(format!("Test webhook failed: {}", texts.collect::<Vec<_>>().join("; ")))
            }
            Err(error) => return internal(&error),
        },
    };
    match tested {
        Ok(()) => {
            let data = json!({"success": true, "message": "Test webhook sent successfully"});
            done(StatusCode::OK, data)
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
