//! Which lanes there should be, which there are, and what people may see of each.
//!
//! `control` writes what is wished, `service` makes it so, each lane publishes how it stands. Does
//! not start or end anything itself.
//!
//! Invariant: at most one worker a destination. A wish that comes while one runs is met once that
//! one has ended, so two never settle for the same cursor.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use domain::{
    destination::Destination, event::EventType, id::DestinationName, note::Note, record::Sequence,
    time::Timestamp,
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::replay::Replay;

/// Why a destination is not sent to, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disabled {
    /// In words: an operator's own, or what the receiver did.
    pub why: String,
    /// When it was paused or given up.
    pub since: Timestamp,
}

/// Whether a receiver is taken for down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BreakerStatus {
    /// It takes deliveries, as far as is known.
    #[default]
    Closed,
    /// It is down, and probes go out.
    Open {
        /// When it was taken for down.
        since: Timestamp,
        /// When the next probe is due.
        probe_at: Timestamp,
    },
}

/// How a lane stands, as it last said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    pub(crate) cursor: Sequence,
    pub(crate) in_flight: usize,
    pub(crate) waiting: usize,
    pub(crate) concurrency: usize,
    pub(crate) breaker: BreakerStatus,
    pub(crate) delivered_at: Option<Timestamp>,
    pub(crate) failing_since: Option<Timestamp>,
    /// Deliveries that succeeded, and that were given up, since the gateway started.
    pub(crate) delivered: u64,
    pub(crate) given_up: u64,
    /// Nothing is left of its range.
    pub(crate) is_finished: bool,
}

/// What a lane and the outside share.
#[derive(Debug, Default)]
pub(crate) struct View {
    standing: Mutex<Standing>,
    /// Parked rows changed under the lane.
    pub(crate) reload: Notify,
}

impl View {
    pub(crate) fn publish(&self, standing: Standing) {
        *lock(&self.standing) = standing;
    }

    pub(crate) fn standing(&self) -> Standing {
        *lock(&self.standing)
    }
}

/// All destinations, by name.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    state: Mutex<State>,
    /// Counts changes of any kind.
    changed: watch::Sender<u64>,
    wants_pieces: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    slots: BTreeMap<DestinationName, Slot>,
    disabled: BTreeMap<DestinationName, Disabled>,
    /// When those that were disabled were last resumed.
    resumed: BTreeMap<DestinationName, Timestamp>,
    /// What lanes ask for beside their own work.
    asked: Vec<Chore>,
    is_served: bool,
}

/// What a lane is limited to that does not go on for ever.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    /// What it is for: the last record that it reads, and the destination that it works for. It
    /// rests while that one does.
    pub(crate) replay: Replay,
    /// What does not match this is left out.
    pub(crate) only: Arc<Destination>,
}

#[derive(Debug)]
struct Slot {
    destination: Arc<Destination>,
    bounds: Option<Bounds>,
    /// Where its next worker begins; `None` where the stored cursor stands.
    begin_at: Option<Sequence>,
    version: u64,
    is_removed: bool,
    /// Whether what is stored of it goes before anything else happens.
    forgetting: Forgetting,
    has_failed: bool,
    worker: Option<Worker>,
    view: Arc<View>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forgetting {
    No,
    Due,
    Running,
}

#[derive(Debug)]
struct Worker {
    version: u64,
    halt: CancellationToken,
}

/// What the service is to do.
#[derive(Debug)]
pub(crate) enum Chore {
    /// Run a lane.
    Start(Start),
    /// Delete what is stored of a removed destination.
    Forget(DestinationName),
    /// Append news to the journal.
    Tell(Note),
    /// Store that a destination was given up, and tell of it.
    GiveUp(DestinationName, Disabled),
    /// Store that a lane has sent all of its range.
    Finish(DestinationName, Standing),
}

/// A lane to run.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) destination: Arc<Destination>,
    pub(crate) bounds: Option<Bounds>,
    pub(crate) begin_at: Option<Sequence>,
    pub(crate) version: u64,
    pub(crate) halt: CancellationToken,
    pub(crate) after_failure: bool,
    /// When somebody last resumed it: what failed before that no longer counts.
    pub(crate) resumed_at: Option<Timestamp>,
    /// The standby must not be sent to.
    pub(crate) without_backup: bool,
    pub(crate) view: Arc<View>,
}

