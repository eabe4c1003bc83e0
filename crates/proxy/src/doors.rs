//! Doors beside the LLM APIs: health, and the list of models.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Extension, Path, State},
    http::{Method, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use domain::{
    call::{Caller, Endpoint},
    failure::FailureKind,
};
use provider::failure::error_body;
use serde::Serialize;
use store::journal::Health;

use crate::{gateway::Gateway, upstream::failure};

/// The doors, each at the paths where LiteLLM has it.
pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/health/liveliness", get(liveliness))
        .route("/health/liveness", get(liveliness))
        .route("/health/readiness", get(readiness))
        .route("/v1/models", get(models))
        .route("/models", get(models))
        .route("/v1/models/{*id}", get(model))
        .route("/models/{*id}", get(model))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(gateway)
}

async fn liveliness() -> Json<&'static str> {
    Json("I'm alive!")
}

#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    journal: String,
}

async fn readiness(State(gateway): State<Arc<Gateway>>) -> (StatusCode, Json<Readiness>) {
    let (code, status, journal) = match gateway.journal.health() {
        _ if gateway.draining.is_cancelled() => {
            (StatusCode::SERVICE_UNAVAILABLE, "draining", "ready".to_owned())
        }
        Health::Ready => (StatusCode::OK, "healthy", "ready".to_owned()),
        Health::Refusing(reason) => (StatusCode::SERVICE_UNAVAILABLE, "refusing", reason),
    };
    (code, Json(Readiness { status, journal }))
}

#[derive(Serialize)]
struct ModelList<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    owned_by: &'static str,
}

impl<'a> Model<'a> {
    fn of(id: &'a str) -> Self {
        Self { id, object: "model", created: MODEL_CREATED, owned_by: "openai" }
    }
}

/// LiteLLM's constant for `created`: a model list has no better one.
const MODEL_CREATED: i64 = 1_677_610_602;

async fn models(
    State(gateway): State<Arc<Gateway>>,
    Extension(caller): Extension<Caller>,
) -> Response {
    let data = gateway.model_names(&caller).into_iter().map(Model::of).collect();
    Json(ModelList { object: "list", data }).into_response()
}

/// One of them, or one that a wildcard stands for.
async fn model(
    State(gateway): State<Arc<Gateway>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Response {
    if gateway.has_model(&caller, &id) {
        return Json(Model::of(&id)).into_response();
    }
    let message = format!("the model `{id}` does not exist, or your key may not use it");
    let mut failure = failure(FailureKind::UnknownModel, 404, message);
    failure.code = Some("model_not_found".to_owned());
    let body = error_body(Endpoint::ChatCompletions, &failure);
    (StatusCode::NOT_FOUND, [(CONTENT_TYPE, "application/json")], body).into_response()
}

async fn unknown_path(uri: Uri) -> Response {
    refuse(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
}

/// The router adds `Allow`.
async fn wrong_method(method: Method, uri: Uri) -> Response {
    refuse(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()))
}

fn refuse(status: StatusCode, message: String) -> Response {
    let failure = failure(FailureKind::InvalidRequest, status.as_u16(), message);
    let body = error_body(Endpoint::ChatCompletions, &failure);
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}
