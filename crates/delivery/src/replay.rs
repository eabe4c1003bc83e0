//! Replays: a range of the journal once more, by a temporary lane with a cursor of its own.
//!
//! A replay sends what its destination would be sent, narrowed by a filter, under the same event
//! ids. It is stored, so a restart goes on with it, and says afterwards what became of it. The lane
//! of the destination itself knows nothing of it.
//!
//! It sends only while its destination is sent to, and as that one is: a pause rests it, a change
//! changes it, a removal ends it. Dead letters that it leaves are sent again by the same lane, which
//! begins once more for them.
//!
//! Invariant: a replay ends only when everything in its range is delivered, given up or not wanted,
//! and nothing waits under its name.

use std::sync::Arc;

use domain::{
    destination::{Destination, EventFilter, Format},
    event::EventType,
    id::DestinationName,
    record::Sequence,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use store::{journal::ReadError, lanes::LanesError, state::StoredDestination};

use crate::{
    control::Control,
    rehearsal,
    roster::{Bounds, Standing},
    service::Shared,
};

pub use crate::rehearsal::Rehearsal;

/// The door of replays among stored destinations, whose other doors are the console's.
pub const DOOR: &str = "replay";

/// What the ids of replays begin with, which are their lanes' names.
pub const PREFIX: &str = "replay_";

/// What to send once more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// To which destination: its URL, secrets, selection and settings hold.
    pub destination: DestinationName,
    /// The first record.
    pub from: Sequence,
    /// The last record; none after the head at the time of asking is sent.
    pub to: Sequence,
    /// Of these types only. `streaming` is never replayed: the outcome carries the whole text.
    #[serde(default)]
    pub event_types: Option<Vec<EventType>>,
    /// What passes this, beside the destination's own filters.
    #[serde(default)]
    pub filter: EventFilter,
    /// Deliveries a second, at most; `None` takes the destination's own limit.
    #[serde(default)]
    pub rate: Option<u32>,
    /// In this format instead of the destination's own.
    #[serde(default)]
    pub format: Option<Format>,
}

/// How a replay stands.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayStatus {
    /// Its id, and its lane's name.
    pub id: String,
    /// What was asked for.
    pub replay: Replay,
    /// How far it came.
    pub state: ReplayState,
    /// Everything up to here is settled.
    pub cursor: Sequence,
    /// Deliveries that succeeded; while it runs, since the gateway started or it was taken up again.
    pub delivered: u64,
    /// Its dead letters. They stand under the replay's name.
    pub given_up: u64,
    /// When it was asked for.
    pub started_at: Timestamp,
}

/// How far a replay came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayState {
    /// It sends.
    Running,
    /// It does not, for this reason, and would go on: its receiver wanted no more, say.
    Stopped(String),
    /// Everything in its range is settled.
    Finished,
}

/// Why there is no replay.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// There is no such destination.
    #[error("there is no destination `{0}`")]
    NoDestination(DestinationName),
    /// Its range is empty.
    #[error("the range ends before it begins")]
    EmptyRange,
    /// It could not be stored, so it was not begun.
    #[error("could not store the replay")]
    Store(#[from] LanesError),
    /// The journal could not be read.
    #[error("could not read the journal")]
    Read(#[from] ReadError),
}

/// A replay as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Spec {
    replay: Replay,
    finished: bool,
    delivered: u64,
}

impl Control {
    /// Sends a range of the journal once more.
    pub async fn replay(&self, replay: Replay) -> Result<ReplayStatus, ReplayError> {
        let shared = &self.shared;
        let replay = within(shared, replay)?;
        let lane = lane(shared, &replay)?;
        let started_at = shared.clock.now();
        let id = format!("{PREFIX}{:x}{:04x}", started_at.as_millis(), fastrand::u16(..));
        let spec = Spec { replay, finished: false, delivered: 0 };
        shared.destinations.put(stored(&id, &spec, started_at, started_at)).await?;
        let cursor = spec.replay.from.before();
        begin(shared, &id, spec.replay.clone(), lane, Some(cursor));
        Ok(ReplayStatus {
            id,
            replay: spec.replay,
            state: ReplayState::Running,
            cursor,
            delivered: 0,
            given_up: 0,
            started_at,
        })
    }

    /// Says what a replay would send, and sends nothing.
    pub async fn rehearse(&self, replay: Replay) -> Result<Rehearsal, ReplayError> {
        let replay = within(&self.shared, replay)?;
        let lane = lane(&self.shared, &replay)?;
        let only = only(&replay, &lane);
        Ok(rehearsal::rehearse(&self.shared, replay, &lane, &only).await?)
    }

