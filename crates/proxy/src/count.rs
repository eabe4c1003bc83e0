//! Anthropic's count of what a message would cost in tokens (`/v1/messages/count_tokens`).
//!
//! It passes through to one deployment of the model. It costs nothing, so it is no call: nothing is
//! recorded of it. What a caller may not call, it may not count either.

use std::sync::Arc;

use domain::{
    call::Endpoint,
    deployment::Dialect,
    failure::{Failure, FailureKind},
};
use http::header;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use provider::{protocol, request::passthrough};

use crate::{
    admit::{Asked, enter, read_call},
    arrival::{Arrival, call},
    config::Deployment,
    forward::{addressed, has_credential, without_key},
    gateway::Gateway,
    headers,
    reply::{Reply, error_reply, json_reply},
    route::Plan,
    upstream::{RequestBody, connection_failure, failure},
};

/// The API in whose protocol it is asked and answered.
const ENDPOINT: Endpoint = Endpoint::Messages;
const PATH: &str = "/v1/messages/count_tokens";

/// Asks a provider for the count.
pub(crate) async fn count_tokens(
    gateway: &Arc<Gateway>,
    arrival: &Arrival,
    body: Incoming,
) -> Reply {
    let counted = counted(gateway, arrival, body).await;
    counted.unwrap_or_else(|failure| error_reply(ENDPOINT, &failure))
}

async fn counted(
    gateway: &Arc<Gateway>,
    arrival: &Arrival,
    body: Incoming,
) -> Result<Reply, Failure> {
    let (body, _held) = read_call(gateway, &arrival.parts.headers, body).await?;
    let Asked { body, scan, model, problem, .. } = Asked::read(arrival, body);
    if let Some(problem) = problem {
        return Err(problem);
    }
    let call = call(gateway, arrival, model, &body, &scan);
    let (route, _places) = enter(gateway, &arrival.parts.headers, &call, &body, &scan)?;
    let mut plan = Plan::new(&route, &gateway.config.routing);
    let Some(step) = plan.next(None, call.arrived_at) else { return Err(plan.nobody()) };
    let deployment = &step.deployment;
    if deployment.facts.dialect != Dialect::Anthropic {
        return Err(protocol::unsupported(ENDPOINT, &deployment.facts));
    }
    has_credential(deployment)?;
    let body = passthrough(ENDPOINT, &body, &scan, &deployment.facts.model, false);
    let asked = || addressed(deployment, ENDPOINT, PATH, &arrival.parts.headers, body.clone());
    let limit = route.timeouts(deployment, &gateway.config.routing).whole;
    let provider = &deployment.facts.provider;
    let answered = tokio::time::timeout(limit, answer(gateway, deployment, &asked)).await;
    answered.unwrap_or_else(|_| {
        let message = format!("provider `{provider}` gave no answer within {limit:?}");
        Err(failure(FailureKind::Timeout, 408, message))
    })
}

async fn answer(
    gateway: &Gateway,
    deployment: &Deployment,
    asked: &(impl Fn() -> Result<http::Request<RequestBody>, Failure> + Sync),
) -> Result<Reply, Failure> {
    let provider = &deployment.facts.provider;
    let mut answered = gateway.upstream.send(asked()?).await;
    if answered.as_ref().is_err_and(|error| error.on_dead_connection) {
        answered = gateway.upstream.send(asked()?).await;
    }
    let response = answered.map_err(|error| connection_failure(provider, &error.cause))?;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, gateway.config.limits.response_body_bytes_max).collect().await;
    let body = body.map_err(|error| connection_failure(provider, &*error))?.to_bytes();
    let is_success = parts.status.is_success();
    let body = if is_success { body } else { without_key(body, &deployment.credential) };
    let mut reply = json_reply(parts.status, body);
    let mut headers = headers::to_caller(&parts.headers);
    headers.remove(header::CONTENT_TYPE);
    reply.headers_mut().extend(headers);
    Ok(reply)
}
