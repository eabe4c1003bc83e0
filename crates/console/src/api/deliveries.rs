//! `/api/deliveries`: what became of events at each destination, attempt by attempt.

use axum::{
    Json,
    body::Body,
    extract::{Path, RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use domain::{
    delivery::Attempt,
    event::EventType,
    id::{DeliveryId, DestinationName, EventId},
};
use serde::{Deserialize, Serialize};
use store::lanes::{DeliveryDetail, DeliveryQuery, DeliveryRow, DeliveryState};
use utoipa::ToSchema;

use super::{events::parse_state, moment, view::TimingsView};
use crate::{
    find::{FindError, carries},
    problem::{FieldProblem, Kind, Problem},
    request::{Query, parse_time, read_object},
    service::Console,
    spec::read_rest,
};

/// Deliveries of a page, unless the request says otherwise, and at most.
const LIMITS: (usize, usize) = (50, 200);
/// Rows that one request looks at, at most, when it asks for a type.
const ROWS_MAX: usize = 2_000;
/// The same when it asks for a model or a key, which stand in the journal alone.
const ROWS_READ_MAX: usize = 100;
/// Of those, rows of one look.
const ROWS_READ: usize = 25;

/// A page of deliveries.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeliveryList {
    /// The last attempted first.
    data: Vec<DeliveryView>,
    /// The `cursor` of the next page; null on the last. A page may be short and have a next one.
    #[schema(example = "4711")]
    next: Option<String>,
}

/// A delivery: one body for one destination.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeliveryView {
    /// Its destination.
    destination: String,
    /// Its id, the same in every attempt (`webhook-id`): its event's, or `bat_…` for a batch.
    #[schema(example = "evt_019a2f1c7a3e7c1e8f5d3b2a19c0d4e7_completion")]
    id: String,
    /// How it stands.
    state: StateName,
    /// Attempts so far; of one that waits, those that count.
    attempts: u32,
    /// What the last attempt ended with, or why it was given up.
    reason: String,
    /// When the next attempt is due, if it waits.
    #[schema(format = DateTime)]
    due_at: Option<String>,
    /// The last attempt, if it is still known.
    last_attempt: Option<AttemptView>,
}

/// How a delivery stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum StateName {
    /// It was taken.
    Delivered,
    /// It failed, and waits for another attempt.
    Waiting,
    /// It was given up: a dead letter.
    Dead,
}

/// One try to send a delivery.
#[derive(Serialize, ToSchema)]
pub(crate) struct AttemptView {
    /// Counted from 1.
    number: u32,
    /// When it began.
    #[schema(format = DateTime)]
    started_at: String,
    /// How long it took.
    duration_ms: u32,
    /// Where those milliseconds went.
    timings: TimingsView,
    /// The address that was dialled, with its port.
    address: Option<String>,
    /// The receiver's status, if it answered.
    status: Option<u16>,
    /// The beginning of its answer.
    answer_start: String,
    /// `delivered`, or why not.
    result: String,
    /// How many events it carried.
    event_count: u32,
}

/// A delivery with all that is known of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeliveryDetailView {
    #[serde(flatten)]
    delivery: DeliveryView,
    /// Ids of the events that it carries, where they are known: while it waits, as a dead letter, and
    /// if it is one event.
    events: Vec<String>,
    /// Attempts that are still known, oldest first.
    history: Vec<AttemptView>,
}

