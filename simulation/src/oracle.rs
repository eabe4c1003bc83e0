//! What must be true, whatever happens: looks at every attempt and at everything that becomes
//! durable, and knows what each destination asked for.
//!
//! It is told nothing by delivery, and takes nothing from it but the requests that leave. The first
//! rule that is broken ends the run.

mod attempts;
mod lane;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use domain::{
    destination::Destination,
    id::{DeliveryId, DestinationName},
    record::{Entry, Sequence},
    time::Clock as _,
};
use provider::{derive::derive, price::Prices};
use store::lanes::Settlement;
use tokio::sync::Notify;

use self::lane::LaneWatch;
pub use self::lane::waiting_max;
use crate::{
    clock::SimClock,
    engine::{
        Witness,
        disk::{Disk, Replaced},
        lock,
    },
    receiver::Plan,
    trace::Trace,
};

/// What delivery promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The stored cursor never passes an event that is not delivered, parked or buried; and no row
    /// goes before that is so.
    CursorPassed,
    /// In the end each event is delivered or stands in the dead letters.
    Lost,
    /// No attempt before the time that its row or the receiver's `Retry-After` names.
    TooEarly,
    /// No more attempts in a second than the rate limit says.
    TooFast,
    /// No attempt past `max_attempts` that count.
    TooOften,
    /// Never more in flight than allowed; one probe where the receiver is down.
    TooMany,
    /// What a lane reads ahead and parks is bounded.
    Unbounded,
    /// No more attempts are done, and not stored, than allowed.
    Unstored,
    /// Where order is strict, no delivery overtakes one that may still be delivered.
    Disordered,
    /// The same events have the same id, and the same id has the same body; a piece has the text of
    /// all the tokens that its id names.
    Unstable,
    /// A call's pieces are sent one at a time, in order, and none with or after its outcome.
    PieceOverlaps,
    /// What is paused, or wants no more, is not sent to.
    SentWhilePaused,
    /// What the receiver has acknowledged is not sent again while the lane runs.
    SentAgain,
    /// Nothing is sent that was not asked for.
    Unasked,
    /// With receivers that are well, everything is settled after some time.
    Stuck,
    /// A lane that is told to stop does so in time.
    SlowStop,
    /// Nothing panics.
    Panicked,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::CursorPassed,
        Self::Lost,
        Self::TooEarly,
        Self::TooFast,
        Self::TooOften,
        Self::TooMany,
        Self::Unbounded,
        Self::Unstored,
        Self::Disordered,
        Self::Unstable,
        Self::PieceOverlaps,
        Self::SentWhilePaused,
        Self::SentAgain,
        Self::Unasked,
        Self::Stuck,
        Self::SlowStop,
        Self::Panicked,
    ];
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// How.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.what)
    }
}

/// What a run came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Attempts.
    pub sends: u64,
    /// Attempts that a receiver acknowledged.
    pub acknowledged: u64,
    /// Dead letters that were stored.
    pub buried: u64,
    /// The most rows of parked deliveries that one lane had.
    pub parked_max: usize,
}

/// An attempt on its way.
#[derive(Debug)]
pub struct Flight {
    lane: DestinationName,
    target: usize,
    run: u64,
    id: String,
    events: Vec<String>,
    is_probe: bool,
}

/// What holds for all lanes.
#[derive(Debug, Clone, Copy)]
pub struct Given {
    /// How long reading a body again takes, at most.
    pub read_time: Duration,
    /// Attempts that may be done and not stored.
    pub unstored_max: usize,
}

/// Looks on.
pub struct Oracle {
    clock: Arc<SimClock>,
    trace: Arc<Trace>,
    prices: Arc<Prices>,
    state: Mutex<State>,
    violated: Notify,
}

#[derive(Default)]
struct State {
    lanes: BTreeMap<DestinationName, LaneWatch>,
    hosts: BTreeMap<String, (DestinationName, usize)>,
    runs: u64,
    damaged: BTreeSet<Sequence>,
    counts: Counts,
    violation: Option<Violation>,
}

