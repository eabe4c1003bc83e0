//! `/api/replays`: ranges of the journal once more, under the same event ids.

use std::collections::BTreeMap;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use delivery::replay::{Rehearsal, Replay, ReplayError, ReplayState, ReplayStatus};
use domain::{id::DestinationName, record::Sequence};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    destinations::{Pause, read_reason},
    moment,
    view::PreviewRequest,
};
use crate::{
    find::{FindError, Place, place},
    problem::{FieldProblem, Kind, Problem},
    request::{parse_time, read_object},
    service::Console,
    spec::{
        BodiesName, DestinationSpec, EventTypeName, FilterSpec, FormatName, GenerationGroupName,
        IntegersName, LogFormatName, ModeName, ProfileName,
        check::{filter_of, format_of, misplaced_options},
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
    /// In this format instead of the destination's own. The options below are those of a destination.
    format: Option<FormatName>,
    /// Of `format: generic_api`: how payloads stand in a body.
    log_format: Option<LogFormatName>,
    /// Of `format: otlp`: whose names attributes have.
    profile: Option<ProfileName>,
    /// Of `format: otlp`: how integers are written.
    integers: Option<IntegersName>,
    /// Of `format: otlp`: groups of facts of a generation that are told beside the usual.
    generation_metadata: Option<Vec<GenerationGroupName>>,
    /// Of `format: helicone`: whether model, provider and metadata go along.
    include_data: Option<bool>,
    /// Of `format: helicone`: how the two bodies are written.
    bodies: Option<BodiesName>,
    /// Of `format: cloudevents`: how events stand in a body.
    mode: Option<ModeName>,
    /// Whether nothing is sent, and the answer says what would be. Default: false.
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
    /// Its id. Its deliveries are found by it.
    #[schema(example = "replay_19a2f1c7a3e7c1e")]
    id: String,
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
    /// Deliveries that succeeded; while it runs, since the gateway started or it was taken up again.
    delivered: u64,
    /// Its dead letters. They are listed with the destination's, and sent again like those.
    given_up: u64,
    /// When it was asked for.
    #[schema(format = DateTime)]
    started_at: String,
}

/// What a replay would send.
#[derive(Serialize, ToSchema)]
pub(crate) struct RehearsalView {
    /// To which destination.
    destination: String,
    /// The first record.
    from: u64,
    /// The last record.
    to: u64,
    /// How many events, by type.
    #[schema(example = json!({"completion": 3}))]
    matched: BTreeMap<String, u64>,
    /// In how many bodies, if none is closed early by `flush_interval`.
    bodies: u64,
    /// The first of them as it would be sent; null if there is none.
    first: Option<PreviewRequest>,
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
/// goes on after a restart, rests while its destination is paused, and is removed with it. With
/// `dry_run` nothing is sent: events and bodies are counted, and the first body is shown.
#[utoipa::path(
    post, path = "/api/replays", tag = "replays", operation_id = "create_replay",
    request_body = ReplaySpec,
    responses(
        (status = 200, description = "What a dry run found", body = RehearsalView),
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
    let (replay, is_dry) = read_replay(&console, &read_object(body).await?).await?;
    if is_dry {
        let _turn = console.searching().await;
        let found = console.control.rehearse(replay).await.map_err(problem)?;
        return Ok(Json(RehearsalView::new(&console, found)).into_response());
    }
    let begun = console.control.replay(replay).await.map_err(problem)?;
    let destination = begun.replay.destination.as_str();
    tracing::info!(destination, replay = begun.id, "A replay was begun.");
    Ok((StatusCode::CREATED, Json(ReplayView::new(begun))).into_response())
}

/// What is asked for, and whether nothing is to be sent.
async fn read_replay(
    console: &Console,
    given: &Map<String, Value>,
) -> Result<(Replay, bool), Problem> {
    let (spec, mut problems): (ReplaySpec, _) = read_rest(given);
    check(console, &spec, given, &mut problems);
    let from = position(console, spec.from.as_ref(), Place::First, &mut problems).await?;
    let to = position(console, spec.to.as_ref(), Place::Last, &mut problems).await?;
    let (Some(destination), true) = (&spec.destination, problems.is_empty()) else {
        return Err(Problem::invalid(problems));
    };
    let replay = Replay {
        destination: DestinationName::new(destination),
        from: from.unwrap_or_default(),
        to: to.unwrap_or_else(|| *console.journal.head().borrow()),
        format: spec.format.map(|_| format_of(&spec.as_destination())),
        event_types: spec.event_types.map(|types| types.into_iter().map(Into::into).collect()),
        filter: filter_of(&spec.filter.unwrap_or_default(), &console.policy),
        rate: spec.rate,
    };
    Ok((replay, spec.dry_run.unwrap_or(false)))
}

impl ReplaySpec {
    /// Its format and that one's options, as a destination has them.
    fn as_destination(&self) -> DestinationSpec {
        DestinationSpec {
            format: self.format,
            log_format: self.log_format,
            profile: self.profile,
            integers: self.integers,
            generation_metadata: self.generation_metadata.clone(),
            include_data: self.include_data,
            bodies: self.bodies,
            mode: self.mode,
            ..DestinationSpec::default()
        }
    }
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
    problems.extend(misplaced_options(&spec.as_destination()));
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
    find(&console, &id).await.map(Json)
}

async fn find(console: &Console, id: &str) -> Result<ReplayView, Problem> {
    let replays = console.control.replays().await.map_err(problem)?;
    let found = replays.into_iter().find(|replay| replay.id == id);
    found.map(ReplayView::new).ok_or_else(|| not_found(id))
}

/// Pauses a replay
///
/// Its destination gets everything else. It stays paused over restarts.
#[utoipa::path(
    post, path = "/api/replays/{id}/pause", tag = "replays", operation_id = "pause_replay",
    params(("id" = String, Path, description = "Its id")),
    request_body = Option<Pause>,
    responses(
        (status = 200, description = "The replay, paused", body = ReplayView),
        (status = 400, description = "The body is not JSON", body = Problem),
        (status = 401, description = "No key, or a wrong one", body = Problem),
        (status = 403, description = "Not the master key", body = Problem),
        (status = 404, description = "There is none of that id", body = Problem),
        (status = 409, description = "It is finished", body = Problem),
        (status = 413, description = "The body is too large", body = Problem),
        (status = 422, description = "Values that cannot be, all at once", body = Problem),
    ),
)]
pub(crate) async fn pause(
    State(console): State<Console>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<ReplayView>, Problem> {
    let why = read_reason(body).await?;
    let name = unfinished(&console, &id).await?;
    console.control.pause(&name, &why).await;
    find(&console, &id).await.map(Json)
}

/// Goes on with a replay
///
/// That was paused, or stopped because its receiver wanted no more.
#[utoipa::path(
    post, path = "/api/replays/{id}/resume", tag = "replays", operation_id = "resume_replay",
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 200, description = "The replay", body = ReplayView),
        (status = 401, description = "No key, or a wrong one", body = Problem),
        (status = 403, description = "Not the master key", body = Problem),
        (status = 404, description = "There is none of that id", body = Problem),
        (status = 409, description = "It is finished", body = Problem),
    ),
)]
pub(crate) async fn resume(
    State(console): State<Console>,
    Path(id): Path<String>,
) -> Result<Json<ReplayView>, Problem> {
    let name = unfinished(&console, &id).await?;
    console.control.resume(&name).await;
    find(&console, &id).await.map(Json)
}

