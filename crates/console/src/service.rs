//! Destinations, as every door manages them: make, change, remove, test, pause, rotate.
//!
//! Doors say what they want in the terms of [`DestinationSpec`] and tell what came of it in their
//! own; they decide nothing else.
//!
//! Invariant: what is answered as done is stored before it runs, and nothing that was refused is.
//! One change at a time.

use std::{sync::Arc, time::Duration};

use delivery::{
    control::{Control, LaneStatus, Preview, PreviewError, StartFrom},
    leftovers::{Leftover, why_unsent},
    replay::ReplayError,
};
use domain::{
    destination::Destination,
    id::DestinationName,
    secret::Secret,
    time::{Clock, Timestamp},
};
use provider::price::Prices;
use serde_json::Value;
use store::{
    journal::Journal,
    lanes::{Lanes, LanesError, Settlement},
    state::Destinations,
};
use tokio::{
    runtime::Handle,
    sync::{Mutex, Notify, Semaphore, SemaphorePermit},
};

use crate::{
    policy::Policy,
    problem::{FieldProblem, report},
    record::{Door, Record},
    secrets::{NoRandomness, new_secret, new_uuid},
    spec::{DestinationSpec, check},
    trial::{self, Tried},
};

/// Why a lane rests whose destination is not enabled.
const NOT_ENABLED: &str = "`enabled` is false";

/// Searches of the journal that run at once: they share their threads with the lanes.
const SEARCHES_MAX: usize = 2;

/// What the doors work with.
pub struct Parts {
    /// The lanes.
    pub control: Control,
    /// Destinations that were made through a door.
    pub destinations: Arc<dyn Destinations>,
    /// Those of the configuration file, without standbys.
    pub files: Vec<Destination>,
    /// What happened.
    pub journal: Arc<dyn Journal>,
    /// What became of it.
    pub lanes: Arc<dyn Lanes>,
    /// What calls cost, for events that are shown.
    pub prices: Arc<Prices>,
    /// The operator's terms.
    pub policy: Policy,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where requests are worked on: not on the callers' threads, and to their end, whether who
    /// asked waits for the answer or not.
    pub background: Handle,
}

/// What stands behind all doors. Cheap to clone.
#[derive(Clone)]
pub struct Console(Arc<Inner>);

struct Inner {
    parts: Parts,
    /// Held while something changes.
    changing: Mutex<()>,
    /// A rotation began or ended.
    rotated: Notify,
    /// A turn for each search that may run at once.
    searches: Semaphore,
}

impl std::ops::Deref for Console {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0.parts
    }
}

/// A destination and how it stands.
pub(crate) struct Known {
    /// What is stored of it; `None` for one of the configuration file.
    pub(crate) record: Option<Record>,
    /// As it is in force, or why it cannot be.
    pub(crate) destination: Result<Arc<Destination>, Vec<FieldProblem>>,
    /// Its lane, if there is one.
    pub(crate) status: Option<LaneStatus>,
}

/// A destination to be made.
pub(crate) struct New {
    pub(crate) door: Door,
    pub(crate) spec: DestinationSpec,
    pub(crate) secret: NewSecret,
    pub(crate) own: Value,
    /// Whether it is kept although nothing can be sent to it.
    pub(crate) may_be_invalid: bool,
}

/// What a new destination is signed with.
pub(crate) enum NewSecret {
    /// What the spec says, or a new one.
    GivenOrMade,
    /// Nothing.
    None,
}