/// Lists deliveries
///
/// The last attempted first. Dead letters are those in the state `dead`. A page may be short: go on
/// with `next`.
#[utoipa::path(
    get, path = "/api/deliveries", tag = "deliveries",
    operation_id = "list_deliveries",
    params(
        ("destination" = Option<String>, Query, description = "To this destination"),
        ("state" = Option<String>, Query, example = "dead",
         description = "In this state: `delivered`, `waiting` or `dead`"),
        ("event" = Option<String>, Query, description = "Carrying the event of this id"),
        ("type" = Option<String>, Query, example = "completion",
         description = "Of one event of this type; batches have no type"),
        ("model" = Option<String>, Query, example = "gpt-4*",
         description = "Carrying an event of this model, a glob; of batches, those not delivered"),
        ("key" = Option<String>, Query,
         description = "Carrying an event of a call by this key, a glob; batches as for `model`"),
        ("since" = Option<String>, Query, example = "2026-11-21T00:00:00Z",
         description = "Last attempted at this time or later: RFC 3339, or seconds since 1970"),
        ("until" = Option<String>, Query, description = "Last attempted before this time"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200,
         description = "At most so many. Default: 50"),
        ("cursor" = Option<String>, Query, description = "The `next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of deliveries", body = DeliveryList),
        (status = 401, description = "No key, or a wrong one", body = Problem),
        (status = 403, description = "Not the master key", body = Problem),
        (status = 422, description = "Parameters that cannot be", body = Problem),
    ),
)]
pub(crate) async fn list(
    State(console): State<Console>,
    RawQuery(query): RawQuery,
) -> Result<Json<DeliveryList>, Problem> {
    let mut given = Query::new(query.as_deref());
    let names = EventType::ALL.map(EventType::as_str).join(", ");
    let kind = given.parsed("type", &format!("one of {names}"), parse_type);
    let limit = given.limit(LIMITS.0, LIMITS.1);
    let (model, key) = (given.text("model"), given.text("key"));
    let is_read = model.is_some() || key.is_some();
    let mut query = DeliveryQuery {
        destination: given.text("destination").as_deref().map(DestinationName::new),
        state: given.parsed("state", "one of delivered, waiting, dead", parse_state),
        event: given.text("event").as_deref().map(EventId::from_stored),
        since: given.time("since"),
        until: given.time("until"),
        before: given.parsed("cursor", "the `next` of an earlier page", |text| text.parse().ok()),
        limit: match kind {
            _ if is_read => ROWS_READ,
            Some(_) => LIMITS.1,
            None => limit,
        },
    };
    given.finish()?;
    let rows_max = if is_read { ROWS_READ_MAX } else { ROWS_MAX };
    let (mut data, mut looked_at) = (Vec::new(), 0);
    let next = loop {
        let rows = console.lanes.deliveries(query.clone()).await.map_err(FindError::from)?;
        let is_last = rows.len() < query.limit;
        looked_at += rows.len();
        for row in rows {
            query.before = Some(row.number);
            let is_typed = kind.is_none_or(|kind| is_of_type(&row.id, kind));
            let (model, key) = (model.as_deref(), key.as_deref());
            if is_typed && (!is_read || carries(&console, &row, model, key).await?) {
                data.push(DeliveryView::new(&row));
            }
            if data.len() == limit {
                break;
            }
        }
        if data.len() == limit || looked_at >= rows_max {
            break query.before;
        }
        if is_last {
            break None;
        }
    };
    Ok(Json(DeliveryList { data, next: next.map(|next| next.to_string()) }))
}

fn parse_type(text: &str) -> Option<EventType> {
    EventType::ALL.into_iter().find(|kind| kind.as_str() == text)
}