/// The name of a replay's lane, if it has something left to send.
async fn unfinished(console: &Console, id: &str) -> Result<DestinationName, Problem> {
    let found = find(console, id).await?;
    if matches!(found.state, ReplayStateName::Finished) {
        return Err(Problem::new(Kind::Conflict, format!("replay `{id}` is finished")));
    }
    Ok(DestinationName::new(id))
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

impl RehearsalView {
    fn new(console: &Console, found: Rehearsal) -> Self {
        let Rehearsal { replay, matched, bodies, first } = found;
        let known = console.control.get(&replay.destination);
        let first =
            first.zip(known).map(|(first, known)| PreviewRequest::new(first, &known.destination));
        let matched = matched.into_iter();
        Self {
            destination: replay.destination.as_str().to_owned(),
            from: replay.from.0,
            to: replay.to.0,
            matched: matched.map(|(kind, count)| (kind.as_str().to_owned(), count)).collect(),
            bodies,
            first,
        }
    }
}

impl ReplayView {
    fn new(status: ReplayStatus) -> Self {
        let (state, reason) = match status.state {
            ReplayState::Running => (ReplayStateName::Running, None),
            ReplayState::Stopped(reason) => (ReplayStateName::Stopped, Some(reason)),
            ReplayState::Finished => (ReplayStateName::Finished, None),
        };
        Self {
            id: status.id,
            destination: status.replay.destination.as_str().to_owned(),
            from: status.replay.from.0,
            to: status.replay.to.0,
            state,
            reason,
            cursor: status.cursor.0,
            delivered: status.delivered,
            given_up: status.given_up,
            started_at: moment(status.started_at),
        }
    }
}
