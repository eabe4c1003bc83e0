//! Events, found by reading the journal: backwards in windows for lists, forwards from the time in its
//! id for a single one.
//!
//! There is no index, so that the hot path pays for none. Every search ends at a bound and says how
//! far it came. `deliveries` finds those by what their rows say and by the records that they carry.

mod deliveries;

mod records;

use std::{collections::BTreeSet, ops::RangeInclusive, sync::Arc, time::Duration};

use delivery::replay::ReplayError;
use domain::{
    call::{Call, Caller},
    carried,
    destination::{Batch, Compat, Compression, Destination, Format, Method},
    event::{Event, EventType},
    exchange::ProviderAttempt,
    glob,
    id::{CallId, DeliveryId, DestinationName, EventId},
    record::{Entry, Record, Sequence},
    time::Timestamp,
};
use provider::derive::derive;
use store::{
    journal::{ReadError, ReadLimit},
    lanes::{DeliveryState, LanesError},
};
use webhook::matching::matches;

pub(crate) use self::deliveries::{DeliverySearch, dead, deliveries, events_of};
use crate::service::Console;

/// Records that one search looks at, at most.
const RECORDS_MAX: u64 = 20_000;
/// Records of the first window; each further one is twice as large.
const WINDOW_MIN: u64 = 32;
/// Records of a window, at most.
const WINDOW_MAX: u64 = 256;
/// Bytes of one read.
const READ_BYTES_MAX: usize = 4 << 20;
/// Bytes that one search reads, at most.
const SEARCH_BYTES_MAX: usize = 256 << 20;
/// By how much records' times may be out of order: outcomes that could not be stored at once come
/// late, and clocks jump.
const DISORDER: Duration = Duration::from_mins(5);

/// Why a search failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FindError {
    #[error("could not read the journal")]
    Read(#[from] ReadError),
    #[error("could not read the deliveries")]
    Lanes(#[from] LanesError),
    #[error("could not read the replays")]
    Replays(#[from] ReplayError),
}

/// What is looked for: events that meet all of it.
#[derive(Default)]
pub(crate) struct Search {
    /// Of these types; empty means all but streaming.
    pub(crate) types: Vec<EventType>,
    /// A glob over the model as the caller named it, or a deployment's.
    pub(crate) model: Option<String>,
    /// A glob over the name of the caller's key.
    pub(crate) key: Option<String>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
    /// Wanted by this destination.
    pub(crate) destination: Option<Arc<Destination>>,
    /// With a delivery in this state.
    pub(crate) state: Option<DeliveryState>,
    /// Where an earlier search stopped.
    pub(crate) before: Option<Position>,
    pub(crate) limit: usize,
}

/// A place between events: before it are the earlier records, and the first `index` events of the
/// record at `sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) sequence: u64,
    pub(crate) index: usize,
}

impl Position {
    /// The last record that lies before it, whole or in part.
    const fn last_sequence(self) -> u64 {
        if self.index == 0 { self.sequence.saturating_sub(1) } else { self.sequence }
    }

    /// From `sequence.index`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (sequence, index) = text.split_once('.')?;
        // SQLite's integers, which sequences are stored as.
        let sequence = sequence.parse().ok().filter(|n| *n <= i64::MAX.cast_unsigned())?;
        Some(Self { sequence, index: index.parse().ok()? })
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.sequence, self.index)
    }
}

/// What a search found.
pub(crate) struct Found {
    /// Newest first.
    pub(crate) events: Vec<Event>,
    /// Where to go on, if there is more to look at.
    pub(crate) next: Option<Position>,
    /// Records looked at.
    pub(crate) scanned: u64,
    /// The time of the oldest of them.
    pub(crate) back_to: Option<Timestamp>,
}