/// The host of a destination's receiver, and of its backup's.
pub fn host_of(lane: &DestinationName, target: usize) -> String {
    let backup = if target == 0 { "" } else { "backup." };
    format!("{backup}{lane}.example")
}

impl Oracle {
    /// One that knows what these destinations asked for.
    pub fn new(
        destinations: &[Destination],
        given: Given,
        clock: Arc<SimClock>,
        trace: Arc<Trace>,
        prices: Arc<Prices>,
    ) -> Self {
        let mut state = State::default();
        for asked in destinations {
            for target in 0..2 {
                let of = (asked.name.clone(), target);
                state.hosts.insert(host_of(&asked.name, target), of);
            }
            state.lanes.insert(asked.name.clone(), LaneWatch::new(asked.clone(), given));
        }
        Self { clock, trace, prices, state: Mutex::new(state), violated: Notify::new() }
    }

    /// The first promise that was broken.
    pub fn violation(&self) -> Option<Violation> {
        lock(&self.state).violation.clone()
    }

    /// Returns once a promise is broken.
    pub async fn violated(&self) {
        self.violated.notified().await;
    }

    /// What it counted.
    pub fn counts(&self) -> Counts {
        lock(&self.state).counts
    }

    /// Says that a promise is broken.
    pub fn accuse(&self, rule: Rule, what: String) {
        self.judge(Err(Violation { rule, what }));
    }

    fn judge(&self, found: Result<(), Violation>) {
        if let Err(violation) = found {
            self.trace.note(self.clock.elapsed(), format_args!("VIOLATION {violation}"));
            lock(&self.state).violation.get_or_insert(violation);
            self.violated.notify_one();
        }
    }

    /// An attempt begins. Its events are named by the body.
    pub fn begins(&self, host: &str, id: &str, events: &[&str], body: &[u8]) -> Flight {
        let (now, wall) = (self.clock.elapsed(), self.clock.now());
        self.trace.note(now, format_args!("-> {host} {id} ({})", events.len()));
        let mut state = lock(&self.state);
        state.counts.sends += 1;
        let of = state.hosts.get(host).cloned();
        let (lane, target) = of.unwrap_or_else(|| (DestinationName::new(host), 0));
        let mut flight = Flight {
            lane,
            target,
            run: 0,
            id: id.to_owned(),
            events: events.iter().map(|event| (*event).to_owned()).collect(),
            is_probe: false,
        };
        let found = match state.lanes.get_mut(&flight.lane) {
            Some(lane) => lane.begins(&mut flight, &String::from_utf8_lossy(body), now, wall),
            None => Ok(()),
        };
        drop(state);
        self.judge(found);
        flight
    }

    /// The receiver has what was sent.
    pub fn arrives(&self, flight: &Flight, takes: bool) {
        let at = self.clock.elapsed();
        if let Some(lane) = lock(&self.state).lanes.get_mut(&flight.lane) {
            lane.arrives(flight, takes, at);
        }
    }

    /// An attempt is over, and the lane knows.
    pub fn ends(&self, flight: Flight, plan: &Plan) {
        let (now, wall) = (self.clock.elapsed(), self.clock.now());
        let status = plan.answer.as_ref().map_or(0, |answer| answer.status);
        self.trace.note(now, format_args!("<- {} {} {status}", flight.lane, flight.id));
        let mut state = lock(&self.state);
        state.counts.acknowledged += u64::from((200..300).contains(&status));
        let found = match state.lanes.get_mut(&flight.lane) {
            Some(lane) => lane.ends(flight, plan, now, wall),
            None => Ok(()),
        };
        drop(state);
        self.judge(found);
    }

    /// The wall clock jumped: what is measured by it begins anew.
    pub fn jumped(&self, now: Duration) {
        for lane in lock(&self.state).lanes.values_mut() {
            lane.jumped(now);
        }
    }

