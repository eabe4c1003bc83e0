//! What one lane owes, and what is stored of it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use domain::{
    delivery::{EventRef, Parked},
    destination::Destination,
    event::{Event, EventType},
    record::Sequence,
    time::Timestamp,
};
use store::lanes::Settlement;
use webhook::matching::matches;

use super::{Flight, Given, Rule, Violation, attempts::Run};
use crate::engine::disk::{Disk, LaneRows, Replaced};

/// Deliveries that may follow from one record of the journal, at most: an error and a rate limit,
/// and one for each of a few limits more.
const DELIVERIES_PER_RECORD: usize = 3;

/// Deliveries that a lane may hold to probe with, and the one that gathers.
const PROBES_MAX: usize = 17;

/// Rounds of attempts that may fail before a receiver is taken for down: 429s that come side by side
/// count once.
const ROUNDS_TO_OPEN: usize = 5;

/// How many deliveries a lane may hold, parked ones among them.
pub fn waiting_max(asked: &Destination) -> usize {
    let most = DELIVERIES_PER_RECORD * asked.queue_size.max(1);
    2 * most + ROUNDS_TO_OPEN * asked.concurrent_deliveries + PROBES_MAX
}

/// One lane, from outside.
pub(super) struct LaneWatch {
    pub(super) asked: Destination,
    pub(super) given: Given,
    /// Outcomes and notes that it must deliver, by record.
    pub(super) owed: BTreeMap<Sequence, Vec<String>>,
    pub(super) items: HashMap<String, Item>,
    /// What was sent under an id.
    pub(super) bodies: HashMap<String, Vec<u64>>,
    /// Ids that were too large for the receiver.
    pub(super) too_large: HashSet<String>,
    /// Dead letters that somebody sends again: their rows come beside those that the lane parks.
    pub(super) revived: HashSet<String>,
    /// When parked rows are due that have had no attempt since.
    pub(super) due: HashMap<String, Timestamp>,
    /// Events that were parked or have failed once: their bodies may be read again for an attempt.
    pub(super) reread: HashSet<String>,
    pub(super) is_paused: bool,
    /// Orders of people to pause or resume it, so far.
    pub(super) orders: u64,
    /// When its only receiver said that it wants no more.
    pub(super) gone_at: Option<Duration>,
    /// Everything owed before it may be overtaken.
    pub(super) order_from: Sequence,
    cursor: Sequence,
    pub(super) run: Run,
}

/// One event that is owed.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not exclude each other")]
pub(super) struct Item {
    /// The first record that it follows from.
    pub(super) sequence: Sequence,
    pub(super) is_acked: bool,
    /// The run of the lane that saw the acknowledgement.
    pub(super) acked_in: Option<u64>,
    pub(super) sends: u32,
    /// It was given up, or its record cannot be read.
    pub(super) was_dead: bool,
    pub(super) is_told_twice: bool,
    /// The receiver said that it never takes it.
    pub(super) is_refused: bool,
    pub(super) taken_at: Vec<Duration>,
}

pub(super) fn broken(rule: Rule, what: String) -> Result<(), Violation> {
    Err(Violation { rule, what })
}

impl LaneWatch {
    pub(super) fn new(asked: Destination, given: Given) -> Self {
        Self {
            asked,
            given,
            owed: BTreeMap::new(),
            items: HashMap::new(),
            bodies: HashMap::new(),
            too_large: HashSet::new(),
            revived: HashSet::new(),
            due: HashMap::new(),
            reread: HashSet::new(),
            is_paused: false,
            orders: 0,
            gone_at: None,
            order_from: Sequence(0),
            cursor: Sequence(0),
            run: Run::default(),
        }
    }

