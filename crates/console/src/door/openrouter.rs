//! `OpenRouter`'s door: `/api/v1/observability/destinations` (seed 003).
//!
//! Two of its types are here: `webhook` and `otel-collector`. A destination is stored only once its
//! Test Connection has passed.

mod wire;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, RawQuery, Request, State},
    http::{Method, StatusCode, Uri},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
};
use domain::{destination::Destination, id::DeliveryId};
use serde_json::{Map, Value, json};
use webhook::format::otlp::{Test, test_payload};

use self::wire::{Kind, read_change, read_new};
use crate::{
    auth::{Denied, NOT_MASTER, may_manage},
    problem::{FieldProblem, Problem, report},
    record::{Door, Record},
    request::{Query, is_text, read_object},
    secrets::new_uuid,
    service::{Console, New, NewSecret, ServiceError},
    spec::check,
    trial::{self, Trial, Tried},
};

/// Destinations of a page, unless the request says otherwise, and at most.
const LIMITS: (usize, usize) = (50, 100);

/// Every route of the door.
pub(crate) fn router(console: Console) -> Router {
    const ROOT: &str = "/api/v1/observability/destinations";
    Router::new()
        .route(ROOT, get(list).post(create))
        .route(&format!("{ROOT}/{{id}}"), get(read).patch(update).delete(remove))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(guard))
        .with_state(console)
}

/// Whether a path is one of the door's.
pub(crate) fn owns(path: &str) -> bool {
    path.starts_with("/api/v1/observability/")
}

/// Why the door did not do as asked: `{"error": {"code", "message"}}`.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(status, message) = self;
        let body = json!({"error": {"code": status.as_u16(), "message": message}});
        (status, Json(body)).into_response()
    }
}

impl From<ServiceError> for Refused {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::NotFound(_) => not_found(),
            ServiceError::Invalid(problems) => bad_request(&problems),
            ServiceError::NameTaken(_) | ServiceError::Conflict(_) => {
                Self(StatusCode::CONFLICT, error.to_string())
            }
            ServiceError::ReadOnly(_) => Self(StatusCode::FORBIDDEN, error.to_string()),
            ServiceError::Store(_)
            | ServiceError::Randomness(_)
            | ServiceError::Preview(_)
            | ServiceError::Replays(_) => {
                tracing::error!(error = report(&error), "A request at OpenRouter's door failed.");
                Self(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error".to_owned())
            }
        }
    }
}

/// Our own door's problem, in this one's shape.
impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        if problem.fields().is_empty() {
            return Self(problem.status(), problem.message().to_owned());
        }
        bad_request(problem.fields())
    }
}

fn bad_request(problems: &[FieldProblem]) -> Refused {
    let texts = problems.iter().map(|FieldProblem { field, message }| match field.as_str() {
        "" => format!("the body {message}"),
        field => format!("{field} {message}"),
    });
    Refused(StatusCode::BAD_REQUEST, texts.collect::<Vec<_>>().join("; "))
}

fn not_found() -> Refused {
    Refused(StatusCode::NOT_FOUND, "Destination not found".to_owned())
}

async fn guard(request: Request, next: Next) -> Response {
    let refused = match may_manage(request.extensions()) {
        Ok(()) if is_text(request.uri().path()) => return next.run(request).await,
        Ok(()) => not_found(),
        Err(Denied::NoKey(_)) => {
            Refused(StatusCode::UNAUTHORIZED, "Missing Authentication header".to_owned())
        }
        Err(Denied::WrongKey(text)) => Refused(StatusCode::UNAUTHORIZED, text.to_owned()),
        Err(Denied::Foreign(text)) => Refused(StatusCode::FORBIDDEN, text.to_owned()),
        Err(Denied::NotMaster) => Refused(StatusCode::FORBIDDEN, NOT_MASTER.to_owned()),
    };
    refused.into_response()
}