    /// All replays that were not removed, oldest first.
    pub async fn replays(&self) -> Result<Vec<ReplayStatus>, ReplayError> {
        let mut all = Vec::new();
        for stored in self.shared.destinations.all().await? {
            let Some(spec) = parse(&stored) else { continue };
            let given_up = self.shared.lanes.dead_count(&stored.name).await?;
            all.push(self.replay_status(&stored, spec, given_up));
        }
        Ok(all)
    }

    /// Ids of the replays to each destination: the names of the lanes that work for it beside its own.
    pub async fn replay_lanes(
        &self,
    ) -> Result<Vec<(DestinationName, DestinationName)>, ReplayError> {
        let all = self.shared.destinations.all().await?;
        let replays = all.into_iter().filter_map(|stored| {
            let of = destination_of(&stored)?;
            Some((stored.name, of))
        });
        Ok(replays.collect())
    }

    /// Stops a replay if it runs, and forgets it.
    pub async fn remove_replay(&self, id: &str) -> Result<bool, ReplayError> {
        let name = DestinationName::new(id);
        let all = self.shared.destinations.all().await?;
        if !all.iter().any(|stored| stored.door == DOOR && stored.name == name) {
            return Ok(false);
        }
        self.remove_lane(&name).await?;
        Ok(self.shared.destinations.remove(&name).await?)
    }

    fn replay_status(&self, stored: &StoredDestination, spec: Spec, given_up: u64) -> ReplayStatus {
        let Spec { replay, finished, delivered } = spec;
        let roster = &self.shared.roster;
        let lane = roster.seen_one(&stored.name);
        let works = lane.as_ref().filter(|lane| !lane.standing.is_finished || !finished);
        let (state, cursor, delivered) = match works {
            None if finished => (ReplayState::Finished, replay.to, delivered),
            None => {
                let cursor = replay.from.before();
                (ReplayState::Stopped("its destination is gone".to_owned()), cursor, delivered)
            }
            Some(lane) => {
                let why = match (&lane.disabled, roster.seen_one(&replay.destination)) {
                    (Some(disabled), _) => Some(disabled.why.clone()),
                    (None, None) => Some("its destination is gone".to_owned()),
                    (None, Some(seen)) => {
                        seen.disabled.map(|d| format!("its destination is not sent to: {}", d.why))
                    }
                };
                let state = why.map_or(ReplayState::Running, ReplayState::Stopped);
                (state, lane.standing.cursor, delivered + lane.standing.delivered)
            }
        };
        let (id, started_at) = (stored.id.clone(), stored.created_at);
        ReplayStatus { id, replay, state, cursor, delivered, given_up, started_at }
    }
}

/// The replay with an end that has happened.
fn within(shared: &Shared, replay: Replay) -> Result<Replay, ReplayError> {
    let head = *shared.journal.head().borrow();
    let replay = Replay { to: replay.to.min(head), ..replay };
    if replay.to < replay.from.max(Sequence(1)) {
        return Err(ReplayError::EmptyRange);
    }
    Ok(replay)
}

/// Goes on with the replays that the last run did not finish, or left something to send.
pub(crate) async fn restore(shared: &Shared) -> Result<(), LanesError> {
    for stored in shared.destinations.all().await? {
        let Some(spec) = parse(&stored) else { continue };
        if spec.finished && shared.lanes.parked(&stored.name).await?.is_empty() {
            continue;
        }
        // A replay whose lane never began begins at its beginning.
        let cursor = shared.lanes.cursor(&stored.name).await?;
        let first = spec.replay.from.before();
        go_on(shared, &stored, spec, cursor.is_none().then_some(first));
    }
    Ok(())
}

/// Goes on with the replays that have ended and whose dead letters another process revived.
pub(crate) async fn take_up_revived(shared: &Shared) {
    let taken_up = async {
        for stored in shared.destinations.all().await? {
            let is_replay = stored.door == DOOR;
            if is_replay && !shared.lanes.parked(&stored.name).await?.is_empty() {
                take_up(shared, &stored.name).await?;
            }
        }
        Ok(())
    };
    let outcome: Result<(), LanesError> = taken_up.await;
    if let Err(error) = outcome {
        tracing::error!(%error, "Revived dead letters of replays wait for the next start.");
    }
}

