//! Replays: a range of the journal once more, by a temporary lane with a cursor of its own.
//!
//! A replay sends what its destination would be sent, narrowed by a filter, under the same event
//! ids. It is stored, so a restart goes on with it, and says afterwards what became of it. The lane
//! of the destination itself knows nothing of it.
//!
//! Invariant: a replay ends only when everything in its range is delivered, given up or not wanted.

use std::{collections::BTreeMap, sync::Arc};

use domain::{
    destination::{Destination, EventFilter, Format},
    event::EventType,
    id::DestinationName,
    record::Sequence,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use store::{
    journal::{ReadError, ReadLimit},
    lanes::LanesError,
    state::StoredDestination,
};
use webhook::{format, matching};

use crate::{
    control::Control,
    roster::{Bounds, Standing},
    service::Shared,
};

/// The door of replays among stored destinations, whose other doors are the console's.
pub const DOOR: &str = "replay";

/// What the names of replays' lanes begin with.
const PREFIX: &str = "replay_";

/// Entries of one read while a dry run counts.
const READ: ReadLimit = ReadLimit { entries_max: 256, bytes_max: 4 << 20 };

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
    /// Only count.
    #[serde(default)]
    pub dry_run: bool,
}

/// How a replay stands.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayStatus {
    /// Its id, and its lane's name; empty for a dry run, which leaves nothing behind.
    pub id: String,
    /// What was asked for.
    pub replay: Replay,
    /// How far it came.
    pub state: ReplayState,
    /// Everything up to here is settled.
    pub cursor: Sequence,
    /// Events that it sends, by type, as a dry run counted them.
    pub matched: Option<BTreeMap<EventType, u64>>,
    /// Deliveries that succeeded since the gateway started.
    pub delivered: u64,
    /// Deliveries given up since then; they stand in the dead letters under the replay's name.
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
    given_up: u64,
}

impl Control {
    /// Sends a range of the journal once more, or counts what that would send.
    pub async fn replay(&self, replay: Replay) -> Result<ReplayStatus, ReplayError> {
        let shared = &self.shared;
        let head = *shared.journal.head().borrow();
        let replay = Replay { to: replay.to.min(head), ..replay };
        if replay.to < replay.from.max(Sequence(1)) {
            return Err(ReplayError::EmptyRange);
        }
        let lane = lane(shared, &replay)?;
        let started_at = shared.clock.now();
        if replay.dry_run {
            let matched = Some(count(shared, &replay, &lane).await?);
            let (state, cursor) = (ReplayState::Finished, replay.to);
            let id = String::new();
            let (delivered, given_up) = (0, 0);
            return Ok(ReplayStatus {
                id,
                replay,
                state,
                cursor,
                matched,
                delivered,
                given_up,
                started_at,
            });
        }
        let id = format!("{PREFIX}{:x}{:04x}", started_at.as_millis(), fastrand::u16(..));
        let spec = Spec { replay: replay.clone(), finished: false, delivered: 0, given_up: 0 };
        shared.destinations.put(stored(&id, &spec, started_at, started_at)).await?;
        let cursor = Sequence(replay.from.0.saturating_sub(1));
        begin(shared, &id, &replay, lane, Some(cursor));
        Ok(ReplayStatus {
            id,
            replay,
            state: ReplayState::Running,
            cursor,
            matched: None,
            delivered: 0,
            given_up: 0,
            started_at,
        })
    }

    /// All replays that were not removed, oldest first.
    pub async fn replays(&self) -> Result<Vec<ReplayStatus>, ReplayError> {
        let all = self.shared.destinations.all().await?;
        Ok(all.into_iter().filter_map(|stored| self.replay_status(stored)).collect())
    }

    /// Stops a replay if it runs, and forgets it.
    pub async fn remove_replay(&self, id: &str) -> Result<bool, ReplayError> {
        let name = DestinationName::new(id);
        let all = self.shared.destinations.all().await?;
        if !all.iter().any(|stored| stored.door == DOOR && stored.name == name) {
            return Ok(false);
        }
        self.remove(&name).await;
        Ok(self.shared.destinations.remove(&name).await?)
    }

