//! `/api/replays`: ranges of the journal once more, under the same event ids.

use std::collections::BTreeMap;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use delivery::replay::{Replay, ReplayError, ReplayState, ReplayStatus};
use domain::{id::DestinationName, record::Sequence};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::moment;
use crate::{
    find::{FindError, Place, place},
    problem::{FieldProblem, Kind, Problem},
    request::{parse_time, read_object},
    service::Console,
    spec::{
        DestinationSpec, EventTypeName, FilterSpec, FormatName, LogFormatName,
        check::{filter_of, format_of},
        read_rest,
    },
};

/// Deliveries a second, at most.
const RATE_MAX: u32 = 1_000_000;

/// What to send once more.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(example = json!({
    "destination": "audit", "from": "2026-11-21T00:00:00Z", "rate": 50, "dry_run": true,
}))]
pub(crate) struct ReplaySpec {
    /// To which destination: its URL, secrets and settings hold. Needed.
    destination: Option<String>,
    /// From where on: a position of the journal, or a time. Needed.
    from: Option<End>,
    /// Up to where. Default: up to now.
    to: Option<End>,
    /// Of these types only. Default: all that the destination wants; never `streaming`, whose text the
    /// outcome carries whole.
    event_types: Option<Vec<EventTypeName>>,
    /// What passes this, beside the destination's own filters.
    filter: Option<FilterSpec>,
    /// Deliveries a second, at most. Default: the destination's own limit.
    #[schema(minimum = 1, maximum = 1_000_000)]
    rate: Option<u32>,
    /// In this format instead of the destination's own.
    format: Option<FormatName>,
    /// Of `format: generic_api`: how payloads stand in a body.
    log_format: Option<LogFormatName>,
    /// Whether events are only counted. Default: false.
    dry_run: Option<bool>,
}

/// An end of a range.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
enum End {
    /// A time: RFC 3339.
    Time(String),
    /// A position of the journal.
    Position(u64),
}

/// All replays that were not removed.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReplayList {
    /// Oldest first.
    data: Vec<ReplayView>,
}

/// A replay, and how it stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReplayView {
    /// Its id; null for a dry run, which leaves nothing behind. Its deliveries stand under it.
    #[schema(example = "replay_19a2f1c7a3e7c1e")]
    id: Option<String>,
    /// To which destination.
    destination: String,
    /// The first record.
    from: u64,
    /// The last record.
    to: u64,
    /// How far it came.
    state: ReplayStateName,
    /// Why it does not go on, if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Everything up to this record is settled.
    cursor: u64,
    /// How many events it would send, by type; of a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    matched: Option<BTreeMap<String, u64>>,
    /// Deliveries that succeeded since the gateway started.
    delivered: u64,
    /// Deliveries given up since then: dead letters of the replay.
    given_up: u64,
    /// When it was asked for.
    #[schema(format = DateTime)]
    started_at: String,
}

/// How far a replay came.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ReplayStateName {
    /// It sends.
    Running,
    /// It does not, and would go on.
    Stopped,
    /// Everything in its range is settled.
    Finished,
}

/// Lists replays
#[utoipa::path(
    get, path = "/api/replays", tag = "replays", operation_id = "list_replays",
    responses(
        (status = 200, description = "All replays that were not removed", body = ReplayList),
        (status = 401, description = "No key, or a wrong one", body = Problem),
        (status = 403, description = "Not the master key", body = Problem),
    ),
)]
pub(crate) async fn list(State(console): State<Console>) -> Result<Json<ReplayList>, Problem> {
    let replays = console.control.replays().await.map_err(problem)?;
    Ok(Json(ReplayList { data: replays.into_iter().map(ReplayView::new).collect() }))
}

/// Sends a range once more
///
/// Under the same event ids, by a lane of its own: what the destination gets meanwhile goes on. It
/// goes on after a restart. With `dry_run`, events are only counted.
#[utoipa::path(
    post, path = "/api/replays", tag = "replays", operation_id = "create_replay",
    request_body = ReplaySpec,
    responses(
        (status = 200, description = "What a dry run counted", body = ReplayView),
        (status = 201, description = "It is sent", body = ReplayView),
        (status = 400, description = "The body is not JSON", body = Problem),
        (status = 401, description = "No key, or a wrong one", body = Problem),
        (status = 403, description = "Not the master key", body = Problem),
        (status = 413, description = "The body is too large", body = Problem),
        (status = 422, description = "Values that cannot be, all at once", body = Problem),
    ),
)]
pub(crate) async fn create(
    State(console): State<Console>,
    body: Body,
) -> Result<Response, Problem> {
    let replay = read_replay(&console, &read_object(body).await?).await?;
    let status = if replay.dry_run { StatusCode::OK } else { StatusCode::CREATED };
    let begun = console.control.replay(replay).await.map_err(problem)?;
    if status == StatusCode::CREATED {
        let destination = begun.replay.destination.as_str();
        tracing::info!(destination, replay = begun.id, "A replay was begun.");
    }
    Ok((status, Json(ReplayView::new(begun))).into_response())
}