    /// A record is committed from which these events follow.
    pub(super) fn owe(&mut self, events: &[Event], is_damaged: bool) {
        for event in events {
            let kind = event.kind();
            if kind != EventType::Streaming && matches(kind, event, &self.asked) {
                let id = event.id.as_str().to_owned();
                let sequence = event.sequence;
                self.items
                    .entry(id.clone())
                    // The same news may be recorded again, under the same id.
                    .and_modify(|item| item.is_told_twice = true)
                    .or_insert_with(|| Item { sequence, was_dead: is_damaged, ..Item::default() });
                self.owed.entry(event.sequence).or_default().push(id);
            }
        }
    }

    /// Somebody pauses it or lets it go on.
    pub(super) fn paused(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
        self.gone_at = None;
    }

    pub(super) fn opened(&mut self, run: u64, rows: Option<&LaneRows>) {
        self.run = Run::new(run);
        let rows = rows.into_iter().flat_map(|rows| &rows.parked);
        self.due = rows.map(|(id, (_, row))| (id.as_str().to_owned(), row.due_at)).collect();
    }

    pub(super) fn jumped(&mut self, now: Duration) {
        self.run.sends.clear();
        self.run.jumped_at = Some(now);
    }

    pub(super) fn waiting_max(&self) -> usize {
        waiting_max(&self.asked) + self.revived.len()
    }

    pub(super) fn taken_at(&self) -> BTreeMap<String, Vec<Duration>> {
        let items = self.items.iter().filter(|(_, item)| !item.taken_at.is_empty());
        items.map(|(id, item)| (id.clone(), item.taken_at.clone())).collect()
    }

    pub(super) fn revived(&mut self, id: &str) {
        self.revived.insert(id.to_owned());
        self.due.remove(id);
        self.run.confirmed.remove(id);
    }

    /// A settlement was stored.
    pub(super) fn settled(
        &mut self,
        settlement: &Settlement,
        replaced: &Replaced,
        disk: &Disk,
    ) -> Result<(), Violation> {
        let Some(rows) = disk.lanes.get(&self.asked.name) else { return Ok(()) };
        for parked in &settlement.parked {
            self.due.insert(parked.id.as_str().to_owned(), parked.due_at);
            let events = parked.events.iter().map(|event| event.event.as_str().to_owned());
            self.reread.extend(events);
        }
        let buried = settlement.buried.iter().map(|letter| &letter.id);
        for id in settlement.unparked.iter().chain(buried) {
            self.due.remove(id.as_str());
            self.revived.remove(id.as_str());
        }
        for event in settlement.buried.iter().flat_map(|letter| &letter.events) {
            if let Some(item) = self.items.get_mut(event.event.as_str()) {
                item.was_dead = true;
            }
        }
        // Those of an earlier run were not counted in this one.
        self.run.unstored = self.run.unstored.saturating_sub(settlement.attempts.len());
        self.check_counts(settlement, rows)?;
        let kept = Kept { lane: self, rows, disk, ids: None };
        kept.check(settlement.cursor, replaced)?;
        self.cursor = settlement.cursor.unwrap_or(self.cursor);
        Ok(())
    }

    fn check_counts(&self, settlement: &Settlement, rows: &LaneRows) -> Result<(), Violation> {
        let most = self.asked.retry.max_attempts;
        // What a row counts surely counts: at `max_attempts` it would have been buried.
        if let Some(row) = settlement.parked.iter().find(|row| row.attempts >= most) {
            let (name, id, count) = (&self.asked.name, &row.id, row.attempts);
            let what = format!("{id} of {name} waits with {count} attempts of {most}");
            return broken(Rule::TooOften, what);
        }
        let (count, most) = (rows.parked.len(), self.waiting_max());
        if count > most {
            let name = &self.asked.name;
            return broken(Rule::Unbounded, format!("{name} has {count} rows, at most {most}"));
        }
        Ok(())
    }