/// Whether a delivery is of one event of a type: its id is the event's, which names the type.
fn is_of_type(id: &DeliveryId, kind: EventType) -> bool {
    let Some(rest) = id.as_str().strip_prefix("evt_") else { return false };
    let name = kind.as_str().replace('.', "_");
    let after_call = rest.get(32..).and_then(|rest| rest.strip_prefix('_'));
    [Some(rest), after_call].into_iter().flatten().any(|rest| {
        rest.strip_prefix(&name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    })
}

/// Shows a delivery
///
/// With its attempts: where the time went, whom it spoke to, what was answered.
#[utoipa::path(
    get, path = "/api/deliveries/{destination}/{id}", tag = "deliveries",
    operation_id = "read_delivery",
    params(
        ("destination" = String, Path, description = "Its destination"),
        ("id" = String, Path, description = "Its id"),
    ),
    responses(
        (status = 200, description = "The delivery", body = DeliveryDetailView),
        (status = 401, description = "No key, or a wrong one", body = Problem),
        (status = 403, description = "Not the master key", body = Problem),
        (status = 404, description = "It is not known, or not any more", body = Problem),
    ),
)]
pub(crate) async fn read(
    State(console): State<Console>,
    Path((destination, id)): Path<(String, String)>,
) -> Result<Json<DeliveryDetailView>, Problem> {
    let DeliveryDetail { row, attempts, events } = find(&console, &destination, &id).await?;
    let mut events: Vec<_> = events.iter().map(|event| event.event.as_str().to_owned()).collect();
    if events.is_empty() && id.starts_with("evt_") {
        events.push(id);
    }
    let history = attempts.iter().map(AttemptView::new).collect();
    Ok(Json(DeliveryDetailView { delivery: DeliveryView::new(&row), events, history }))
}

async fn find(console: &Console, destination: &str, id: &str) -> Result<DeliveryDetail, Problem> {
    let (lane, delivery) = (DestinationName::new(destination), DeliveryId::new(id));
    let found = console.lanes.delivery(&lane, &delivery).await.map_err(FindError::from)?;
    found.ok_or_else(|| {
        let message = format!("no delivery `{id}` to `{destination}` is known, or not any more");
        Problem::new(Kind::NotFound, message)
    })
}

/// Sends a dead letter again
///
/// Under the same id, at once, with all of its attempts anew.
#[utoipa::path(
    post, path = "/api/deliveries/{destination}/{id}/retry", tag = "deliveries",
    operation_id = "retry_delivery",
    params(
        ("destination" = String, Path, description = "Its destination"),
        ("id" = String, Path, description = "Its id"),
    ),
    responses(
        (status = 202, description = "It is due now", body = DeliveryDetailView),
        (status = 401, description = "No key, or a wrong one", body = Problem),
        (status = 403, description = "Not the master key", body = Problem),
        (status = 404, description = "It is not known, or not any more", body = Problem),
        (status = 409, description = "It is no dead letter", body = Problem),
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
        DeliveryState::Waiting => {
            let due = found.row.due_at.map_or("soon".to_owned(), moment);
            return conflict(format!("`{id}` waits for its next attempt, due {due}"));
        }
    }
    if console.control.get(&lane).is_none() {
        return conflict(format!("`{destination}` is no destination any more"));
    }
    let ids = [delivery];
    let revived = console.lanes.revive(Some(&lane), Some(&ids)).await.map_err(FindError::from)?;
    if revived == 0 {
        return conflict(format!("`{id}` was sent again by somebody else just now"));
    }
    console.control.woken(&lane);
    tracing::info!(destination, delivery.id = id, "A dead letter is sent again.");
    let now = read(State(console), Path((destination, id))).await?;
    Ok((StatusCode::ACCEPTED, now).into_response())
}

/// Which dead letters to send again: those that meet all that is given.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Retry {
    /// Of this destination. Needed, unless `all` is true.
    #[schema(example = "audit")]
    destination: Option<String>,
    /// Last attempted at this time or later: RFC 3339, or seconds since 1970.
    #[schema(example = "2026-11-21T00:00:00Z")]
    since: Option<String>,
    /// Last attempted before this time.
    until: Option<String>,
    /// Whether those of all destinations are meant.
    all: Option<bool>,
}

/// How many dead letters are sent again.
#[derive(Serialize, ToSchema)]
pub(crate) struct RetriedView {
    /// How many.
    retried: usize,
}

