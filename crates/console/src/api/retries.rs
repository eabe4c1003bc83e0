//! Dead letters sent again: one, or all that a filter finds.

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use domain::id::{DeliveryId, DestinationName};
use serde::{Deserialize, Serialize};
use store::lanes::{DeliveryQuery, DeliveryState, WAITING_MAX};
use utoipa::ToSchema;

use super::{
    deliveries::{DeliveryDetailView, Replays, find, known_lanes, read},
    moment,
};
use crate::{
    find::{DeliverySearch, FindError, dead},
    problem::{FieldProblem, Kind, Problem},
    request::{parse_time, read_object},
    service::Console,
    spec::{EventTypeName, read_rest},
};

/// Sends a dead letter again
///
/// Under the same id, at once, with all of its attempts anew.
#[utoipa::path(
    post, path = "/api/deliveries/{destination}/{id}/retry", tag = "deliveries",
    operation_id = "retry_delivery",
    params(
        ("destination" = String, Path,
         description = "Its destination; or, of a replay's delivery, the replay's id"),
        ("id" = String, Path, description = "Its id"),
    ),
    responses(
        (status = 202, description = "It is due now", body = DeliveryDetailView),
        (status = 401, description = "No key, or a wrong one", body = Problem),
        (status = 403, description = "Not the master key", body = Problem),
        (status = 404, description = "It is not known, or not any more", body = Problem),
        (status = 409, description = "It is no dead letter, or its destination is not there any more",
         body = Problem),
    ),
)]
pub(crate) async fn retry(
    State(console): State<Console>,
    Path((destination, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let found = find(&console, &destination, &id).await?;
    let (lane, delivery) = (DestinationName::new(&destination), DeliveryId::new(&id));
    let conflict = |message: String| Err(Problem::new(Kind::Conflict, message));
    match found.row.state {
        DeliveryState::Dead => {}
        DeliveryState::Delivered => {
            return conflict(format!("`{id}` was delivered; only dead letters are sent again"));
        }
        DeliveryState::Replaced => {
            return conflict(format!("`{id}` went on in other deliveries; its events tell which"));
        }
        DeliveryState::Waiting => {
            let due = found.row.due_at.map_or("soon".to_owned(), moment);
            return conflict(format!("`{id}` waits for its next attempt, due {due}"));
        }
    }
    if let Some(why) = Replays::read(&console).await?.why_unsent(&console, &lane).await {
        return conflict(why);
    }
    let revived = console.control.retry(&lane, Some(&[delivery])).await;
    if revived.map_err(FindError::from)? == 0 {
        let is_dead = find(&console, &destination, &id).await?.row.state == DeliveryState::Dead;
        return conflict(if is_dead {
            format!(
                "{WAITING_MAX} deliveries wait for `{destination}` already; send `{id}` again once \
                 some of them are through"
            )
        } else {
            format!("`{id}` was sent again by somebody else just now")
        });
    }
    tracing::info!(destination, delivery.id = id, "A dead letter is sent again.");
    let now = read(State(console), Path((destination, id))).await?;
    Ok((StatusCode::ACCEPTED, now).into_response())
}

/// Which dead letters to send again: those that meet all that is given.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(example = json!({"destination": "audit", "reason": "status 500", "dry_run": true}))]
pub(crate) struct Retry {
    /// Of this destination, also of its replays; or of the replay of this id. Needed, unless `all` is
    /// true.
    destination: Option<String>,
    /// Carrying an event of this type.
    r#type: Option<EventTypeName>,
    /// Carrying an event of a call of this model, a glob.
    model: Option<String>,
    /// Carrying an event of a call by this key, a glob.
    key: Option<String>,
    /// Whose last attempt was answered with this status.
    #[schema(minimum = 100, maximum = 599)]
    status: Option<u16>,
    /// Whose reason holds this text, in upper or lower case.
    reason: Option<String>,
    /// Last attempted at this time or later: RFC 3339, or seconds since 1970.
    #[schema(example = "2026-11-21T00:00:00Z")]
    since: Option<String>,
    /// Last attempted before this time.
    until: Option<String>,
    /// Whether those of all destinations are meant.
    all: Option<bool>,
    /// Whether they are only counted. Default: false.
    dry_run: Option<bool>,
}

/// What came of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct RetriedView {
    /// Dead letters that meet what was given, and whose destinations are there.
    matched: usize,
    /// How many of them are due now: all, unless more than 10000 would wait for one destination. Ask
    /// again for the rest, once these are through.
    retried: usize,
    /// Dead letters that meet it too, and stay: their destinations are not there any more.
    skipped: usize,
}

/// Sends many dead letters again
///
/// Under the same ids, at once, each with all of its attempts anew. Those of destinations that are
/// not there any more stay, and are counted as `skipped`. With `dry_run` they are only counted.
#[utoipa::path(
    post, path = "/api/deliveries/retry", tag = "deliveries", operation_id = "retry_deliveries",
    request_body = Retry,
    responses(
        (status = 200, description = "What a dry run counted", body = RetriedView),
        (status = 202, description = "They are due now", body = RetriedView),
        (status = 400, description = "The body is not JSON", body = Problem),
        (status = 401, description = "No key, or a wrong one", body = Problem),
        (status = 403, description = "Not the master key", body = Problem),
        (status = 409, description = "The destination is not there any more", body = Problem),
        (status = 413, description = "The body is too large", body = Problem),
        (status = 422, description = "Values that cannot be, all at once", body = Problem),
    ),
)]
pub(crate) async fn retry_all(
    State(console): State<Console>,
    body: Body,
) -> Result<(StatusCode, Json<RetriedView>), Problem> {
    let (asked, problems): (Retry, _) = read_rest(&read_object(body).await?);
    let is_dry = asked.dry_run.unwrap_or(false);
    let named = asked.destination.as_deref().map(DestinationName::new);
    let search = read_search(&console, asked, problems).await?;
    let replays = Replays::read(&console).await?;
    if let Some(named) = named
        && let Some(why) = replays.why_unsent(&console, &named).await
    {
        return Err(Problem::new(Kind::Conflict, why));
    }
    let mut told = RetriedView { matched: 0, retried: 0, skipped: 0 };
    for (lane, ids) in dead(&console, search).await? {
        if replays.why_unsent(&console, &lane).await.is_some() {
            told.skipped += ids.len();
            continue;
        }
        told.matched += ids.len();
        if !is_dry {
            let retried = console.control.retry(&lane, Some(&ids)).await;
            told.retried += retried.map_err(FindError::from)?;
        }
    }
    if is_dry {
        return Ok((StatusCode::OK, Json(told)));
    }
    let RetriedView { retried, skipped, .. } = told;
    tracing::info!(retried, skipped, "Dead letters are sent again.");
    Ok((StatusCode::ACCEPTED, Json(told)))
}

