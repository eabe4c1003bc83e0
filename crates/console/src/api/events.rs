//! `/api/events`: what happened, as the journal tells it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, RawQuery, State},
};
use domain::{
    destination::Destination,
    event::{Detail, Event, EventType},
    id::{DeliveryId, EventId},
    note::News,
};
use serde::Serialize;
use serde_json::value::RawValue;
use store::lanes::{DeliveryQuery, DeliveryRow, DeliveryState};
use utoipa::ToSchema;
use webhook::{format, matching::matches};

use super::{deliveries::Replays, moment};
use crate::{
    find::{FindError, Position, Search, event, everything, key_name, search},
    problem::{FieldProblem, Kind, Problem},
    request::Query,
    service::Console,
    spec::EventTypeName,
};

/// Events of a page, unless the request says otherwise, and at most.
const LIMITS: (usize, usize) = (50, 200);
/// Deliveries that are shown with one event, at most.
const DELIVERIES_MAX: usize = 200;

/// What a state's name should be.
pub(super) const STATES: &str = "one of delivered, waiting, dead, replaced";

/// A page of events.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventList {
    /// Newest first.
    data: Vec<EventSummary>,
    /// The `cursor` of the next page; null at the journal's beginning. A page may be short, or empty,
    /// and have a next one: each request looks at a bounded number of records.
    #[schema(example = "4711.0")]
    next: Option<String>,
    /// Records of the journal that were looked at.
    scanned: u64,
    /// The time of the oldest of them.
    #[schema(format = DateTime)]
    back_to: Option<String>,
}

/// An event in short.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventSummary {
    /// Its id, the same in every delivery (`webhook-id`).
    #[schema(example = "evt_019a2f1c7a3e7c1e8f5d3b2a19c0d4e7_completion")]
    id: String,
    /// Its type.
    r#type: EventTypeName,
    /// When it happened.
    #[schema(format = DateTime)]
    occurred_at: String,
    /// Its position in the journal.
    sequence: u64,
    /// The call that it is about.
    #[schema(example = "req_019a2f1c7a3e7c1e8f5d3b2a19c0d4e7")]
    request_id: Option<String>,
    /// The model as the caller named it.
    model: Option<String>,
    /// The provider that was asked last.
    provider: Option<String>,
    /// What the caller's key is called; `master` for the master key.
    key: Option<String>,
    /// The end user that the caller named.
    end_user: Option<String>,
    /// What went wrong, in one word.
    error_type: Option<String>,
    /// What it says, in words: the error, or the news.
    message: Option<String>,
    /// Tokens of prompt and answer.
    total_tokens: Option<u64>,
    /// US dollars.
    cost: Option<f64>,
    /// From the call's arrival to its end.
    latency_ms: Option<u64>,
}

/// An event, whole.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventView {
    #[serde(flatten)]
    summary: EventSummary,
    /// As the `event` format writes it.
    #[schema(value_type = Object)]
    event: Box<RawValue>,
    /// How it stands with each destination that wants it.
    deliveries: Vec<EventDelivery>,
}

/// How an event stands with a destination.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventDelivery {
    /// The destination.
    destination: String,
    /// The replay that sent it, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<String>,
    /// How it stands.
    state: EventDeliveryState,
    /// The delivery that carries it, where one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<String>,
    /// Attempts so far, where they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    /// What the last attempt ended with.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// When the next attempt is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    due_at: Option<String>,
}

/// How an event stands with a destination.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum EventDeliveryState {
    /// It was taken.
    Delivered,
    /// It failed, and waits for another attempt.
    Waiting,
    /// It was given up, and stands in the dead letters.
    Dead,
    /// It is not sent yet.
    Pending,
    /// The destination is past it: it was taken and the attempt is no longer known, or it was there
    /// before the destination was.
    Settled,
}

impl From<DeliveryState> for EventDeliveryState {
    fn from(state: DeliveryState) -> Self {
        match state {
            DeliveryState::Delivered => Self::Delivered,
            DeliveryState::Waiting => Self::Waiting,
            DeliveryState::Dead => Self::Dead,
            DeliveryState::Replaced => Self::Settled,
        }
    }
}