/// A destination as people see it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) destination: Arc<Destination>,
    pub(crate) disabled: Option<Disabled>,
    pub(crate) standing: Standing,
}

impl Roster {
    /// Wishes for a lane; within bounds, for one that ends once it has sent what lies there. A running
    /// one of that name is replaced.
    pub(crate) fn put(
        &self,
        destination: Destination,
        begin_at: Option<Sequence>,
        bounds: Option<Bounds>,
    ) {
        self.change(|state| {
            let name = destination.name.clone();
            let before = state.slots.remove(&name);
            let mut slot = before.unwrap_or_else(|| Slot::new(&destination));
            slot.destination = Arc::new(destination);
            slot.bounds = bounds;
            // A beginning that no worker has taken up yet still counts.
            slot.begin_at = begin_at.or(slot.begin_at);
            // Until its worker says how far it is: whoever looks before must not see all as owed.
            if let Some(cursor) = slot.begin_at.filter(|_| slot.worker.is_none()) {
                slot.view.publish(Standing { cursor, ..slot.view.standing() });
            }
            let standing = slot.view.standing();
            if standing.is_finished {
                slot.view.publish(Standing { is_finished: false, delivered: 0, ..standing });
            }
            slot.version += 1;
            slot.is_removed = false;
            slot.has_failed = false;
            state.slots.insert(name, slot);
        });
    }

    /// Wishes a lane away, with all that is stored of it. Returns whether there is one; if not, nobody
    /// deletes what is stored.
    pub(crate) fn remove(&self, name: &DestinationName) -> bool {
        let mut has_lane = false;
        self.change(|state| {
            state.disabled.remove(name);
            state.resumed.remove(name);
            if let Some(slot) = state.slots.get_mut(name) {
                has_lane = true;
                slot.is_removed = true;
                slot.forgetting = Forgetting::Due;
                slot.begin_at = None;
            }
        });
        has_lane
    }

    pub(crate) fn disable(&self, name: &DestinationName, disabled: Disabled) {
        self.change(|state| {
            state.renew_those_with_backup(name);
            state.disabled.insert(name.clone(), disabled);
        });
    }

    pub(crate) fn enable(&self, name: &DestinationName, now: Timestamp) {
        self.change(|state| {
            if state.disabled.remove(name).is_some() {
                state.renew_those_with_backup(name);
                state.resumed.insert(name.clone(), now);
            }
        });
    }

    /// Somebody resumed it in an earlier run of the gateway.
    pub(crate) fn was_resumed(&self, name: DestinationName, at: Timestamp) {
        self.change(|state| {
            state.resumed.insert(name, at);
        });
    }

    /// Queues news for the journal.
    pub(crate) fn tell(&self, note: Note) {
        self.change(|state| state.asked.push(Chore::Tell(note)));
    }

    /// A receiver wants nothing any more, or has failed for too long. It is told of once.
    pub(crate) fn give_up(&self, name: &DestinationName, disabled: Disabled) {
        self.change(|state| {
            let is_removed = state.slots.get(name).is_some_and(|slot| slot.is_removed);
            if !is_removed && !state.disabled.contains_key(name) {
                state.renew_those_with_backup(name);
                state.disabled.insert(name.clone(), disabled.clone());
                state.asked.push(Chore::GiveUp(name.clone(), disabled));
            }
        });
    }

    /// Whether it is disabled for this reason, and no other.
    pub(crate) fn is_disabled(&self, name: &DestinationName, disabled: &Disabled) -> bool {
        lock(&self.state).disabled.get(name) == Some(disabled)
    }

    /// The service works from now on, or no longer.
    pub(crate) fn serve(&self, is_served: bool) {
        self.change(|state| state.is_served = is_served);
    }