async fn read_replay(console: &Console, given: &Map<String, Value>) -> Result<Replay, Problem> {
    let (spec, mut problems): (ReplaySpec, _) = read_rest(given);
    check(console, &spec, given, &mut problems);
    let from = position(console, spec.from.as_ref(), Place::First, &mut problems).await?;
    let to = position(console, spec.to.as_ref(), Place::Last, &mut problems).await?;
    let (Some(destination), true) = (&spec.destination, problems.is_empty()) else {
        return Err(Problem::invalid(problems));
    };
    let format = spec.format.map(|format| {
        format_of(&DestinationSpec {
            format: Some(format),
            log_format: spec.log_format,
            ..DestinationSpec::default()
        })
    });
    Ok(Replay {
        destination: DestinationName::new(destination),
        from: from.unwrap_or_default(),
        to: to.unwrap_or_else(|| *console.journal.head().borrow()),
        event_types: spec.event_types.map(|types| types.into_iter().map(Into::into).collect()),
        filter: filter_of(&spec.filter.unwrap_or_default(), &console.policy),
        rate: spec.rate,
        format,
        dry_run: spec.dry_run.unwrap_or(false),
    })
}

/// Notes what values cannot be; of what could not be read, a problem is noted already.
fn check(
    console: &Console,
    spec: &ReplaySpec,
    given: &Map<String, Value>,
    problems: &mut Vec<FieldProblem>,
) {
    let is_given = |field: &str| given.get(field).is_some_and(|value| !value.is_null());
    let mut problem = |field: &str, message: &str| {
        problems.push(FieldProblem::new(field, message));
    };
    match spec.destination.as_deref().map(DestinationName::new) {
        None if !is_given("destination") => problem("destination", "is missing"),
        Some(name) if console.control.get(&name).is_none() => {
            problem("destination", "is not the name of a destination that is sent to");
        }
        _ => {}
    }
    if !is_given("from") {
        problem("from", "is missing: a position of the journal, or a time");
    }
    if spec.rate.is_some_and(|rate| !(1..=RATE_MAX).contains(&rate)) {
        problem("rate", &format!("must be from 1 to {RATE_MAX}"));
    }
    if spec.log_format.is_some() && spec.format != Some(FormatName::GenericApi) {
        problem("log_format", "is an option of `format: generic_api` only");
    }
}

/// The record that an end of a range names.
async fn position(
    console: &Console,
    end: Option<&End>,
    which: Place,
    problems: &mut Vec<FieldProblem>,
) -> Result<Option<Sequence>, Problem> {
    let text = match end {
        None => return Ok(None),
        // SQLite's integers, which sequences are stored as.
        Some(End::Position(position)) => {
            return Ok(Some(Sequence((*position).min(i64::MAX.cast_unsigned()))));
        }
        Some(End::Time(text)) => text,
    };
    if let Some(time) = parse_time(text) {
        return Ok(Some(place(console, time, which).await?));
    }
    let field = if which == Place::First { "from" } else { "to" };
    let message = "must be a time such as 2026-11-21T10:30:00Z, or a position of the journal";
    problems.push(FieldProblem::new(field, message));
    Ok(None)
}

/// Shows a replay
#[utoipa::path(
    get, path = "/api/replays/{id}", tag = "replays", operation_id = "read_replay",
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 200, description = "The replay", body = ReplayView),
        (status = 401, description = "No key, or a wrong one", body = Problem),
        (status = 403, description = "Not the master key", body = Problem),
        (status = 404, description = "There is none of that id", body = Problem),
    ),
)]
pub(crate) async fn read(
    State(console): State<Console>,
    Path(id): Path<String>,
) -> Result<Json<ReplayView>, Problem> {
    let replays = console.control.replays().await.map_err(problem)?;
    let found = replays.into_iter().find(|replay| replay.id == id);
    found.map(|replay| Json(ReplayView::new(replay))).ok_or_else(|| not_found(&id))
}

/// Removes a replay
///
/// One that runs is stopped; what waits and its dead letters go with it.
#[utoipa::path(
    delete, path = "/api/replays/{id}", tag = "replays", operation_id = "delete_replay",
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 204, description = "Removed"),
        (status = 401, description = "No key, or a wrong one", body = Problem),
        (status = 403, description = "Not the master key", body = Problem),
        (status = 404, description = "There is none of that id", body = Problem),
    ),
)]
pub(crate) async fn delete(
    State(console): State<Console>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let removed = console.control.remove_replay(&id).await.map_err(problem)?;
    if removed { Ok(StatusCode::NO_CONTENT) } else { Err(not_found(&id)) }
}

fn not_found(id: &str) -> Problem {
    Problem::new(Kind::NotFound, format!("there is no replay `{id}`"))
}

#[expect(clippy::needless_pass_by_value, reason = "it maps errors")]
fn problem(error: ReplayError) -> Problem {
    let field = match &error {
        ReplayError::NoDestination(_) => "destination",
        ReplayError::EmptyRange => "to",
        ReplayError::Store(_) | ReplayError::Read(_) => return Problem::internal(&error),
    };
    Problem::invalid(vec![FieldProblem::new(field, error.to_string())])
}

impl From<store::journal::ReadError> for Problem {
    fn from(error: store::journal::ReadError) -> Self {
        FindError::from(error).into()
    }
}

impl ReplayView {
    fn new(status: ReplayStatus) -> Self {
        let (state, reason) = match status.state {
            ReplayState::Running => (ReplayStateName::Running, None),
            ReplayState::Stopped(reason) => (ReplayStateName::Stopped, Some(reason)),
            ReplayState::Finished => (ReplayStateName::Finished, None),
        };
        let matched = status.matched.map(|matched| {
            matched.into_iter().map(|(kind, count)| (kind.as_str().to_owned(), count)).collect()
        });
        Self {
            id: Some(status.id).filter(|id| !id.is_empty()),
            destination: status.replay.destination.as_str().to_owned(),
            from: status.replay.from.0,
            to: status.replay.to.0,
            state,
            reason,
            cursor: status.cursor.0,
            matched,
            delivered: status.delivered,
            given_up: status.given_up,
            started_at: moment(status.started_at),
        }
    }
}