    /// Whether everything was delivered or stands in the dead letters.
    pub(super) fn finish(&self, disk: &Disk) -> Result<(), Violation> {
        let name = &self.asked.name;
        let none = LaneRows::default();
        let rows = disk.lanes.get(name).unwrap_or(&none);
        let mut kept = Kept { lane: self, rows, disk, ids: None };
        for (sequence, ids) in &self.owed {
            if let Some(id) = ids.iter().find(|id| !kept.is_kept(*sequence, id)) {
                let what = format!("{id} (record {sequence}) is not with {name}, nor dead");
                return broken(Rule::Lost, what);
            }
        }
        if let Some((id, _)) = rows.parked.first_key_value() {
            return broken(Rule::Stuck, format!("{id} of {name} still waits"));
        }
        if rows.cursor != Some(disk.last) {
            let (cursor, last) = (rows.cursor, disk.last);
            return broken(Rule::Stuck, format!("{name} stands at {cursor:?} of {last}"));
        }
        Ok(())
    }
}

/// What is delivered, or has a row.
struct Kept<'a> {
    lane: &'a LaneWatch,
    rows: &'a LaneRows,
    disk: &'a Disk,
    /// Events in rows, once somebody asks.
    ids: Option<HashSet<&'a str>>,
}

impl Kept<'_> {
    fn check(mut self, cursor: Option<Sequence>, replaced: &[Parked]) -> Result<(), Violation> {
        let name = &self.lane.asked.name;
        let before = self.lane.cursor;
        if let Some(cursor) = cursor {
            if cursor < before {
                let what = format!("{name} goes back from {before} to {cursor}");
                return broken(Rule::CursorPassed, what);
            }
            for (sequence, ids) in self.lane.owed.range(before.next()..=cursor) {
                if let Some(id) = ids.iter().find(|id| !self.is_kept(*sequence, id)) {
                    let what = format!("{name} passes {sequence} to {cursor}: {id} is nowhere");
                    return broken(Rule::CursorPassed, what);
                }
            }
            if cursor > self.disk.last {
                let what = format!("{name} passes the journal's end with {cursor}");
                return broken(Rule::CursorPassed, what);
            }
        }
        for EventRef { sequence, event } in replaced.iter().flat_map(|row| &row.events) {
            let is_behind = cursor.unwrap_or(before) < *sequence;
            if !is_behind && !self.is_kept(*sequence, event.as_str()) {
                let what = format!("a row of {name} goes, and {event} is nowhere");
                return broken(Rule::CursorPassed, what);
            }
        }
        Ok(())
    }

    fn is_kept(&mut self, sequence: Sequence, id: &str) -> bool {
        let is_acked = self.lane.items.get(id).is_some_and(|item| item.is_acked);
        if is_acked {
            return true;
        }
        let rows = self.rows;
        let ids = self.ids.get_or_insert_with(|| {
            let parked = rows.parked.values().flat_map(|(_, row)| &row.events);
            let dead = rows.dead.iter().flat_map(|(_, letter)| &letter.events);
            parked.chain(dead).map(|event| event.event.as_str()).collect()
        });
        let record = format!("record_{sequence}");
        ids.contains(id) || self.disk.corrupt.contains(&sequence) && ids.contains(record.as_str())
    }
}

impl Flight {
    pub(super) fn piece(&self) -> Option<Piece<'_>> {
        Piece::parse(self.events.first()?)
    }

    /// The calls whose outcomes it carries.
    pub(super) fn calls(&self) -> impl Iterator<Item = &str> {
        self.events.iter().filter(|id| Piece::parse(id).is_none()).filter_map(|id| call(id))
    }
}

/// What the id of a piece says.
pub(super) struct Piece<'a> {
    pub(super) call: &'a str,
    pub(super) first: u32,
    pub(super) last: u32,
}

impl<'a> Piece<'a> {
    fn parse(id: &'a str) -> Option<Self> {
        let (start, range) = id.split_once("_streaming_")?;
        let mut numbers = range.split('_').skip(1).map(str::parse);
        let (first, last) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(Self { call: start.strip_prefix("evt_")?, first, last })
    }
}

/// The call in an outcome's id.
fn call(id: &str) -> Option<&str> {
    id.strip_prefix("evt_")?.get(..32)
}