/// Why something was not done. In every case nothing changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    #[error("there is no destination named `{0}`")]
    NotFound(String),
    #[error("destination `{0}` is written in the configuration file, and changed there")]
    ReadOnly(String),
    #[error("there is a destination named `{0}` already")]
    NameTaken(String),
    #[error("destination has values that cannot be")]
    Invalid(Vec<FieldProblem>),
    #[error("{0}")]
    Conflict(String),
    #[error("could not use the stored destinations")]
    Store(#[from] LanesError),
    #[error("could not make a secret")]
    Randomness(#[from] NoRandomness),
    #[error("could not make a preview")]
    Preview(#[from] PreviewError),
    #[error("could not remove the destination's replays; remove them by `/api/replays`")]
    Replays(#[from] ReplayError),
}

/// Destinations that were made through a door, as they run from the start on. One whose name the
/// configuration file took meanwhile stays away, and so does one that can no longer be.
pub async fn restore(
    destinations: &dyn Destinations,
    files: &[Destination],
    policy: &Policy,
    now: Timestamp,
) -> Result<Vec<Destination>, LanesError> {
    let mut restored = Vec::new();
    for stored in destinations.all().await? {
        if stored.door == delivery::replay::DOOR {
            continue;
        }
        let name = stored.name.clone();
        if is_in_file(files, &name) {
            tracing::warn!(
                destination = %name,
                "A stored destination is not sent to: the configuration file has one of its name."
            );
            continue;
        }
        match Record::from_stored(stored).map(|record| record.destination(policy, now)) {
            Ok(Ok(destination)) => restored.push(destination),
            Ok(Err(problems)) => {
                let problem = problems.first().map(|p| format!("{} {}", p.field, p.message));
                tracing::warn!(
                    destination = %name, problem,
                    "A stored destination is not sent to: it is not allowed as it is."
                );
            }
            Err(error) => {
                let error = report(&error);
                tracing::error!(destination = %name, error, "A stored destination cannot be read.");
            }
        }
    }
    Ok(restored)
}

/// Whether the file has a destination of this name, or a standby.
fn is_in_file(files: &[Destination], name: &DestinationName) -> bool {
    files.iter().any(|file| {
        file.name == *name || file.backup.as_ref().is_some_and(|backup| backup.name == *name)
    })
}

impl Console {
    /// Puts it together.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            parts,
            changing: Mutex::default(),
            rotated: Notify::new(),
            searches: Semaphore::new(SEARCHES_MAX),
        }))
    }

    /// Waits for a turn to search the journal.
    pub(crate) async fn searching(&self) -> SemaphorePermit<'_> {
        self.0.searches.acquire().await.expect("it is never closed")
    }

    /// All that were made through a door, oldest first.
    pub(crate) async fn records(&self) -> Result<Vec<Record>, ServiceError> {
        let stored = self.destinations.all().await?;
        Ok(stored.into_iter().filter_map(|stored| Record::from_stored(stored).ok()).collect())
    }

    /// All destinations: the file's in its order, then the others, oldest first.
    pub(crate) async fn all(&self) -> Result<Vec<Known>, ServiceError> {
        let files = self.files.iter().map(|file| self.known_file(file));
        let mut all: Vec<_> = files.collect();
        for record in self.records().await? {
            if !is_in_file(&self.files, &record.name) {
                all.push(self.known(record));
            }
        }
        Ok(all)
    }

    /// One of them.
    pub(crate) async fn get(&self, name: &str) -> Result<Known, ServiceError> {
        if let Some(file) = self.files.iter().find(|file| file.name.as_str() == name) {
            return Ok(self.known_file(file));
        }
        self.record(name).await.map(|record| self.known(record))
    }

    /// What is left of a destination that is not there any more.
    pub(crate) async fn leftover(&self, name: &str) -> Result<Option<Leftover>, ServiceError> {
        let leftovers = self.control.leftovers().await?;
        Ok(leftovers.into_iter().find(|leftover| leftover.name.as_str() == name))
    }

    /// Why nothing goes to a destination, whatever is asked for, and what to do; `None` if it is sent
    /// to, now or once it is resumed.
    pub(crate) async fn why_unsent(&self, name: &DestinationName) -> Option<String> {
        if self.control.get(name).is_some() {
            return None;
        }
        Some(match self.record(name.as_str()).await {
            Ok(_) => format!(
                "destination `{name}` is not allowed as it is, so nothing is sent to it: see its \
                 `problems` at /api/destinations/{name}"
            ),
            Err(_) => why_unsent(name),
        })
    }

    fn known_file(&self, file: &Destination) -> Known {
        let status = self.control.get(&file.name);
        let destination = match &status {
            Some(status) => Arc::clone(&status.destination),
            None => Arc::new(file.clone()),
        };
        Known { record: None, destination: Ok(destination), status }
    }

    pub(crate) fn known(&self, record: Record) -> Known {
        let status = self.control.get(&record.name);
        let destination = record.destination(&self.policy, self.clock.now()).map(Arc::new);
        Known { record: Some(record), destination, status }
    }

    /// The lanes that work for a destination: its own, and those of its replays. Of a replay, its own.
    pub(crate) async fn lanes_of(
        &self,
        name: &DestinationName,
    ) -> Result<Vec<DestinationName>, ReplayError> {
        let replays = self.control.replay_lanes().await?;
        let of_it = replays.into_iter().filter(|(_, of)| of == name).map(|(id, _)| id);
        Ok(std::iter::once(name.clone()).chain(of_it).collect())
    }

    /// What is stored of one that may be changed.
    pub(crate) async fn record(&self, name: &str) -> Result<Record, ServiceError> {
        if self.files.iter().any(|file| file.name.as_str() == name) {
            return Err(ServiceError::ReadOnly(name.to_owned()));
        }
        let records = self.records().await?;
        let found = records.into_iter().find(|record| record.name.as_str() == name);
        found.ok_or_else(|| ServiceError::NotFound(name.to_owned()))
    }

    /// Makes a destination. From when this returns, every event that it wants is owed to it.
    pub(crate) async fn create(&self, new: New) -> Result<Known, ServiceError> {
        let New { door, mut spec, secret, own, may_be_invalid } = new;
        let _changing = self.0.changing.lock().await;
        let now = self.clock.now();
        let stored = self.destinations.all().await?;
        check::take_credentials(&mut spec);
        let id = match door {
            Door::Helicone => next_number(stored.iter().map(|stored| stored.id.as_str()), now),
            Door::Api | Door::OpenRouter => new_uuid()?.to_string(),
        };
        if door != Door::Api {
            // Those doors know no unique names. Of a UUID, the last twelve digits will do.
            let short = id.rsplit('-').next().unwrap_or_default();
            spec.name = Some(format!("{}-{short}", door.as_str()));
        }
        let secret = match secret {
            NewSecret::None => None,
            NewSecret::GivenOrMade => match spec.secret.take() {
                Some(given) => Some(Secret::new(&given)),
                None => Some(new_secret(door, None)?),
            },
        };
        let name = DestinationName::new(spec.name.as_deref().unwrap_or_default());
        let record = Record {
            name: name.clone(),
            id,
            door,
            spec,
            secret,
            previous: None,
            own,
            created_at: now,
            updated_at: now,
        };
        let destination = match record.destination(&self.policy, now) {
            Ok(destination) => Some(destination),
            Err(_) if may_be_invalid => None,
            Err(problems) => return Err(ServiceError::Invalid(problems)),
        };
        let is_taken = is_in_file(&self.files, &name) || stored.iter().any(|s| s.name == name);
        if is_taken {
            return Err(ServiceError::NameTaken(name.as_str().to_owned()));
        }
        // What an earlier one of this name left behind is not this one's.
        self.control.remove(&name).await?;
        let head = *self.journal.head().borrow();
        let settlement = Settlement { cursor: Some(head), ..Settlement::default() };
        self.lanes.settle(&name, settlement).await?;
        self.destinations.put(record.to_stored()).await?;
        if let Some(destination) = destination {
            self.control.put(destination, StartFrom::At(head));
            if !record.is_enabled() {
                self.control.pause(&name, NOT_ENABLED).await;
            }
        }
        tracing::info!(destination = %name, door = door.as_str(), "A destination was made.");
        Ok(self.known(record))
    }

    /// Changes a destination. Once this returns, nothing is sent or passed over as it was before.
    pub(crate) async fn update(
        &self,
        name: &str,
        change: impl FnOnce(&mut Record) -> Result<(), ServiceError>,
    ) -> Result<Known, ServiceError> {
        let _changing = self.0.changing.lock().await;
        let mut record = self.record(name).await?;
        let was_enabled = record.is_enabled();
        change(&mut record)?;
        check::take_credentials(&mut record.spec);
        let now = self.clock.now();
        record.updated_at = now;
        let destination = record.destination(&self.policy, now).map_err(ServiceError::Invalid)?;
        self.destinations.put(record.to_stored()).await?;
        let is_enabled = record.is_enabled();
        let from = if is_enabled && !was_enabled { StartFrom::Head } else { StartFrom::Stored };
        self.control.put(destination, from);
        self.control.taken_up(&record.name).await;
        match (was_enabled, is_enabled) {
            (true, false) => self.control.pause(&record.name, NOT_ENABLED).await,
            (false, true) => self.control.resume(&record.name).await,
            _ => {}
        }
        self.0.rotated.notify_one();
        tracing::info!(destination = %name, "A destination was changed.");
        Ok(self.known(record))
    }

    /// Everything that is wrong with a spec of which a part could not be read.
    pub(crate) fn all_problems(
        &self,
        mut problems: Vec<FieldProblem>,
        rest: &DestinationSpec,
    ) -> Vec<FieldProblem> {
        let secret: Vec<_> = rest.secret.as_deref().map(Secret::new).into_iter().collect();
        let of_values = check::check(rest, &secret, &self.policy).err().unwrap_or_default();
        // Of what could not be read, one problem is told already.
        let is_told = |problem: &FieldProblem| problems.iter().any(|p| problem.is_in(&p.field));
        let untold: Vec<_> = of_values.into_iter().filter(|problem| !is_told(problem)).collect();
        problems.extend(untold);
        problems
    }

    /// Removes a destination, and all that is stored of its deliveries; or what one left that is not
    /// there any more.
    pub(crate) async fn delete(&self, name: &str) -> Result<(), ServiceError> {
        let _changing = self.0.changing.lock().await;
        match self.record(name).await {
            Ok(record) => drop(self.destinations.remove(&record.name).await?),
            Err(ServiceError::NotFound(_)) if self.leftover(name).await?.is_some() => {}
            Err(error) => return Err(error),
        }
        self.control.remove(&DestinationName::new(name)).await?;
        tracing::info!(destination = %name, "A destination was removed.");
        Ok(())
    }

    /// Stops sending to a destination; what it wants meanwhile is sent when it is resumed.
    pub(crate) async fn pause(&self, name: &str, why: &str) -> Result<Known, ServiceError> {
        let _changing = self.0.changing.lock().await;
        let known = self.switchable(name).await?;
        self.control.pause(&known, why).await;
        tracing::info!(destination = %name, "A destination was paused.");
        self.get(name).await
    }

    /// Sends to a destination again, from where it stopped.
    pub(crate) async fn resume(&self, name: &str) -> Result<Known, ServiceError> {
        let _changing = self.0.changing.lock().await;
        let known = self.switchable(name).await?;
        self.control.resume(&known).await;
        tracing::info!(destination = %name, "A destination was resumed.");
        self.get(name).await
    }

    /// The name of a destination that may be paused and resumed.
    async fn switchable(&self, name: &str) -> Result<DestinationName, ServiceError> {
        let known = self.get(name).await?;
        if known.record.as_ref().is_some_and(|record| !record.is_enabled()) {
            let text = format!("destination `{name}` is not enabled; set `enabled` to true");
            return Err(ServiceError::Conflict(text));
        }
        match known.destination {
            Ok(destination) => Ok(destination.name.clone()),
            Err(problems) => Err(ServiceError::Invalid(problems)),
        }
    }

    /// Signs with a new secret from now on, and with the one before for as long as the overlap; only
    /// headers that can carry several signatures carry both.
    pub(crate) async fn rotate(
        &self,
        name: &str,
        given: Option<Secret>,
        overlap: Duration,
    ) -> Result<Known, ServiceError> {
        let now = self.clock.now();
        self.update(name, |record| {
            let new = match given {
                Some(given) => given,
                None => new_secret(record.door, record.secret.as_ref())?,
            };
            if record.secret.as_ref() == Some(&new) {
                let problem = FieldProblem::new("secret", "is the one in force already");
                return Err(ServiceError::Invalid(vec![problem]));
            }
            let before = record.secret.replace(new);
            let until = now.plus(overlap);
            record.previous = before.filter(|_| now < until).map(|before| (before, until));
            Ok(())
        })
        .await
    }

    /// Sends a test event to a destination, at once and once.
    pub(crate) async fn test(&self, name: &str) -> Result<Tried, ServiceError> {
        let known = self.get(name).await?;
        let destination = known.destination.map_err(ServiceError::Invalid)?;
        Ok(trial::send(self, &destination).await?)
    }

    /// The newest event that a destination would get, as it would be sent.
    pub(crate) async fn preview(
        &self,
        name: &str,
    ) -> Result<(Option<Preview>, Arc<Destination>), ServiceError> {
        let known = self.get(name).await?;
        let destination = known.destination.map_err(ServiceError::Invalid)?;
        Ok((self.control.preview(&destination).await?, destination))
    }

    /// Ends rotations whose overlap is over; runs until it is dropped.
    pub async fn end_rotations(&self) {
        loop {
            let next = match self.records().await {
                Ok(records) => {
                    let ends = records.iter().filter_map(|r| Some((r.previous.as_ref()?.1, r)));
                    ends.min_by_key(|(until, _)| *until).map(|(until, r)| (until, r.name.clone()))
                }
                Err(error) => {
                    tracing::error!(error = report(&error), "Rotations could not be read.");
                    None
                }
            };
            let Some((until, name)) = next else {
                self.0.rotated.notified().await;
                continue;
            };
            let wait = until.since(self.clock.now());
            if !wait.is_zero() {
                // Clocks may jump: asked again within the hour.
                let wait = wait.min(Duration::from_hours(1));
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.0.rotated.notified() => {}
                }
                continue;
            }
            let ended = self.update(name.as_str(), |record| {
                // It may have been rotated anew in the meantime.
                if record.previous.as_ref().is_some_and(|(_, end)| *end == until) {
                    record.previous = None;
                }
                Ok(())
            });
            if let Err(error) = ended.await {
                tracing::error!(destination = %name, error = report(&error), "A rotation stays open.");
                tokio::time::sleep(Duration::from_mins(1)).await;
            }
        }
    }
}

/// The next of Helicone's ids, larger than any before it: milliseconds since 1970, as long as there
/// is less than one a millisecond.
fn next_number<'a>(ids: impl Iterator<Item = &'a str>, now: Timestamp) -> String {
    let numbers = ids.filter_map(|id| id.parse::<i64>().ok());
    let largest = numbers.max().unwrap_or_default();
    now.as_millis().max(largest + 1).to_string()
}