/// Lists events
///
/// Newest first, read from the journal: there is no index, so each request looks at a bounded number
/// of records and says how far it came. Go on with `next`.
#[utoipa::path(
    get, path = "/api/events", tag = "events",
    operation_id = "list_events",
    params(
        ("type" = Option<String>, Query, example = "error",
         description = "Types, with commas between. Default: all but `streaming`"),
        ("model" = Option<String>, Query, example = "gpt-4*",
         description = "A glob over the model's name, the caller's or the provider's"),
        ("key" = Option<String>, Query,
         description = "A glob over the name of the caller's key; `master` for the master key"),
        ("since" = Option<String>, Query, example = "2026-11-21T00:00:00Z",
         description = "From this time on: RFC 3339, or seconds since 1970"),
        ("until" = Option<String>, Query, description = "Before this time"),
        ("destination" = Option<String>, Query,
         description = "Those that this destination wants"),
        ("state" = Option<String>, Query, example = "dead",
         description = "Those with a delivery in this state: `delivered`, `waiting`, `dead` or `replaced`"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200,
         description = "At most so many. Default: 50"),
        ("cursor" = Option<String>, Query, description = "The `next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of events", body = EventList),
        (status = 401, description = "No key, or a wrong one", body = Problem),
        (status = 403, description = "Not the master key", body = Problem),
        (status = 422, description = "Parameters that cannot be", body = Problem),
    ),
)]
pub(crate) async fn list(
    State(console): State<Console>,
    RawQuery(query): RawQuery,
) -> Result<Json<EventList>, Problem> {
    let search_for = read_search(&console, query.as_deref()).await?;
    let found = search(&console, &search_for).await?;
    Ok(Json(EventList {
        data: found.events.iter().map(EventSummary::new).collect(),
        next: found.next.map(|next| next.to_string()),
        scanned: found.scanned,
        back_to: found.back_to.map(moment),
    }))
}

async fn read_search(console: &Console, query: Option<&str>) -> Result<Search, Problem> {
    let mut query = Query::new(query);
    let names = EventType::ALL.map(EventType::as_str).join(", ");
    let types =
        query.parsed("type", &format!("one or more of {names}, with commas between"), parse_types);
    let mut search = Search {
        types: types.unwrap_or_default(),
        model: query.text("model"),
        key: query.text("key"),
        since: query.time("since"),
        until: query.time("until"),
        destination: None,
        state: query.parsed("state", STATES, parse_state),
        before: query.parsed("cursor", "the `next` of an earlier page", Position::parse),
        limit: query.limit(LIMITS.0, LIMITS.1),
    };
    let destination = query.text("destination");
    query.finish()?;
    if let Some(name) = destination {
        search.destination = Some(wanting(console, &name).await?);
    }
    Ok(search)
}

async fn wanting(console: &Console, name: &str) -> Result<Arc<Destination>, Problem> {
    let unknown = |message: &str| Problem::invalid(vec![FieldProblem::new("destination", message)]);
    let Ok(known) = console.get(name).await else {
        return Err(unknown("is not the name of a destination"));
    };
    known.destination.map_err(|_| unknown("gets nothing: it is not allowed as it is"))
}

fn parse_types(text: &str) -> Option<Vec<EventType>> {
    let parse = |name: &str| EventType::ALL.into_iter().find(|kind| kind.as_str() == name.trim());
    text.split(',').map(parse).collect()
}

/// A delivery's state by its name.
pub(crate) fn parse_state(text: &str) -> Option<DeliveryState> {
    DeliveryState::ALL.into_iter().find(|state| state.as_str() == text)
}

/// Shows an event
///
/// Whole, in the `event` format, and how it stands with each destination that wants it.
#[utoipa::path(
    get, path = "/api/events/{id}", tag = "events",
    operation_id = "read_event",
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 200, description = "The event", body = EventView),
        (status = 401, description = "No key, or a wrong one", body = Problem),
        (status = 403, description = "Not the master key", body = Problem),
        (status = 404, description = "It is not in the journal, or not any more", body = Problem),
    ),
)]
pub(crate) async fn read(
    State(console): State<Console>,
    Path(id): Path<String>,
) -> Result<Json<EventView>, Problem> {
    let not_found = || {
        let message = format!("the journal has no event `{id}`, or has it no longer");
        Problem::new(Kind::NotFound, message)
    };
    let id = EventId::from_stored(&id);
    let found = event(&console, &id).await?.ok_or_else(not_found)?;
    let items = format::items(&found, &everything(&console));
    let text = items.first().and_then(|item| std::str::from_utf8(&item.bytes).ok());
    let rendered = text.and_then(|text| RawValue::from_string(text.to_owned()).ok());
    Ok(Json(EventView {
        summary: EventSummary::new(&found),
        event: rendered.ok_or_else(not_found)?,
        deliveries: deliveries(&console, &found).await?,
    }))
}

