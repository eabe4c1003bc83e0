//! `/api/deliveries`: what became of events at each destination, attempt by attempt.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Path, RawQuery, State},
};
use delivery::replay::ReplayError;
use domain::{
    delivery::Attempt,
    event::EventType,
    id::{DeliveryId, DestinationName, EventId},
};
use serde::Serialize;
use store::lanes::{DeliveryDetail, DeliveryQuery, DeliveryRow, DeliveryState};
use utoipa::ToSchema;

use super::{
    events::{STATES, parse_state},
    moment,
    view::TimingsView,
};
use crate::{
    find::{DeliverySearch, FindError, deliveries, events_of},
    problem::{FieldProblem, Kind, Problem},
    request::Query,
    service::Console,
};

/// Deliveries of a page, unless the request says otherwise, and at most.
const LIMITS: (usize, usize) = (50, 200);

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
    /// The replay that it is of; its own attempts and its own state are told, not those of the lane's
    /// delivery of that id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "replay_19a2f1c7a3e7c1e")]
    replay: Option<String>,
    /// Its id, the same in every attempt (`webhook-id`): its event's, or `bat_…` for a batch.
    #[schema(example = "evt_019a2f1c7a3e7c1e8f5d3b2a19c0d4e7_completion")]
    id: String,
    /// How it stands.
    state: StateName,
    /// Attempts so far, as far as they are still known.
    attempts: u32,
    /// Those of them that count against `max_attempts`: not those that failed while the receiver was
    /// down, nor those before it was last sent again by hand.
    attempts_counted: u32,
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
    /// It failed, and its events went on in other deliveries: in halves of it, or in batches that were
    /// cut anew after a restart.
    Replaced,
}

/// One try to send a delivery.
#[derive(Serialize, ToSchema)]
pub(crate) struct AttemptView {
    /// Counted from 1, among those that are still known.
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
    /// Ids of the events that it carries; of a batch that was delivered, those whose records are still
    /// in the journal.
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
        ("destination" = Option<String>, Query,
         description = "To this destination, also by its replays; or of the replay of this id"),
        ("state" = Option<String>, Query, example = "dead",
         description = "In this state: `delivered`, `waiting`, `dead` or `replaced`"),
        ("event" = Option<String>, Query, description = "Carrying the event of this id"),
        ("type" = Option<String>, Query, example = "completion",
         description = "Carrying an event of this type"),
        ("model" = Option<String>, Query, example = "gpt-4*",
         description = "Carrying an event of a call of this model, a glob"),
        ("key" = Option<String>, Query,
         description = "Carrying an event of a call by this key, a glob"),
        ("status" = Option<u16>, Query, minimum = 100, maximum = 599,
         description = "Whose last attempt was answered with this status"),
        ("reason" = Option<String>, Query, example = "timeout",
         description = "Whose reason holds this text, in upper or lower case"),
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
    let destination = given.text("destination");
    let names = EventType::ALL.map(EventType::as_str).join(", ");
    let mut search = DeliverySearch {
        kind: given.parsed("type", &format!("one of {names}"), parse_type),
        model: given.text("model"),
        key: given.text("key"),
        query: DeliveryQuery {
            state: given.parsed("state", STATES, parse_state),
            event: given.text("event").as_deref().map(EventId::from_stored),
            status: given.parsed("status", "a status from 100 to 599", parse_status),
            reason: given.text("reason"),
            since: given.time("since"),
            until: given.time("until"),
            before: given.parsed("cursor", "the `next` of an earlier page", |t| t.parse().ok()),
            limit: given.limit(LIMITS.0, LIMITS.1),
            ..DeliveryQuery::default()
        },
    };
    given.finish()?;
    if let Some(name) = destination {
        search.query.lanes = known_lanes(&console, &name).await?;
    }
    let found = deliveries(&console, search).await?;
    let replays = Replays::read(&console).await?;
    let next = found.next.map(|next| next.to_string());
    let data = found.rows.iter().map(|row| DeliveryView::new(row, &replays)).collect();
    Ok(Json(DeliveryList { data, next }))
}

fn parse_type(text: &str) -> Option<EventType> {
    EventType::ALL.into_iter().find(|kind| kind.as_str() == text)
}

/// A status of HTTP.
pub(super) fn parse_status(text: &str) -> Option<u16> {
    text.parse().ok().filter(|status| (100..=599).contains(status))
}