/// Sends many dead letters again
///
/// Under the same ids, at once, each with all of its attempts anew.
#[utoipa::path(
    post, path = "/api/deliveries/retry", tag = "deliveries", operation_id = "retry_deliveries",
    request_body = Retry,
    responses(
        (status = 202, description = "They are due now", body = RetriedView),
        (status = 400, description = "The body is not JSON", body = Problem),
        (status = 401, description = "No key, or a wrong one", body = Problem),
        (status = 403, description = "Not the master key", body = Problem),
        (status = 413, description = "The body is too large", body = Problem),
        (status = 422, description = "Values that cannot be, all at once", body = Problem),
    ),
)]
pub(crate) async fn retry_all(
    State(console): State<Console>,
    body: Body,
) -> Result<(StatusCode, Json<RetriedView>), Problem> {
    let (asked, mut problems): (Retry, _) = read_rest(&read_object(body).await?);
    let mut time = |field: &str, text: &Option<String>| {
        let time = text.as_deref().map(parse_time);
        if time == Some(None) {
            let message = "must be a time such as 2026-11-21T10:30:00Z, or seconds since 1970";
            problems.push(FieldProblem::new(field, message));
        }
        time.flatten()
    };
    let (since, until) = (time("since", &asked.since), time("until", &asked.until));
    let destination = asked.destination.as_deref().map(DestinationName::new);
    match &destination {
        None if !asked.all.unwrap_or(false) && problems.is_empty() => {
            let message = "is missing; to mean all destinations, write `\"all\": true`";
            problems.push(FieldProblem::new("destination", message));
        }
        Some(name) if console.control.get(name).is_none() => {
            let message = "is not the name of a destination that is sent to";
            problems.push(FieldProblem::new("destination", message));
        }
        _ => {}
    }
    if !problems.is_empty() {
        return Err(Problem::invalid(problems));
    }
    let query = DeliveryQuery { destination, since, until, ..DeliveryQuery::default() };
    let retried = console.control.retry(query).await.map_err(FindError::from)?;
    tracing::info!(retried, "Dead letters are sent again.");
    Ok((StatusCode::ACCEPTED, Json(RetriedView { retried })))
}

impl DeliveryView {
    fn new(row: &DeliveryRow) -> Self {
        Self {
            destination: row.destination.as_str().to_owned(),
            id: row.id.as_str().to_owned(),
            state: match row.state {
                DeliveryState::Delivered => StateName::Delivered,
                DeliveryState::Waiting => StateName::Waiting,
                DeliveryState::Dead => StateName::Dead,
            },
            attempts: row.attempts,
            reason: row.reason.clone(),
            due_at: row.due_at.map(moment),
            last_attempt: row.last.as_ref().map(AttemptView::new),
        }
    }
}

impl AttemptView {
    fn new(attempt: &Attempt) -> Self {
        Self {
            number: attempt.number,
            started_at: moment(attempt.started_at),
            duration_ms: attempt.duration_ms,
            timings: attempt.timings.into(),
            address: attempt.address.clone(),
            status: attempt.status,
            answer_start: attempt.answer_start.clone(),
            result: attempt.result.clone(),
            event_count: attempt.event_count,
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::id::CallId;

    use super::*;

    #[test]
    fn a_delivery_s_id_tells_the_type_of_its_event() {
        let call = CallId::from_bytes([7; 16]);
        let of = |kind: EventType| DeliveryId::new(EventId::of_outcome(call, kind).as_str());
        assert!(is_of_type(&of(EventType::Completion), EventType::Completion));
        assert!(!is_of_type(&of(EventType::Completion), EventType::Error));
        let attempts = EventId::of_failed_attempts(call, 1);
        assert!(is_of_type(&DeliveryId::new(attempts.as_str()), EventType::Error));
        let limited = EventId::of_rate_limit(call, 0);
        assert!(is_of_type(&DeliveryId::new(limited.as_str()), EventType::RateLimit));
        assert!(is_of_type(&DeliveryId::new("evt_budget_12ab_80"), EventType::Budget));
        assert!(!is_of_type(&DeliveryId::new("bat_completion"), EventType::Completion));
    }
}