/// How an event stands with each destination that wants it, or that has a delivery of it.
async fn deliveries(console: &Console, event: &Event) -> Result<Vec<EventDelivery>, Problem> {
    let query = DeliveryQuery {
        event: Some(event.id.clone()),
        event_at: Some(event.sequence),
        limit: DELIVERIES_MAX,
        ..DeliveryQuery::default()
    };
    let rows = console.lanes.deliveries(query).await.map_err(FindError::from)?;
    let replays = Replays::read(console).await?;
    // What was replaced is told by what replaced it.
    let rows = rows.iter().filter(|row| row.state != DeliveryState::Replaced);
    let mut told: Vec<_> = rows.map(|row| EventDelivery::of_row(row, &replays)).collect();
    for known in console.all().await? {
        let (Ok(destination), Some(status)) = (known.destination, known.status) else { continue };
        let name = destination.name.as_str();
        let is_own = |told: &EventDelivery| told.destination == name && told.replay.is_none();
        let is_told = told.iter().any(is_own);
        let is_younger = known.record.is_some_and(|record| event.occurred_at < record.created_at);
        if is_told || is_younger || !matches(event.kind(), event, &destination) {
            continue;
        }
        let is_passed = event.sequence <= status.cursor;
        let state =
            if is_passed { EventDeliveryState::Settled } else { EventDeliveryState::Pending };
        told.push(EventDelivery {
            destination: name.to_owned(),
            replay: None,
            state,
            delivery: None,
            attempts: None,
            reason: None,
            due_at: None,
        });
    }
    Ok(told)
}

impl EventDelivery {
    fn of_row(row: &DeliveryRow, replays: &Replays) -> Self {
        let (destination, replay) = replays.told(&row.destination);
        Self {
            destination,
            replay,
            state: row.state.into(),
            delivery: Some(DeliveryId::as_str(&row.id).to_owned()),
            attempts: Some(row.made.max(row.attempts)),
            reason: Some(row.reason.clone()),
            due_at: row.due_at.map(moment),
        }
    }
}

impl EventSummary {
    fn new(event: &Event) -> Self {
        let call = event.call();
        let report = event.report();
        let facts = report.map(|report| &report.exchange.facts);
        let attempt = facts.and_then(|facts| facts.attempts.last());
        let failure = facts.and_then(|facts| facts.outcome.failure());
        let latency = facts.map(|facts| facts.finished_at.since(facts.call.arrived_at));
        Self {
            id: event.id.as_str().to_owned(),
            r#type: event.kind().into(),
            occurred_at: moment(event.occurred_at),
            sequence: event.sequence.0,
            request_id: call.map(|call| call.id.to_request_id()),
            model: call.map(|call| call.model.clone()),
            provider: attempt.map(|attempt| attempt.deployment.provider.clone()),
            key: call.and_then(|call| key_name(call)).map(str::to_owned),
            end_user: call.and_then(|call| call.end_user.clone()),
            error_type: failure.map(|failure| failure.kind.as_str().to_owned()),
            message: failure.map(|failure| failure.message.clone()).or_else(|| news(event)),
            total_tokens: report.and_then(|report| report.usage?.total_tokens),
            cost: report.and_then(|report| Some(report.cost?.total)),
            latency_ms: latency.and_then(|latency| u64::try_from(latency.as_millis()).ok()),
        }
    }
}

/// What a note says, in words.
fn news(event: &Event) -> Option<String> {
    let Detail::Noted(note) = &event.detail else { return None };
    Some(match &note.news {
        News::BudgetReached(reached) => {
            let (scope, of) = (reached.scope.as_str(), &reached.matched);
            let whose = if of.is_empty() { scope.to_owned() } else { format!("{scope} {of}") };
            format!("{}% of the budget of {whose} is spent", reached.threshold)
        }
        News::DestinationDisabled { destination, reason } => {
            format!("{destination} is no longer sent to: {reason}")
        }
        News::DestinationRecovered { destination, failing_since } => {
            format!("{destination} takes deliveries again; it failed since {failing_since}")
        }
        News::DeliveryExhausted { destination, delivery, attempts, reason } => {
            format!("{delivery} to {destination} was given up after {attempts} attempts: {reason}")
        }
    })
}

impl From<FindError> for Problem {
    fn from(error: FindError) -> Self {
        Self::internal(&error)
    }
}
