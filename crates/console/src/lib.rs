//! Doors for operators: our own (`/api/*`), and those of Helicone and `OpenRouter`, which are adapters
//! to the same destinations.
//!
//! Reads and writes through `store` and `delivery`; it knows no caller of an LLM API.
//!
//! Invariant: nothing is done for who may not manage, and no secret is shown but where it is made or
//! where a door's own contract has it.

pub mod problem;

pub mod policy;

pub mod spec;

mod auth;

mod request;

mod secrets;

mod record;

mod trial;

pub mod service;

mod find;

pub mod api;

mod door;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};

pub use policy::Policy;
pub use service::{Console, Parts, restore};

use problem::Problem;

/// Every door's routes.
pub fn router(console: &Console) -> Router {
    let api = api::router(console.clone());
    let helicone = door::helicone::router(console.clone());
    let openrouter = door::openrouter::router(console.clone());
    let pick = move |request: Request| {
        let path = request.uri().path();
        let router = if door::helicone::owns(path) {
            &helicone
        } else if door::openrouter::owns(path) {
            &openrouter
        } else {
            &api
        };
        tower::ServiceExt::oneshot(router.clone(), request)
    };
    Router::new()
        .fallback(async move |request: Request| pick(request).await)
        .layer(from_fn_with_state(console.clone(), in_background))
}

/// Whether a path is one of a door's here.
pub fn owns(path: &str) -> bool {
    api::owns(path) || door::helicone::owns(path) || door::openrouter::owns(path)
}

/// Works on a request off the callers' threads, and to its end: a change is not left half done because
/// who asked for it has left.
async fn in_background(State(console): State<Console>, request: Request, next: Next) -> Response {
    match console.background.spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => Problem::internal(&error).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doors_own_their_paths_and_no_others() {
        for path in [
            "/api/destinations",
            "/api/destinations/a/test",
            "/api/events",
            "/api/deliveries/a/b",
            "/api/destination",
            "/api/",
            "/openapi.json",
            "/v1/webhooks",
            "/v1/webhooks/1/test",
            "/api/v1/observability/destinations",
        ] {
            assert!(owns(path), "{path}");
        }
        for path in
            ["/api", "/api/v1/chat/completions", "/v1/webhooksx", "/v1/chat/completions", "/"]
        {
            assert!(!owns(path), "{path}");
        }
    }
}