    /// What is to be done now. Workers that should end are told so.
    pub(crate) fn chores(&self) -> Vec<Chore> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let mut chores = std::mem::take(&mut state.asked);
        state.slots.retain(|_, slot| !slot.is_gone());
        let resting = state.resting();
        for (name, slot) in &mut state.slots {
            let is_disabled = resting.contains(name);
            if let Some(worker) = &slot.worker {
                if slot.is_removed || is_disabled || worker.version != slot.version {
                    worker.halt.cancel();
                }
            } else if slot.forgetting == Forgetting::Due {
                slot.forgetting = Forgetting::Running;
                chores.push(Chore::Forget(name.clone()));
            } else if slot.forgetting == Forgetting::No
                && !is_disabled
                && !slot.view.standing().is_finished
            {
                let backup = slot.destination.backup.as_ref();
                let without_backup = backup.is_some_and(|b| state.disabled.contains_key(&b.name));
                let resumed_at = state.resumed.get(name).copied();
                chores.push(Chore::Start(slot.start(without_backup, resumed_at)));
            }
        }
        chores
    }

    /// A worker has stored where it begins. Returns whether it may: another that is wished for meanwhile
    /// begins there, too, and would send again what this one sends.
    pub(crate) fn began(&self, name: &DestinationName, version: u64) -> bool {
        let mut state = lock(&self.state);
        let slot = state.slots.get_mut(name).filter(|slot| slot.version == version);
        let Some(slot) = slot else { return false };
        slot.begin_at = None;
        slot.has_failed = false;
        true
    }

    /// A worker has ended.
    pub(crate) fn ended(&self, name: &DestinationName, has_failed: bool) {
        self.change(|state| {
            if let Some(slot) = state.slots.get_mut(name) {
                slot.worker = None;
                slot.has_failed |= has_failed;
                let standing = slot.view.standing();
                slot.view.publish(Standing { in_flight: 0, ..standing });
                if standing.is_finished {
                    state.asked.push(Chore::Finish(name.clone(), standing));
                }
            }
        });
    }

    /// What was stored of a destination is gone, or could not be deleted.
    pub(crate) fn forgot(&self, name: &DestinationName) {
        self.change(|state| {
            if let Some(slot) = state.slots.get_mut(name) {
                slot.forgetting = Forgetting::No;
            }
            state.slots.retain(|_, slot| !slot.is_gone());
        });
    }

    /// Returns once nothing works for the destination as it was before it was last put; at once if no
    /// service runs.
    pub(crate) async fn taken_up(&self, name: &DestinationName) {
        let is_old = |slot: &Slot| slot.worker.as_ref().is_some_and(|w| w.version != slot.version);
        self.until(|state| !state.working_for(name).any(is_old)).await;
    }

    /// Returns once a removed destination is gone, with all that is stored of it; at once if no
    /// service runs.
    pub(crate) async fn gone(&self, name: &DestinationName) {
        let is_going = |slot: &Slot| slot.worker.is_some() || slot.is_removed;
        self.until(|state| !state.working_for(name).any(is_going)).await;
    }

    /// Returns once nothing works for a paused destination any more, or it is resumed; at once if no
    /// service runs.
    pub(crate) async fn paused(&self, name: &DestinationName) {
        let works = |slot: &Slot| slot.worker.is_some();
        let is_paused = |state: &State| state.disabled.contains_key(name);
        self.until(|state| !state.working_for(name).any(works) || !is_paused(state)).await;
    }

    async fn until(&self, is_so: impl Fn(&State) -> bool) {
        let mut changed = self.changed.subscribe();
        let is_over = || {
            let state = lock(&self.state);
            is_so(&state) || !state.is_served
        };
        while !is_over() {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Changes with everything that the service should look at.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn is_served(&self) -> bool {
        lock(&self.state).is_served
    }

    /// Whether any destination that is sent to wants streaming events.
    pub(crate) fn wants_pieces(&self) -> bool {
        self.wants_pieces.load(Ordering::Relaxed)
    }

    /// Those that are not bounded: replays are shown by themselves.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let state = lock(&self.state);
        let is_shown = |slot: &Slot| !slot.is_removed && slot.bounds.is_none();
        let slots = state.slots.iter().filter(|(_, slot)| is_shown(slot));
        slots.map(|(name, slot)| slot.seen(state.disabled.get(name))).collect()
    }

    pub(crate) fn seen_one(&self, name: &DestinationName) -> Option<Seen> {
        let state = lock(&self.state);
        let slot = state.slots.get(name).filter(|slot| !slot.is_removed)?;
        Some(slot.seen(state.disabled.get(name)))
    }

    /// The bounded lanes that work for a destination and have not ended.
    pub(crate) fn bounded_of(&self, name: &DestinationName) -> Vec<(DestinationName, Bounds)> {
        let state = lock(&self.state);
        let bounded = state.slots.iter().filter_map(|(id, slot)| {
            let bounds =
                slot.bounds.as_ref().filter(|bounds| bounds.replay.destination == *name)?;
            let has_ended = slot.is_removed || slot.view.standing().is_finished;
            (!has_ended).then(|| (id.clone(), bounds.clone()))
        });
        bounded.collect()
    }

    pub(crate) fn view(&self, name: &DestinationName) -> Option<Arc<View>> {
        Some(Arc::clone(&lock(&self.state).slots.get(name)?.view))
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.state);
        change(&mut state);
        let wants = |(name, slot): (&DestinationName, &Slot)| {
            !slot.is_removed
                && !state.disabled.contains_key(name)
                && slot.destination.wants(EventType::Streaming)
        };
        self.wants_pieces.store(state.slots.iter().any(wants), Ordering::Relaxed);
        drop(state);
        self.changed.send_modify(|changes| *changes += 1);
    }
}