/// Finds events, newest first.
pub(crate) async fn search(console: &Console, search: &Search) -> Result<Found, FindError> {
    let _turn = console.searching().await;
    let reader = Reader { console };
    let oldest = console.journal.oldest().0.max(1);
    let mut from = reader.start(search).await?;
    let mut found = Found { events: Vec::new(), next: None, scanned: 0, back_to: None };
    let (mut window, mut bytes) = (WINDOW_MIN, 0);
    let stands = reader.standing(search).await?;
    while oldest <= from.last_sequence() {
        if found.events.len() == search.limit
            || RECORDS_MAX <= found.scanned
            || SEARCH_BYTES_MAX <= bytes
        {
            found.next = Some(from);
            break;
        }
        let mut high = from.last_sequence();
        if let Some(stands) = &stands {
            // What lies between has no delivery in that state.
            let before = stands.range(..(high + 1, String::new())).next_back();
            let Some((next, _)) = before.filter(|(next, _)| oldest <= *next) else { break };
            if *next < high {
                high = *next;
                from = Position { sequence: high + 1, index: 0 };
            }
        }
        let low = high.saturating_sub(window - 1).max(oldest);
        let entries = reader.read(low..=high, &mut bytes).await?;
        found.scanned += high - low + 1;
        if let Some(next) = reader.take(search, stands.as_ref(), &entries, from, &mut found) {
            found.next = Some(next);
            found.back_to = found.events.last().map(|event| event.occurred_at);
            break;
        }
        let times = entries.iter().map(|entry| time_of(&entry.record));
        if let Some(earliest) = times.min() {
            found.back_to = Some(found.back_to.map_or(earliest, |so_far| so_far.min(earliest)));
            if search.since.is_some_and(|since| earliest.plus(DISORDER) < since) {
                break;
            }
        }
        from = Position { sequence: low, index: 0 };
        window = (window * 2).min(WINDOW_MAX);
        tokio::task::yield_now().await;
    }
    Ok(found)
}

/// The event of an id, if it is still in the journal.
pub(crate) async fn event(console: &Console, id: &EventId) -> Result<Option<Event>, FindError> {
    let _turn = console.searching().await;
    let reader = Reader { console };
    for sequence in kept_at(console, id).await? {
        let entries = reader.read(sequence.0..=sequence.0, &mut 0).await?;
        if let Some(event) = entries.iter().find_map(|entry| pick(console, entry, id)) {
            return Ok(Some(event));
        }
    }
    match call_of(id) {
        Some((call, arrived_at)) => reader.of_call(id, call, arrived_at).await,
        None => reader.of_notes(id).await,
    }
}

/// Records that hold an event according to a delivery of it alone. Each lane is asked by an index.
async fn kept_at(console: &Console, id: &EventId) -> Result<BTreeSet<Sequence>, FindError> {
    let delivery = DeliveryId::new(id.as_str());
    let mut known = BTreeSet::new();
    for lane in console.control.destinations() {
        let detail = console.lanes.delivery(&lane.destination.name, &delivery).await?;
        let carried = detail.map(|detail| detail.row.carried).unwrap_or_default();
        known.extend(carried.places().filter(|place| place.is(id)).map(|place| place.sequence));
    }
    Ok(known)
}

/// Which end of a range a time stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The first record of that time or later.
    First,
    /// The last record before it.
    Last,
}

/// The record that a time stands for, as far as records are in its order.
pub(crate) async fn place(
    console: &Console,
    time: Timestamp,
    which: Place,
) -> Result<Sequence, ReadError> {
    let first = Reader { console }.first_at(time).await?;
    Ok(match which {
        Place::First => Sequence(first),
        Place::Last => Sequence(first.saturating_sub(1)),
    })
}

fn pick(console: &Console, entry: &Entry, id: &EventId) -> Option<Event> {
    derive(entry, &console.prices).into_iter().find(|event| event.id == *id)
}

/// The call that an event's id names, and when that arrived.
fn call_of(id: &EventId) -> Option<(CallId, Timestamp)> {
    let digits = id.as_str().strip_prefix("evt_")?.get(..32)?;
    let bytes = u128::from_str_radix(digits, 16).ok()?.to_be_bytes();
    let millis = u64::from_be_bytes(*bytes.first_chunk()?) >> 16;
    Some((CallId::from_bytes(bytes), Timestamp::from_millis(i64::try_from(millis).ok()?)))
}

struct Reader<'a> {
    console: &'a Console,
}

