//! Deliveries as people look at them.
//!
//! A delivery's number is that of its last attempt's row. One without a known attempt (a record that
//! was missing, attempts that were thinned out) comes after all others, under a negative number.

use domain::{
    carried::Carried,
    delivery::{Attempt, EventRef, Timings},
    id::{DeliveryId, DestinationName, EventId},
    record::Sequence,
    time::Timestamp,
};
use rusqlite::{
    Connection, OptionalExtension, Result, Row, functions::FunctionFlags, named_params,
};

use super::rows;
use crate::lanes::{DeliveryDetail, DeliveryQuery, DeliveryRow, DeliveryState};

/// Below the numbers of attempts; exact in JSON, as numbers up to 2^53 are.
const PARKED_BELOW: i64 = 1 << 51;
/// Below those.
const DEAD_BELOW: i64 = 1 << 52;

/// One of the lists that follow one another.
struct List {
    sql: &'static str,
    /// What is taken off its rows' numbers.
    below: i64,
    /// The only state in it.
    state: Option<DeliveryState>,
}

const LISTS: [List; 3] = [
    List { sql: include_str!("../sql/deliveries.sql"), below: 0, state: None },
    List {
        sql: include_str!("../sql/parked_without_attempts.sql"),
        below: PARKED_BELOW,
        state: Some(DeliveryState::Waiting),
    },
    List {
        sql: include_str!("../sql/dead_without_attempts.sql"),
        below: DEAD_BELOW,
        state: Some(DeliveryState::Dead),
    },
];

/// Adds `carries(events, sequence, id)` to SQL: whether an attempt's events hold one.
pub(super) fn add_functions(db: &Connection) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    db.create_scalar_function("carries", 3, flags, |called| {
        let Some(sequence) = called.get::<Option<i64>>(1)? else { return Ok(false) };
        let id = EventId::from_stored(called.get_raw(2).as_str()?);
        let carried = Carried::from_stored(called.get(0)?);
        Ok(carried.has(Sequence(sequence.cast_unsigned()), &id))
    })
}

/// A page of deliveries, newest first.
pub(super) fn list(db: &Connection, query: &DeliveryQuery) -> Result<Vec<DeliveryRow>> {
    let mut page = Vec::new();
    for list in LISTS {
        let room = query.limit.saturating_sub(page.len());
        // Without an attempt there is no status.
        let may_fit = query.state.is_none_or(|state| list.state == Some(state));
        let wanted = list.state.is_none() || may_fit && query.status.is_none();
        if room > 0 && wanted {
            list.read(db, query, room, &mut page)?;
        }
    }
    Ok(page)
}

impl List {
    fn read(
        &self,
        db: &Connection,
        query: &DeliveryQuery,
        room: usize,
        page: &mut Vec<DeliveryRow>,
    ) -> Result<()> {
        let mut statement = db.prepare_cached(self.sql)?;
        let mut set = |name: &str, value: &dyn rusqlite::ToSql| {
            // The lists of one state have no condition for it.
            match statement.parameter_index(name)? {
                Some(index) => statement.raw_bind_parameter(index, value),
                None => Ok(()),
            }
        };
        let before = query.before.unwrap_or(i64::MAX);
        set(":before", &before.saturating_add(self.below))?;
        let lanes: Vec<_> = query.lanes.iter().map(DestinationName::as_str).collect();
        let lanes = (!lanes.is_empty()).then(|| rows::texts_json(&lanes));
        set(":lanes", &lanes)?;
        set(":since", &query.since.map(Timestamp::as_nanos))?;
        set(":until", &query.until.map(Timestamp::as_nanos))?;
        set(":event", &query.event.as_ref().map(EventId::as_str))?;
        set(":event_at", &query.event_at.map(|at| at.0.cast_signed()))?;
        set(":status", &query.status)?;
        set(":reason", &query.reason)?;
        set(":state", &query.state.map(DeliveryState::as_str))?;
        set(":limit", &i64::try_from(room).unwrap_or(i64::MAX))?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let last = if self.state.is_none() { Some(attempt(row)?) } else { None };
            let carried = match (&last, rows::kept_events(row)?) {
                (_, Some(events)) => Carried::of(&events),
                (Some(last), None) => last.carried.clone(),
                (None, None) => Carried::default(),
            };
            page.push(DeliveryRow {
                number: row.get::<_, i64>("number")? - self.below,
                destination: rows::lane(row)?,
                id: rows::id(row)?,
                state: state(row)?,
                attempts: row.get("attempts")?,
                made: row.get("made")?,
                last,
                due_at: due_at(row)?,
                reason: row.get("reason")?,
                carried,
            });
        }
        Ok(())
    }
}