/// What is looked for, or everything that is wrong with it.
async fn read_search(
    console: &Console,
    asked: Retry,
    mut problems: Vec<FieldProblem>,
) -> Result<DeliverySearch, Problem> {
    let mut time = |field: &str, text: &Option<String>| {
        let time = text.as_deref().map(parse_time);
        if time == Some(None) {
            let message = "must be a time such as 2026-11-21T10:30:00Z, or seconds since 1970";
            problems.push(FieldProblem::new(field, message));
        }
        time.flatten()
    };
    let (since, until) = (time("since", &asked.since), time("until", &asked.until));
    if asked.status.is_some_and(|status| !(100..=599).contains(&status)) {
        problems.push(FieldProblem::new("status", "must be a status from 100 to 599"));
    }
    let mut lanes = Vec::new();
    match &asked.destination {
        None if !asked.all.unwrap_or(false) && problems.is_empty() => {
            let message = "is missing; to mean all destinations, write `\"all\": true`";
            problems.push(FieldProblem::new("destination", message));
        }
        None => {}
        Some(name) => match known_lanes(console, name).await {
            Ok(known) => lanes = known,
            Err(problem) => problems.extend(problem.fields().iter().cloned()),
        },
    }
    if !problems.is_empty() {
        return Err(Problem::invalid(problems));
    }
    let Retry { model, key, status, reason, .. } = asked;
    let query = DeliveryQuery { lanes, status, reason, since, until, ..DeliveryQuery::default() };
    Ok(DeliverySearch { query, kind: asked.r#type.map(Into::into), model, key })
}
