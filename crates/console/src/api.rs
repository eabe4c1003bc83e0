//! Our own door: `/api/*`, and its description at `/openapi.json`.
//!
//! Handlers read a request, ask `service` or `find`, and write an answer; they decide nothing else.

mod deliveries;

mod destinations;

mod events;

mod openapi;

mod replays;

mod retries;

mod view;

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{Method, Uri, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use domain::time::Timestamp;

use crate::{
    auth::{Denied, NOT_MASTER, may_manage},
    problem::{Kind, Problem},
    request::is_text,
    service::{Console, ServiceError},
};

pub use openapi::document;

/// Every route of ours.
pub(crate) fn router(console: Console) -> Router {
    let managed = Router::new()
        .route("/api/destinations", get(destinations::list).post(destinations::create))
        .route(
            "/api/destinations/{name}",
            get(destinations::read).patch(destinations::update).delete(destinations::delete),
        )
        .route("/api/destinations/{name}/test", post(destinations::test))
        .route("/api/destinations/{name}/pause", post(destinations::pause))
        .route("/api/destinations/{name}/resume", post(destinations::resume))
        .route("/api/destinations/{name}/rotate-secret", post(destinations::rotate_secret))
        .route("/api/destinations/{name}/preview", get(destinations::preview))
        .route("/api/events", get(events::list))
        .route("/api/events/{id}", get(events::read))
        .route("/api/deliveries", get(deliveries::list))
        .route("/api/deliveries/retry", post(retries::retry_all))
        .route("/api/deliveries/{destination}/{id}", get(deliveries::read))
        .route("/api/deliveries/{destination}/{id}/retry", post(retries::retry))
        .route("/api/replays", get(replays::list).post(replays::create))
        .route("/api/replays/{id}", get(replays::read).delete(replays::delete))
        .route("/api/replays/{id}/pause", post(replays::pause))
        .route("/api/replays/{id}/resume", post(replays::resume))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(guard));
    Router::new()
        .route("/openapi.json", get(serve_document))
        .method_not_allowed_fallback(wrong_method)
        .merge(managed)
        .with_state(console)
}

/// Whether a path is one of ours, so that what is asked there in vain is answered as ours too. Below
/// `/api/v1` other systems' callers may have their own.
pub(crate) fn owns(path: &str) -> bool {
    let ours = path.strip_prefix("/api/").is_some_and(|rest| rest.split('/').next() != Some("v1"));
    ours || path == "/openapi.json"
}

async fn guard(request: Request, next: Next) -> Response {
    match may_manage(request.extensions()) {
        Ok(()) if !is_text(request.uri().path()) => {
            unknown_path(request.uri().clone()).await.into_response()
        }
        Ok(()) => next.run(request).await,
        Err(denied) => deny(denied),
    }
}

fn deny(denied: Denied) -> Response {
    match denied {
        Denied::NoKey(text) | Denied::WrongKey(text) => {
            let mut response = Problem::new(Kind::Unauthorized, text).into_response();
            let value = header::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
            response
        }
        Denied::Foreign(text) => Problem::new(Kind::Forbidden, text).into_response(),
        Denied::NotMaster => Problem::new(Kind::Forbidden, NOT_MASTER).into_response(),
    }
}

/// The description of this door. It tells nothing that its source does not, so it needs no key.
async fn serve_document(State(_): State<Console>) -> Response {
    Json(document()).into_response()
}

async fn unknown_path(uri: Uri) -> Problem {
    Problem::new(Kind::NotFound, format!("there is nothing at {}", uri.path()))
}

/// The router adds `Allow`.
async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let message = format!("{} does not take {method}", uri.path());
    Problem::new(Kind::MethodNotAllowed, message)
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::NotFound(_) => Self::new(Kind::NotFound, error.to_string()),
            ServiceError::ReadOnly(_) => Self::new(Kind::ReadOnly, error.to_string()),
            ServiceError::NameTaken(_) | ServiceError::Conflict(_) => {
                Self::new(Kind::Conflict, error.to_string())
            }
            ServiceError::Invalid(problems) => Self::invalid(problems),
            ServiceError::Store(_)
            | ServiceError::Randomness(_)
            | ServiceError::Preview(_)
            | ServiceError::Replays(_) => Self::internal(&error),
        }
    }
}

/// A time as it is shown: RFC 3339 in UTC, with three digits of a second, as JavaScript writes it.
pub(crate) fn moment(at: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(at.as_millis()) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => at.to_string(),
    }
}