    fn replay_status(&self, stored: StoredDestination) -> Option<ReplayStatus> {
        let Spec { replay, finished, delivered, given_up } = parse(&stored)?;
        let seen = self.shared.roster.seen_one(&stored.name);
        let standing = seen.as_ref().map(|seen| seen.standing).unwrap_or_default();
        let (cursor, delivered, given_up) = if finished {
            (replay.to, delivered, given_up)
        } else {
            (standing.cursor, standing.delivered, standing.given_up)
        };
        let state = match seen {
            _ if finished => ReplayState::Finished,
            None => ReplayState::Stopped("its destination is gone".to_owned()),
            Some(seen) => match seen.disabled {
                Some(disabled) => ReplayState::Stopped(disabled.why),
                None => ReplayState::Running,
            },
        };
        Some(ReplayStatus {
            id: stored.id,
            replay,
            state,
            cursor,
            matched: None,
            delivered,
            given_up,
            started_at: stored.created_at,
        })
    }
}

/// Goes on with the replays that the last run did not finish.
pub(crate) async fn restore(shared: &Shared) -> Result<(), LanesError> {
    for stored in shared.destinations.all().await? {
        let Some(spec) = parse(&stored).filter(|spec| !spec.finished) else { continue };
        match lane(shared, &spec.replay) {
            Ok(lane) => {
                // A replay whose lane never began begins at its beginning.
                let cursor = shared.lanes.cursor(&stored.name).await?;
                let first = Sequence(spec.replay.from.0.saturating_sub(1));
                begin(shared, &stored.id, &spec.replay, lane, cursor.is_none().then_some(first));
            }
            Err(error) => {
                tracing::warn!(replay = stored.id, %error, "A replay does not go on.");
            }
        }
    }
    Ok(())
}

/// A replay's lane has nothing left to send.
pub(crate) async fn finish(shared: &Shared, name: &DestinationName, standing: Standing) {
    let finished = async {
        let all = shared.destinations.all().await?;
        let Some(before) = all.into_iter().find(|stored| stored.name == *name) else {
            return Ok(());
        };
        let Some(spec) = parse(&before) else { return Ok(()) };
        let Standing { delivered, given_up, .. } = standing;
        let spec = Spec { finished: true, delivered, given_up, ..spec };
        let now = shared.clock.now();
        shared.destinations.put(stored(&before.id, &spec, before.created_at, now)).await
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

/// The destination of a replay's lane.
fn lane(shared: &Shared, replay: &Replay) -> Result<Destination, ReplayError> {
    let name = &replay.destination;
    let known = shared.roster.seen_one(name);
    let known = known.ok_or_else(|| ReplayError::NoDestination(name.clone()))?;
    let mut lane = Destination::clone(&known.destination);
    lane.rate_limit = replay.rate.or(lane.rate_limit);
    if let Some(format) = replay.format {
        lane.format = format;
        let items_max = format::events_per_body_max(format);
        lane.batch.events_max = lane.batch.events_max.min(items_max);
    }
    lane.event_types.retain(|kind| *kind != EventType::Streaming);
    Ok(lane)
}

fn begin(
    shared: &Shared,
    id: &str,
    replay: &Replay,
    lane: Destination,
    begin_at: Option<Sequence>,
) {
    let bounds = Bounds { until: replay.to, only: Arc::new(only(replay, &lane)) };
    let lane = Destination { name: DestinationName::new(id), ..lane };
    shared.roster.put_bounded(lane, begin_at, bounds);
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

/// What a replay would send, by type.
async fn count(
    shared: &Shared,
    replay: &Replay,
    lane: &Destination,
) -> Result<BTreeMap<EventType, u64>, ReadError> {
    let only = only(replay, lane);
    let mut matched = BTreeMap::new();
    let mut cursor = Sequence(replay.from.0.saturating_sub(1));
    while cursor < replay.to {
        let entries = match shared.events.read_after(cursor, READ).await {
            Err(ReadError::Corrupt { sequence, .. }) if sequence > cursor => {
                cursor = sequence;
                continue;
            }
            read => read?,
        };
        let Some(last) = entries.last() else { break };
        cursor = last.sequence;
        for event in entries.iter().filter(|e| e.sequence <= replay.to).flat_map(|e| &e.events) {
            let kind = event.kind();
            if matching::matches(kind, event, &only) && !format::items(event, lane).is_empty() {
                *matched.entry(kind).or_default() += 1;
            }
        }
    }
    Ok(matched)
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

fn parse(stored: &StoredDestination) -> Option<Spec> {
    if stored.door != DOOR {
        return None;
    }
    serde_json::from_str(&stored.spec).ok()
}