/// The lanes that a name stands for: a destination's and its replays', or one replay's. One that was
/// removed from the configuration file is known as long as something of it is.
pub(super) async fn known_lanes(
    console: &Console,
    name: &str,
) -> Result<Vec<DestinationName>, Problem> {
    let lanes = console.lanes_of(&DestinationName::new(name)).await.map_err(FindError::from)?;
    let is_lane = async {
        let cursors = console.lanes.cursors().await.map_err(FindError::from)?;
        Ok::<_, Problem>(cursors.iter().any(|(lane, _)| lane.as_str() == name))
    };
    if lanes.len() > 1 || console.get(name).await.is_ok() || is_lane.await? {
        return Ok(lanes);
    }
    let is_standby = |file: &&domain::destination::Destination| {
        file.backup.as_ref().is_some_and(|backup| backup.name.as_str() == name)
    };
    let message = match console.files.iter().find(is_standby) {
        Some(file) => format!("stands in for `{0}`; look for `{0}`", file.name),
        None => "is not the name of a destination, nor the id of a replay".to_owned(),
    };
    Err(Problem::invalid(vec![FieldProblem::new("destination", message)]))
}

/// Which lanes are replays, and to which destinations.
pub(super) struct Replays(BTreeMap<DestinationName, DestinationName>);

impl Replays {
    pub(super) async fn read(console: &Console) -> Result<Self, Problem> {
        let replays: Result<_, ReplayError> = console.control.replay_lanes().await;
        Ok(Self(replays.map_err(FindError::from)?.into_iter().collect()))
    }

    /// The destination that a lane works for, and the replay that it is.
    pub(super) fn told(&self, lane: &DestinationName) -> (String, Option<String>) {
        match self.0.get(lane) {
            Some(of) => (of.as_str().to_owned(), Some(lane.as_str().to_owned())),
            None => (lane.as_str().to_owned(), None),
        }
    }

    /// Why what is due in a lane is not sent, and what to do; `None` if it is, now or once its
    /// destination is resumed.
    pub(super) async fn why_unsent(
        &self,
        console: &Console,
        lane: &DestinationName,
    ) -> Option<String> {
        console.why_unsent(self.0.get(lane).unwrap_or(lane)).await
    }
}

/// Shows a delivery
///
/// With its attempts: where the time went, whom it spoke to, what was answered.
#[utoipa::path(
    get, path = "/api/deliveries/{destination}/{id}", tag = "deliveries",
    operation_id = "read_delivery",
    params(
        ("destination" = String, Path,
         description = "Its destination; or, of a replay's delivery, the replay's id"),
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
    let mut events: Vec<_> = events.into_iter().map(|event| event.event).collect();
    if events.is_empty() {
        events = events_of(&console, &row).await?;
    }
    let replays = Replays::read(&console).await?;
    Ok(Json(DeliveryDetailView {
        delivery: DeliveryView::new(&row, &replays),
        events: events.iter().map(|id| id.as_str().to_owned()).collect(),
        history: (1..).zip(&attempts).map(|(n, attempt)| AttemptView::new(n, attempt)).collect(),
    }))
}

/// A delivery that is known.
pub(super) async fn find(
    console: &Console,
    destination: &str,
    id: &str,
) -> Result<DeliveryDetail, Problem> {
    let (lane, delivery) = (DestinationName::new(destination), DeliveryId::new(id));
    let found = console.lanes.delivery(&lane, &delivery).await.map_err(FindError::from)?;
    found.ok_or_else(|| {
        let message = format!("no delivery `{id}` to `{destination}` is known, or not any more");
        Problem::new(Kind::NotFound, message)
    })
}

impl DeliveryView {
    pub(super) fn new(row: &DeliveryRow, replays: &Replays) -> Self {
        let (destination, replay) = replays.told(&row.destination);
        let attempts = row.made.max(row.attempts);
        Self {
            destination,
            replay,
            id: row.id.as_str().to_owned(),
            state: match row.state {
                DeliveryState::Delivered => StateName::Delivered,
                DeliveryState::Waiting => StateName::Waiting,
                DeliveryState::Dead => StateName::Dead,
                DeliveryState::Replaced => StateName::Replaced,
            },
            attempts,
            attempts_counted: row.attempts,
            reason: row.reason.clone(),
            due_at: row.due_at.map(moment),
            last_attempt: row.last.as_ref().map(|last| AttemptView::new(row.made, last)),
        }
    }
}

impl AttemptView {
    fn new(number: u32, attempt: &Attempt) -> Self {
        Self {
            number,
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