async fn unknown(uri: Uri) -> Refused {
    Refused(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> Refused {
    let message = format!("{} does not take {method}", uri.path());
    Refused(StatusCode::METHOD_NOT_ALLOWED, message)
}

async fn list(
    State(console): State<Console>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Refused> {
    let mut query = Query::new(query.as_deref());
    let offset = query.parsed("offset", "a whole number of 0 or more", |t| t.parse().ok());
    let limit = query.limit(LIMITS.0, LIMITS.1);
    let workspace = query.text("workspace_id");
    query.finish()?;
    let records = console.records().await?;
    let mine = records.iter().filter(|record| record.door == Door::OpenRouter);
    let is_inside = |record: &&Record| {
        workspace.as_ref().is_none_or(|id| record.own["workspace_id"] == id.as_str())
    };
    let all: Vec<_> = mine.filter(is_inside).collect();
    let page = all.iter().skip(offset.unwrap_or(0)).take(limit);
    let data: Vec<_> = page.map(|record| wire::show(record)).collect();
    Ok(Json(json!({"data": data, "total_count": all.len()})))
}

async fn create(State(console): State<Console>, body: Body) -> Result<Response, Refused> {
    let wire = read_new(&read_object(body).await?).map_err(|problems| bad_request(&problems))?;
    let (own, spec) = (wire.own()?, wire.spec());
    let mut tried = spec.clone();
    tried.name = Some("test".to_owned());
    check::take_credentials(&mut tried);
    let destination = check::check(&tried, &[], &console.policy)
        .map_err(|problems| bad_request(&wire::renamed(problems, own.kind)))?;
    test_connection(&console, &destination, own.kind).await?;
    let new = New {
        door: Door::OpenRouter,
        spec,
        secret: NewSecret::None,
        own: serde_json::to_value(&own).unwrap_or_default(),
        may_be_invalid: false,
    };
    let known = console.create(new).await?;
    let record = known.record.as_ref().ok_or_else(not_found)?;
    Ok((StatusCode::CREATED, Json(json!({"data": wire::show(record)}))).into_response())
}

/// The destination of an id.
async fn find(console: &Console, id: &str) -> Result<Record, Refused> {
    let records = console.records().await?;
    let found = records.into_iter().find(|r| r.door == Door::OpenRouter && r.id == id);
    found.ok_or_else(not_found)
}

async fn read(
    State(console): State<Console>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refused> {
    Ok(Json(json!({"data": wire::show(&find(&console, &id).await?)})))
}

async fn update(
    State(console): State<Console>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Value>, Refused> {
    let record = find(&console, &id).await?;
    let changes: Map<String, Value> = read_object(body).await?;
    let wire = read_change(&record, &changes).map_err(|problems| bad_request(&problems))?;
    let (own, spec) = (wire.own()?, wire.spec());
    let mut after = record.clone();
    after.spec = crate::spec::DestinationSpec { name: record.spec.name.clone(), ..spec };
    check::take_credentials(&mut after.spec);
    let destination = after
        .destination(&console.policy, console.clock.now())
        .map_err(|problems| bad_request(&wire::renamed(problems, own.kind)))?;
    if changes.contains_key("config") {
        test_connection(&console, &destination, own.kind).await?;
    }
    let own = serde_json::to_value(&own).unwrap_or_default();
    let known = console
        .update(record.name.as_str(), |record| {
            record.spec = after.spec;
            record.own = own;
            Ok(())
        })
        .await?;
    let record = known.record.as_ref().ok_or_else(not_found)?;
    Ok(Json(json!({"data": wire::show(record)})))
}

async fn remove(
    State(console): State<Console>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refused> {
    let record = find(&console, &id).await?;
    console.delete(record.name.as_str()).await?;
    Ok(Json(json!({"deleted": true})))
}

/// Passes a destination whose receiver takes the connection test.
async fn test_connection(
    console: &Console,
    destination: &Destination,
    kind: Kind,
) -> Result<(), Refused> {
    let id = new_uuid().map_err(ServiceError::from)?;
    let body = test_payload(match kind {
        Kind::Webhook => Test::Empty,
        Kind::OtelCollector => Test::Span { ended_at: console.clock.now() },
    });
    let trial = Trial {
        id: DeliveryId::new(&format!("evt_test_{}", id.simple())),
        content_type: "application/json",
        body: body.into(),
    };
    // Some receivers answer 400 to a payload without a span.
    let may_be_400 = kind == Kind::Webhook;
    let Tried { passed, tested } = trial::send_this(console, destination, trial, may_be_400).await;
    if passed {
        return Ok(());
    }
    let what = match (tested.status, tested.error) {
        (Some(status), _) => format!("the receiver answered with status {status}"),
        (None, Some(error)) => error,
        (None, None) => "the receiver did not answer".to_owned(),
    };
    Err(Refused(StatusCode::BAD_REQUEST, format!("Test connection failed: {what}")))
}