/// How a delivery stands that is not done.
struct Exception {
    number: i64,
    state: DeliveryState,
    events: Vec<EventRef>,
    attempts: u32,
    reason: String,
    due_at: Option<Timestamp>,
}

/// All that is known of one delivery.
pub(super) fn detail(
    db: &Connection,
    lane: &DestinationName,
    id: &DeliveryId,
) -> Result<Option<DeliveryDetail>> {
    let named = named_params! {":lane": lane.as_str(), ":id": id.as_str()};
    let attempts: Vec<(i64, Attempt)> = db
        .prepare_cached(include_str!("../sql/attempts_of.sql"))?
        .query_map(named, |row| Ok((row.get("number")?, attempt(row)?)))?
        .collect::<Result<_>>()?;
    let exception = db
        .prepare_cached(include_str!("../sql/exception_of.sql"))?
        .query_row(named, |row| {
            Ok(Exception {
                number: row.get("number")?,
                state: state(row)?,
                events: rows::events(row)?,
                attempts: row.get("attempts")?,
                reason: row.get("reason")?,
                due_at: due_at(row)?,
            })
        })
        .optional()?;
    let last = attempts.last().cloned();
    let stands = match (exception, &last) {
        (Some(exception), Some((number, _))) => Exception { number: *number, ..exception },
        (Some(exception), None) => {
            let below = match exception.state {
                DeliveryState::Dead => DEAD_BELOW,
                _ => PARKED_BELOW,
            };
            Exception { number: exception.number - below, ..exception }
        }
        (None, Some((number, last))) => Exception {
            number: *number,
            state: without_row(last, rows::cursor(db, lane)?),
            events: Vec::new(),
            attempts: last.number,
            reason: last.result.clone(),
            due_at: None,
        },
        (None, None) => return Ok(None),
    };
    let carried = match &last {
        Some((_, last)) if stands.events.is_empty() => last.carried.clone(),
        _ => Carried::of(&stands.events),
    };
    let row = DeliveryRow {
        number: stands.number,
        destination: lane.clone(),
        id: id.clone(),
        state: stands.state,
        attempts: stands.attempts,
        made: u32::try_from(attempts.len()).unwrap_or(u32::MAX),
        last: last.map(|(_, attempt)| attempt),
        due_at: stands.due_at,
        reason: stands.reason,
        carried,
    };
    let attempts = attempts.into_iter().map(|(_, attempt)| attempt).collect();
    Ok(Some(DeliveryDetail { row, attempts, events: stands.events }))
}

/// How a delivery stands that has no row of its own. What the cursor has passed is settled, so one that
/// failed is not owed as it was.
fn without_row(last: &Attempt, cursor: Option<Sequence>) -> DeliveryState {
    let first = last.carried.places().next().map(|place| place.sequence);
    if last.result.starts_with(DeliveryState::Delivered.as_str()) {
        DeliveryState::Delivered
    } else if first.unwrap_or_default() <= cursor.unwrap_or_default() {
        DeliveryState::Replaced
    } else {
        DeliveryState::Waiting
    }
}

fn attempt(row: &Row<'_>) -> Result<Attempt> {
    Ok(Attempt {
        delivery: rows::id(row)?,
        number: row.get("attempt")?,
        started_at: Timestamp::from_nanos(row.get("started_at")?),
        duration_ms: row.get("duration_ms")?,
        timings: Timings {
            dns_ms: row.get("dns_ms")?,
            connect_ms: row.get("connect_ms")?,
            tls_ms: row.get("tls_ms")?,
            answer_ms: row.get("answer_ms")?,
            body_ms: row.get("body_ms")?,
        },
        address: row.get("address")?,
        status: row.get("status")?,
        answer_start: row.get("answer_start")?,
        result: row.get("result")?,
        event_count: row.get("event_count")?,
        carried: Carried::from_stored(row.get("events")?),
    })
}

fn state(row: &Row<'_>) -> Result<DeliveryState> {
    let text = row.get_ref("state")?.as_str()?;
    DeliveryState::ALL
        .into_iter()
        .find(|state| state.as_str() == text)
        .ok_or_else(|| rows::misfit(format!("`{text}` is no state").into()))
}

fn due_at(row: &Row<'_>) -> Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>("due_at")?.map(Timestamp::from_nanos))
}