    /// Somebody asks for a destination to be paused or resumed. Returns the order's number.
    pub fn ordered(&self, lane: &DestinationName) -> u64 {
        lock(&self.state).lanes.get_mut(lane).map_or(0, |lane| {
            lane.orders += 1;
            lane.orders
        })
    }

    /// An order is carried out: a destination is paused from now on, or no longer; unless another
    /// order came after it.
    pub fn paused(&self, lane: &DestinationName, order: u64, is_paused: bool) {
        if let Some(lane) = lock(&self.state).lanes.get_mut(lane)
            && lane.orders == order
        {
            lane.paused(is_paused);
        }
    }

    /// The record of that position is damaged once it is written.
    pub fn damages(&self, sequence: Sequence) {
        lock(&self.state).damaged.insert(sequence);
    }

    /// A new life begins. What is paused is what is stored.
    pub fn restarted(&self, disk: &Disk) {
        for (name, lane) in &mut lock(&self.state).lanes {
            lane.paused(disk.switches.contains_key(name));
        }
    }

    /// Looks at the end whether nothing is missing.
    pub fn finish(&self, disk: &Disk) {
        let found = lock(&self.state).lanes.values().try_for_each(|lane| lane.finish(disk));
        self.judge(found);
    }

    /// How many deliveries a lane may hold.
    pub fn waiting_max(&self, lane: &DestinationName) -> usize {
        lock(&self.state).lanes.get(lane).map_or(usize::MAX, LaneWatch::waiting_max)
    }

    /// Every attempt of an event at a receiver that took it: when the first did.
    pub fn taken_at(&self, lane: &DestinationName) -> BTreeMap<String, Vec<Duration>> {
        lock(&self.state).lanes.get(lane).map(LaneWatch::taken_at).unwrap_or_default()
    }
}

impl Witness for Oracle {
    fn committed(&self, entry: &Arc<Entry>) {
        let events = derive(entry, &self.prices);
        let id = events.first().map_or("", |event| event.id.as_str());
        self.trace.note(self.clock.elapsed(), format_args!("+ {} {id}", entry.sequence));
        let mut state = lock(&self.state);
        let is_damaged = state.damaged.contains(&entry.sequence);
        for lane in state.lanes.values_mut() {
            lane.owe(&events, is_damaged);
        }
    }

    fn opened(&self, lane: &DestinationName, disk: &Disk) {
        let mut state = lock(&self.state);
        state.runs += 1;
        let run = state.runs;
        let rows = disk.lanes.get(lane);
        if let Some(lane) = state.lanes.get_mut(lane) {
            lane.opened(run, rows);
        }
    }

    fn settled(
        &self,
        lane: &DestinationName,
        settlement: &Settlement,
        replaced: &Replaced,
        disk: &Disk,
    ) {
        let Settlement { cursor, parked, unparked, buried, attempts } = settlement;
        let cursor = cursor.unwrap_or(Sequence(0));
        let at = self.clock.elapsed();
        let [parked, unparked] = [parked.len(), unparked.len()];
        let [buried, attempts] = [buried.len(), attempts.len()];
        self.trace.note(
            at,
            format_args!("= {lane} {cursor} +{parked} -{unparked} x{buried} a{attempts}"),
        );
        let mut state = lock(&self.state);
        state.counts.buried += buried as u64;
        let rows = disk.lanes.get(lane).map_or(0, |rows| rows.parked.len());
        state.counts.parked_max = state.counts.parked_max.max(rows);
        let found = match state.lanes.get_mut(lane) {
            Some(lane) => lane.settled(settlement, replaced, disk),
            None => Ok(()),
        };
        drop(state);
        self.judge(found);
    }

    fn revived(&self, lane: &DestinationName, id: &DeliveryId) {
        if let Some(lane) = lock(&self.state).lanes.get_mut(lane) {
            lane.revived(id.as_str());
        }
    }
}