impl State {
    /// Lanes that are not to run: the disabled ones, and bounded ones whose destination is disabled or
    /// gone.
    fn resting(&self) -> BTreeSet<DestinationName> {
        let has_rest = |slot: &Slot| {
            let of = slot.bounds.as_ref().map(|bounds| &bounds.replay.destination);
            let is_there = |of| self.slots.get(of).is_some_and(|slot| !slot.is_removed);
            of.is_some_and(|of| self.disabled.contains_key(of) || !is_there(of))
        };
        let bounded = self.slots.iter().filter(|(_, slot)| has_rest(slot)).map(|(name, _)| name);
        self.disabled.keys().chain(bounded).cloned().collect()
    }

    /// A destination's own lane, and those of its replays.
    fn working_for(&self, name: &DestinationName) -> impl Iterator<Item = &Slot> {
        let of = |slot: &Slot| slot.bounds.as_ref().map(|b| b.replay.destination.clone());
        let slots = self.slots.iter();
        slots
            .filter(move |(own, slot)| *own == name || of(slot).as_ref() == Some(name))
            .map(|(_, slot)| slot)
    }

    /// Lanes that may send to a standby of this name begin anew, to take it up or leave it.
    fn renew_those_with_backup(&mut self, name: &DestinationName) {
        for slot in self.slots.values_mut() {
            if slot.destination.backup.as_ref().is_some_and(|backup| backup.name == *name) {
                slot.version += 1;
            }
        }
    }
}

impl Slot {
    fn new(destination: &Destination) -> Self {
        Self {
            destination: Arc::new(destination.clone()),
            bounds: None,
            begin_at: None,
            version: 0,
            is_removed: false,
            forgetting: Forgetting::No,
            has_failed: false,
            worker: None,
            view: Arc::default(),
        }
    }

    fn is_gone(&self) -> bool {
        self.is_removed && self.worker.is_none() && self.forgetting == Forgetting::No
    }

    fn start(&mut self, without_backup: bool, resumed_at: Option<Timestamp>) -> Start {
        let halt = CancellationToken::new();
        self.worker = Some(Worker { version: self.version, halt: halt.clone() });
        Start {
            destination: Arc::clone(&self.destination),
            bounds: self.bounds.clone(),
            begin_at: self.begin_at,
            version: self.version,
            halt,
            after_failure: self.has_failed,
            resumed_at,
            without_backup,
            view: Arc::clone(&self.view),
        }
    }

    fn seen(&self, disabled: Option<&Disabled>) -> Seen {
        Seen {
            destination: Arc::clone(&self.destination),
            disabled: disabled.cloned(),
            standing: self.view.standing(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