/// Begins a replay's lane once more if it has ended: something waits under its name again.
pub(crate) async fn take_up(shared: &Shared, name: &DestinationName) -> Result<(), LanesError> {
    if shared.roster.seen_one(name).is_some_and(|lane| !lane.standing.is_finished) {
        return Ok(());
    }
    let all = shared.destinations.all().await?;
    let Some(stored_before) = all.into_iter().find(|stored| stored.name == *name) else {
        return Ok(());
    };
    let Some(spec) = parse(&stored_before) else { return Ok(()) };
    let spec = Spec { finished: false, ..spec };
    let now = shared.clock.now();
    let again = stored(&stored_before.id, &spec, stored_before.created_at, now);
    shared.destinations.put(again).await?;
    go_on(shared, &stored_before, spec, None);
    Ok(())
}

/// Replays to a destination work as it is now.
pub(crate) fn renew(shared: &Shared, name: &DestinationName) {
    for (id, bounds) in shared.roster.bounded_of(name) {
        if let Ok(lane) = lane(shared, &bounds.replay) {
            begin(shared, id.as_str(), bounds.replay, lane, None);
        }
    }
}

/// A replay's lane has nothing left to send.
pub(crate) async fn finish(shared: &Shared, name: &DestinationName, standing: Standing) {
    let finished = async {
        let all = shared.destinations.all().await?;
        let Some(before) = all.into_iter().find(|stored| stored.name == *name) else {
            return Ok(());
        };
        let Some(spec) = parse(&before) else { return Ok(()) };
        let delivered = spec.delivered + standing.delivered;
        let spec = Spec { finished: true, delivered, ..spec };
        let now = shared.clock.now();
        shared.destinations.put(stored(&before.id, &spec, before.created_at, now)).await?;
        // Somebody may have revived a dead letter while the lane ended.
        if !shared.lanes.parked(name).await?.is_empty() {
            take_up(shared, name).await?;
        }
        Ok(())
    };
    let outcome: Result<(), LanesError> = finished.await;
    match outcome {
        Ok(()) => tracing::info!(
            replay = %name,
            delivered = standing.delivered,
            given_up = standing.given_up,
            "A replay is finished."
        ),
        Err(error) => tracing::error!(
            replay = %name, %error,
            "A replay is finished, and that could not be stored: the next start looks again."
        ),
    }
}

fn go_on(shared: &Shared, stored: &StoredDestination, spec: Spec, begin_at: Option<Sequence>) {
    match lane(shared, &spec.replay) {
        Ok(lane) => begin(shared, &stored.id, spec.replay, lane, begin_at),
        Err(error) => tracing::warn!(replay = stored.id, %error, "A replay does not go on."),
    }
}

/// The destination of a replay's lane.
fn lane(shared: &Shared, replay: &Replay) -> Result<Destination, ReplayError> {
    let name = &replay.destination;
    let known = shared.roster.seen_one(name);
    let known = known.ok_or_else(|| ReplayError::NoDestination(name.clone()))?;
    let mut lane = Destination::clone(&known.destination);
    lane.rate_limit = replay.rate.or(lane.rate_limit);
    if let Some(format) = replay.format {
        lane.format = format;
    }
    lane.event_types.retain(|kind| *kind != EventType::Streaming);
    Ok(lane)
}

fn begin(shared: &Shared, id: &str, replay: Replay, lane: Destination, begin_at: Option<Sequence>) {
    let bounds = Bounds { only: Arc::new(only(&replay, &lane)), replay };
    let lane = Destination { name: DestinationName::new(id), ..lane };
    shared.roster.put(lane, begin_at, Some(bounds));
}

/// A destination that wants exactly what the replay's own filter passes.
fn only(replay: &Replay, lane: &Destination) -> Destination {
    let kinds = replay.event_types.clone().unwrap_or_else(|| EventType::ALL.to_vec());
    Destination {
        filters: kinds.iter().map(|kind| (*kind, replay.filter.clone())).collect(),
        event_types: kinds,
        rules: None,
        sample_rate: 1.0,
        ..lane.clone()
    }
}

fn stored(id: &str, spec: &Spec, created_at: Timestamp, now: Timestamp) -> StoredDestination {
    StoredDestination {
        name: DestinationName::new(id),
        id: id.to_owned(),
        door: DOOR.to_owned(),
        spec: serde_json::to_string(spec).expect("texts and numbers, written into memory"),
        secrets: Vec::new(),
        enabled: true,
        created_at,
        updated_at: now,
    }
}

/// The destination that a stored replay is to; `None` of what is no replay.
pub fn destination_of(stored: &StoredDestination) -> Option<DestinationName> {
    Some(parse(stored)?.replay.destination)
}

fn parse(stored: &StoredDestination) -> Option<Spec> {
    if stored.door != DOOR {
        return None;
    }
    serde_json::from_str(&stored.spec).ok()
}