impl Reader<'_> {
    /// The records of a range that are there, in order.
    async fn read(
        &self,
        range: RangeInclusive<u64>,
        bytes: &mut usize,
    ) -> Result<Vec<Arc<Entry>>, ReadError> {
        let mut all = Vec::new();
        let mut cursor = range.start() - 1;
        while cursor < *range.end() {
            let entries_max = (range.end() - cursor) as usize;
            let limit = ReadLimit { entries_max, bytes_max: READ_BYTES_MAX };
            match self.console.journal.read_after(Sequence(cursor), limit).await {
                Ok(entries) => {
                    let Some(last) = entries.last() else { break };
                    cursor = last.sequence.0;
                    let inside = entries.into_iter().filter(|e| e.sequence.0 <= *range.end());
                    all.extend(inside.inspect(|entry| *bytes += weight(&entry.record)));
                }
                // The lanes tell of it; here, what is behind it is looked at.
                Err(ReadError::Corrupt { sequence, .. }) => cursor = sequence.0.max(cursor + 1),
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Where a search begins: at the end, or where an earlier one stopped, or past its last time.
    async fn start(&self, search: &Search) -> Result<Position, FindError> {
        let end = self.console.journal.head().borrow().0 + 1;
        if let Some(before) = search.before.filter(|before| before.sequence < end) {
            return Ok(before);
        }
        let sequence = match search.until {
            Some(until) => self.first_at(until.plus(DISORDER)).await?,
            None => end,
        };
        Ok(Position { sequence, index: 0 })
    }

    /// The first position whose record is of this time or later, as far as they are in order; the
    /// position after the head if there is none.
    async fn first_at(&self, time: Timestamp) -> Result<u64, ReadError> {
        let mut low = self.console.journal.oldest().0.max(1);
        let mut high = self.console.journal.head().borrow().0 + 1;
        while low < high {
            let middle = low + (high - low) / 2;
            // A record that cannot be read stands for one that comes later.
            let entries = self.read(middle..=middle, &mut 0).await?;
            let is_before = entries.first().is_some_and(|e| time_of(&e.record) < time);
            if is_before { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    /// Where the events stand that have a delivery in the state that is asked for.
    async fn standing(
        &self,
        search: &Search,
    ) -> Result<Option<BTreeSet<(u64, String)>>, FindError> {
        let Some(state) = search.state else { return Ok(None) };
        let lanes = match &search.destination {
            Some(destination) => self.console.lanes_of(&destination.name).await?,
            None => Vec::new(),
        };
        deliveries::places(self.console, lanes, state).await.map(Some)
    }

    /// Adds what matches, newest first; the place after the last one if there is no more room.
    fn take(
        &self,
        search: &Search,
        stands: Option<&BTreeSet<(u64, String)>>,
        entries: &[Arc<Entry>],
        from: Position,
        found: &mut Found,
    ) -> Option<Position> {
        for entry in entries.iter().rev() {
            if !may_match(search, &entry.record) {
                continue;
            }
            let sequence = entry.sequence.0;
            let end = if sequence == from.sequence { from.index } else { usize::MAX };
            let events = derive(entry, &self.console.prices).into_iter();
            let events: Vec<_> = events.enumerate().take(end).collect();
            for (index, event) in events.into_iter().rev() {
                if !is_wanted(search, stands, &event) {
                    continue;
                }
                if found.events.len() == search.limit {
                    return Some(Position { sequence, index: index + 1 });
                }
                found.events.push(event);
            }
        }
        None
    }

    /// Looks for an event from its call's arrival on, up to the call's outcome.
    async fn of_call(
        &self,
        id: &EventId,
        call: CallId,
        arrived_at: Timestamp,
    ) -> Result<Option<Event>, FindError> {
        let head = self.console.journal.head().borrow().0;
        let mut low = self.first_at(arrived_at.minus(Duration::from_secs(1))).await?;
        let (last, mut bytes) = (head.min(low.saturating_add(RECORDS_MAX)), 0);
        while low <= last && bytes < SEARCH_BYTES_MAX {
            let high = (low + WINDOW_MAX - 1).min(last);
            for entry in self.read(low..=high, &mut bytes).await? {
                if entry.record.call_id() != Some(call) {
                    continue;
                }
                if let Some(event) = pick(self.console, &entry, id) {
                    return Ok(Some(event));
                }
                if matches!(entry.record, Record::Sealed(_)) {
                    return Ok(None);
                }
            }
            low = high + 1;
            tokio::task::yield_now().await;
        }
        Ok(None)
    }

    /// Looks for a note's event, backwards.
    async fn of_notes(&self, id: &EventId) -> Result<Option<Event>, FindError> {
        let head = self.console.journal.head().borrow().0;
        let oldest = self.console.journal.oldest().0.max(1).max(head.saturating_sub(RECORDS_MAX));
        let (mut high, mut bytes) = (head, 0);
        while oldest <= high && bytes < SEARCH_BYTES_MAX {
            let low = high.saturating_sub(WINDOW_MAX - 1).max(oldest);
            for entry in self.read(low..=high, &mut bytes).await? {
                if matches!(&entry.record, Record::Noted(note) if note.id == *id) {
                    return Ok(pick(self.console, &entry, id));
                }
            }
            high = low - 1;
            tokio::task::yield_now().await;
        }
        Ok(None)
    }
}

fn is_wanted(search: &Search, stands: Option<&BTreeSet<(u64, String)>>, event: &Event) -> bool {
    let kind = event.kind();
    let is_of_type = match &search.types[..] {
        [] => kind != EventType::Streaming,
        types => types.contains(&kind),
    };
    let is_in_time = search.since.is_none_or(|since| since <= event.occurred_at)
        && search.until.is_none_or(|until| event.occurred_at < until);
    let is_of_model = search.model.as_deref().is_none_or(|glob| is_of_model(event, glob));
    let is_for = search.destination.as_ref().is_none_or(|d| matches(kind, event, d));
    let stands_so = || {
        stands.is_none_or(|stands| {
            let sequence = event.sequence.0;
            let names = stands.range((sequence, String::new())..(sequence + 1, String::new()));
            let mut places =
                names.map(|(_, name)| carried::Place { sequence: event.sequence, name });
            places.any(|place| place.is(&event.id))
        })
    };
    is_of_type && is_in_time && is_of_model && is_for && stands_so()
}

/// Whether it is worth deriving: what the record itself says.
fn may_match(search: &Search, record: &Record) -> bool {
    let asks_for = |kind: EventType| search.types.contains(&kind);
    let is_of_kind = match record {
        Record::Admitted(_) => false,
        Record::Captured(_) => asks_for(EventType::Streaming),
        Record::Sealed(_) => {
            search.types.is_empty()
                || search.types.iter().any(|kind| {
                    matches!(kind, EventType::Completion | EventType::Error | EventType::RateLimit)
                })
        }
        Record::Noted(note) => search.types.is_empty() || asks_for(note.kind()),
    };
    let is_of_key = search
        .key
        .as_deref()
        .is_none_or(|glob| call_of_record(record).is_some_and(|call| is_of_key(call, glob)));
    let at = time_of(record);
    let is_near = search.since.is_none_or(|since| since <= at.plus(DISORDER))
        && search.until.is_none_or(|until| at.minus(DISORDER) <= until);
    is_of_kind && is_of_key && is_near
}

fn call_of_record(record: &Record) -> Option<&Call> {
    match record {
        Record::Admitted(call) => Some(call),
        Record::Captured(captured) => Some(&captured.call),
        Record::Sealed(exchange) => Some(&exchange.facts.call),
        Record::Noted(_) => None,
    }
}

fn is_of_key(call: &Call, pattern: &str) -> bool {
    key_name(call).is_some_and(|name| glob::matches(pattern, name))
}

/// What the caller's key is called; `master` for the master key.
pub(crate) fn key_name(call: &Call) -> Option<&str> {
    match &call.caller {
        Caller::Master => Some("master"),
        Caller::Key { name, .. } => Some(name),
        Caller::Anonymous | Caller::Refused => None,
    }
}

fn is_of_model(event: &Event, pattern: &str) -> bool {
    let attempts = event.report().map(|report| &report.exchange.facts.attempts[..]);
    names_model(event.call().map(AsRef::as_ref), attempts.unwrap_or_default(), pattern)
}

fn is_record_of_model(record: &Record, pattern: &str) -> bool {
    let attempts = match record {
        Record::Sealed(exchange) => &exchange.facts.attempts[..],
        _ => &[],
    };
    names_model(call_of_record(record), attempts, pattern)
}

/// Whether the caller named such a model, or a deployment that was asked is one.
fn names_model(call: Option<&Call>, attempts: &[ProviderAttempt], pattern: &str) -> bool {
    let mut deployments = attempts.iter().map(|attempt| &attempt.deployment);
    call.is_some_and(|call| glob::matches(pattern, &call.model))
        || deployments.any(|deployment| {
            glob::matches(pattern, &deployment.model)
                || glob::matches(pattern, &deployment.model_name)
        })
}

fn time_of(record: &Record) -> Timestamp {
    match record {
        Record::Admitted(call) => call.arrived_at,
        Record::Captured(captured) => captured.at,
        Record::Sealed(exchange) => exchange.facts.finished_at,
        Record::Noted(note) => note.at,
    }
}

fn weight(record: &Record) -> usize {
    const FACTS: usize = 512;
    FACTS
        + match record {
            Record::Sealed(exchange) => {
                exchange.request.bytes.len() + exchange.response.bytes.len()
            }
            _ => 0,
        }
}

/// A destination of everything in the `event` format: as events are shown.
pub(crate) fn everything(console: &Console) -> Destination {
    let defaults = &console.policy.defaults;
    Destination {
        name: DestinationName::new("api"),
        url: String::new(),
        method: Method::Post,
        headers: Vec::new(),
        format: Format::Event,
        compat: Compat::Real,
        event_types: EventType::ALL.to_vec(),
        filters: Vec::new(),
        rules: None,
        sample_rate: 1.0,
        batch: Batch { events_max: 1, bytes_max: 0, flush_interval: Duration::ZERO },
        retry: defaults.retry.clone(),
        timeout: defaults.timeout,
        concurrent_deliveries: 1,
        queue_size: 1,
        rate_limit: None,
        privacy: false,
        compression: Compression::None,
        signing: None,
        allow_private: false,
        tls: None,
        strict_order: false,
        backup: None,
    }
}

#[cfg(test)]
mod tests;
