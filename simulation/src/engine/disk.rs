//! What survives a crash: the journal's records, and the rows of everything else.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use domain::{
    call::Call,
    delivery::{Attempt, DeadLetter, Parked},
    id::{CallId, DeliveryId, DestinationName},
    record::{Entry, Record, Sequence},
    time::Timestamp,
};
use store::{
    journal::{AppendError, BoxError},
    lanes::{Settlement, WAITING_MAX},
    state::{Spent, StoredDestination},
};

/// Attempts that a lane's rows keep, at most.
const ATTEMPTS_MAX: usize = 200;

/// Everything that is durable.
#[derive(Debug, Default)]
pub struct Disk {
    /// Committed records by position.
    pub entries: BTreeMap<Sequence, Arc<Entry>>,
    /// Positions whose bytes are not what was written.
    pub corrupt: BTreeSet<Sequence>,
    /// The last position that was given.
    pub last: Sequence,
    /// Calls that were admitted; `None` once they are sealed.
    pub calls: BTreeMap<CallId, Option<Arc<Call>>>,
    /// What lanes remember.
    pub lanes: BTreeMap<DestinationName, LaneRows>,
    /// Paused destinations.
    pub switches: BTreeMap<DestinationName, (String, Timestamp)>,
    /// When paused destinations were last resumed.
    pub resumed: BTreeMap<DestinationName, Timestamp>,
    /// Lanes without a destination.
    pub removed: BTreeSet<DestinationName>,
    /// Destinations made through doors.
    pub destinations: Vec<StoredDestination>,
    /// What was spent.
    pub spent: Spent,
    rows: i64,
}

/// The rows of one lane.
#[derive(Debug, Default)]
pub struct LaneRows {
    /// How far it has settled.
    pub cursor: Option<Sequence>,
    /// What waits, with the row's number.
    pub parked: BTreeMap<DeliveryId, (i64, Parked)>,
    /// What was given up, oldest first, with the row's number.
    pub dead: Vec<(i64, DeadLetter)>,
    /// Attempts, oldest first, with the row's number.
    pub attempts: Vec<(i64, Attempt)>,
}

/// Rows that a settlement took away or replaced.
pub type Replaced = Vec<Parked>;

impl Disk {
    /// Takes a record in.
    pub fn append(&mut self, record: Record) -> Result<Arc<Entry>, AppendError> {
        let refused = |call: CallId| Err(AppendError::NotOpen { call });
        match &record {
            Record::Admitted(call) => {
                if self.calls.contains_key(&call.id) {
                    let cause: BoxError = "the call was admitted before".into();
                    return Err(AppendError::Commit { cause: cause.into() });
                }
                self.calls.insert(call.id, Some(Arc::clone(call)));
            }
            Record::Captured(captured) => {
                if !matches!(self.calls.get(&captured.call_id()), Some(Some(_))) {
                    return refused(captured.call_id());
                }
            }
            Record::Sealed(exchange) => match self.calls.get_mut(&exchange.facts.call.id) {
                Some(open @ Some(_)) => *open = None,
                _ => return refused(exchange.facts.call.id),
            },
            Record::Noted(_) => {}
        }
        self.last = self.last.next();
        let entry = Arc::new(Entry { sequence: self.last, record });
        self.entries.insert(self.last, Arc::clone(&entry));
        Ok(entry)
    }

    /// No position is given again that anybody has counted.
    pub fn pass_what_was_counted(&mut self) {
        let cursors = self.lanes.values().filter_map(|rows| rows.cursor);
        let counted = cursors.chain(self.spent.cursor).max().unwrap_or_default();
        self.last = self.last.max(counted);
    }

    /// The oldest position stored, or the one after the head.
    pub fn oldest(&self) -> Sequence {
        self.entries.first_key_value().map_or(self.last.next(), |(first, _)| *first)
    }

    /// Forgets all of a lane.
    pub fn forget(&mut self, lane: &DestinationName) {
        self.lanes.remove(lane);
        self.switches.remove(lane);
        self.resumed.remove(lane);
        self.removed.remove(lane);
    }

    fn next_row(&mut self) -> i64 {
        self.rows += 1;
        self.rows
    }

    /// Stores a settlement, and returns what waited before under the ids that it names.
    pub fn settle(&mut self, lane: &DestinationName, settlement: &Settlement) -> Replaced {
        let mut rows = self.lanes.remove(lane).unwrap_or_default();
        let mut replaced = Vec::new();
        for parked in &settlement.parked {
            let number = self.next_row();
            let before = rows.parked.insert(parked.id.clone(), (number, parked.clone()));
            replaced.extend(before.map(|(_, row)| row));
        }
        let buried = settlement.buried.iter().map(|letter| &letter.id);
        for id in settlement.unparked.iter().chain(buried) {
            replaced.extend(rows.parked.remove(id).map(|(_, row)| row));
        }
        for letter in &settlement.buried {
            let number = self.next_row();
            rows.dead.retain(|(_, before)| before.id != letter.id);
            rows.dead.push((number, letter.clone()));
        }
        for attempt in &settlement.attempts {
            let number = self.next_row();
            rows.attempts.push((number, attempt.clone()));
        }
        let surplus = rows.attempts.len().saturating_sub(ATTEMPTS_MAX);
        rows.attempts.drain(..surplus);
        rows.cursor = settlement.cursor.or(rows.cursor);
        self.lanes.insert(lane.clone(), rows);
        replaced
    }

    /// Makes dead letters due `now`, as far as there is room, and returns which.
    pub fn revive(
        &mut self,
        lane: &DestinationName,
        ids: Option<&[DeliveryId]>,
        now: Timestamp,
    ) -> Vec<DeliveryId> {
        let Some(rows) = self.lanes.get_mut(lane) else { return Vec::new() };
        let mut room = WAITING_MAX.saturating_sub(rows.parked.len());
        let mut revived = Vec::new();
        for (number, letter) in std::mem::take(&mut rows.dead) {
            let is_meant = ids.is_none_or(|ids| ids.contains(&letter.id));
            if !is_meant || room == 0 {
                rows.dead.push((number, letter));
                continue;
            }
            room -= 1;
            let DeadLetter { id, events, reason, .. } = letter;
            revived.push(id.clone());
            let row = Parked { id: id.clone(), events, attempts: 0, due_at: now, reason };
            rows.parked.insert(id, (number, row));
        }
        revived
    }
}
