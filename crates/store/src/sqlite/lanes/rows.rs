//! The rows of `state.db`.

use domain::{
    delivery::{DeadLetter, EventRef, Parked},
    id::{DeliveryId, DestinationName, EventId},
    record::Sequence,
    time::Timestamp,
};
use rusqlite::{
    Connection, OptionalExtension, Result, Row, named_params,
    types::{FromSqlError, Type},
};

use serde::de::DeserializeOwned;

use crate::{
    journal::BoxError,
    lanes::{Settlement, WAITING_MAX},
};

/// Stores a settlement. A delivery that is parked and unparked in one ends unparked; one that is
/// buried does not wait.
pub(super) fn settle(
    db: &Connection,
    lane: &DestinationName,
    settlement: &Settlement,
) -> Result<()> {
    let lane = lane.as_str();
    for parked in &settlement.parked {
        db.prepare_cached(include_str!("../sql/park.sql"))?.execute(named_params! {
            ":lane": lane,
            ":id": parked.id.as_str(),
            ":events": events_json(&parked.events),
            ":attempts": parked.attempts,
            ":due_at": parked.due_at.as_nanos(),
            ":reason": parked.reason,
        })?;
    }
    let buried = settlement.buried.iter().map(|letter| &letter.id);
    for id in settlement.unparked.iter().chain(buried) {
        db.prepare_cached(include_str!("../sql/unpark.sql"))?
            .execute(named_params! {":lane": lane, ":id": id.as_str()})?;
    }
    for letter in &settlement.buried {
        db.prepare_cached(include_str!("../sql/bury.sql"))?.execute(named_params! {
            ":lane": letter.destination.as_str(),
            ":id": letter.id.as_str(),
            ":events": events_json(&letter.events),
            ":attempts": letter.attempts,
            ":buried_at": letter.buried_at.as_nanos(),
            ":reason": letter.reason,
        })?;
    }
    for attempt in &settlement.attempts {
        db.prepare_cached(include_str!("../sql/note_attempt.sql"))?.execute(named_params! {
            ":lane": lane,
            ":delivery": attempt.delivery.as_str(),
            ":attempt": attempt.number,
            ":started_at": attempt.started_at.as_nanos(),
            ":duration_ms": attempt.duration_ms,
            ":status": attempt.status,
            ":result": attempt.result,
            ":event_count": attempt.event_count,
            ":dns_ms": attempt.timings.dns_ms,
            ":connect_ms": attempt.timings.connect_ms,
            ":tls_ms": attempt.timings.tls_ms,
            ":answer_ms": attempt.timings.answer_ms,
            ":body_ms": attempt.timings.body_ms,
            ":address": attempt.address,
            ":answer_start": attempt.answer_start,
            ":events": attempt.carried.as_str(),
        })?;
    }
    if let Some(cursor) = settlement.cursor {
        db.prepare_cached(include_str!("../sql/move_cursor.sql"))?
            .execute(named_params! {":lane": lane, ":sequence": cursor.0.cast_signed()})?;
    }
    Ok(())
}

pub(super) fn cursor(db: &Connection, lane: &DestinationName) -> Result<Option<Sequence>> {
    db.prepare_cached(include_str!("../sql/cursor.sql"))?
        .query_row(named_params! {":lane": lane.as_str()}, |row| sequence(row, "sequence"))
        .optional()
}

pub(super) fn cursors(db: &Connection) -> Result<Vec<(DestinationName, Sequence)>> {
    db.prepare_cached("SELECT lane, sequence FROM cursors")?
        .query_map([], |row| Ok((lane(row)?, sequence(row, "sequence")?)))?
        .collect()
}

pub(super) fn parked(db: &Connection, lane: &DestinationName) -> Result<Vec<Parked>> {
    db.prepare_cached(include_str!("../sql/parked.sql"))?
        .query_map(named_params! {":lane": lane.as_str()}, |row| {
            Ok(Parked {
                id: id(row)?,
                events: events(row)?,
                attempts: row.get("attempts")?,
                due_at: Timestamp::from_nanos(row.get("due_at")?),
                reason: row.get("reason")?,
            })
        })?
        .collect()
}

pub(super) fn dead_letters(
    db: &Connection,
    of: Option<&DestinationName>,
    limit: usize,
) -> Result<Vec<DeadLetter>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let of = of.map(DestinationName::as_str);
    db.prepare_cached(include_str!("../sql/dead_letters.sql"))?
        .query_map(named_params! {":lane": of, ":limit": limit}, |row| {
            Ok(DeadLetter {
                destination: lane(row)?,
                id: id(row)?,
                events: events(row)?,
                attempts: row.get("attempts")?,
                buried_at: Timestamp::from_nanos(row.get("buried_at")?),
                reason: row.get("reason")?,
            })
        })?
        .collect()
}

pub(super) fn dead_after(
    db: &Connection,
    lane: &DestinationName,
    cursor: Sequence,
) -> Result<Vec<EventId>> {
    db.prepare_cached(include_str!("../sql/dead_after.sql"))?
        .query_map(
            named_params! {":lane": lane.as_str(), ":sequence": cursor.0.cast_signed()},
            |row| Ok(EventId::from_stored(row.get_ref("event")?.as_str()?)),
        )?
        .collect()
}

pub(super) fn dead_count(db: &Connection, lane: &DestinationName) -> Result<u64> {
    db.prepare_cached(include_str!("../sql/dead_count.sql"))?
        .query_row(named_params! {":lane": lane.as_str()}, |row| {
            row.get::<_, i64>(0).map(i64::cast_unsigned)
        })
}

/// Makes dead letters due at `now`, as far as there is room, and returns how many.
pub(super) fn revive(
    db: &Connection,
    lane: &DestinationName,
    ids: Option<&[DeliveryId]>,
    now: Timestamp,
) -> Result<usize> {
    let waiting = db
        .prepare_cached(include_str!("../sql/parked_count.sql"))?
        .query_row(named_params! {":lane": lane.as_str()}, |row| row.get::<_, i64>(0))?;
    let room = WAITING_MAX.saturating_sub(usize::try_from(waiting).unwrap_or(usize::MAX));
    let all = match ids {
        Some(_) => Vec::new(),
        None => dead_letters(db, Some(lane), room)?.into_iter().map(|letter| letter.id).collect(),
    };
    let mut revived = 0;
    for id in ids.unwrap_or(&all) {
        if revived == room {
            break;
        }
        let (lane, id) = (lane.as_str(), id.as_str());
        db.prepare_cached(include_str!("../sql/revive.sql"))?
            .execute(named_params! {":lane": lane, ":id": id, ":due_at": now.as_nanos()})?;
        revived += db
            .prepare_cached(include_str!("../sql/exhume.sql"))?
            .execute(named_params! {":lane": lane, ":id": id})?;
    }
    Ok(revived)
}

pub(super) fn thin_attempts(db: &Connection, attempts_max: u64) -> Result<()> {
    let attempts_max = i64::try_from(attempts_max).unwrap_or(i64::MAX);
    db.prepare_cached(include_str!("../sql/thin_attempts.sql"))?
        .execute(named_params! {":attempts_max": attempts_max})?;
    Ok(())
}

pub(super) fn age_attempts(db: &Connection, horizon: Timestamp) -> Result<()> {
    db.execute(
        include_str!("../sql/age_attempts.sql"),
        named_params! {":horizon": horizon.as_nanos()},
    )?;
    Ok(())
}

/// Marks exactly these lanes as of destinations that are not there any more.
pub(super) fn mark_removed(db: &Connection, lanes: &[DestinationName]) -> Result<()> {
    db.execute(include_str!("../sql/unmark_removed.sql"), named_params! {":lane": None::<&str>})?;
    for lane in lanes {
        let lane = named_params! {":lane": lane.as_str()};
        db.execute(include_str!("../sql/mark_removed.sql"), lane)?;
    }
    Ok(())
}

pub(super) fn removed(db: &Connection) -> Result<Vec<DestinationName>> {
    db.prepare_cached(include_str!("../sql/removed.sql"))?.query_map([], lane)?.collect()
}

/// Forgets all of a lane.
pub(in crate::sqlite) fn forget(db: &Connection, lane: &DestinationName) -> Result<()> {
    for statement in [
        include_str!("../sql/forget_cursor.sql"),
        include_str!("../sql/forget_parked.sql"),
        include_str!("../sql/forget_dead.sql"),
        include_str!("../sql/forget_attempts.sql"),
        include_str!("../sql/switch_on.sql"),
        include_str!("../sql/forget_resumed.sql"),
        include_str!("../sql/unmark_removed.sql"),
    ] {
        db.execute(statement, named_params! {":lane": lane.as_str()})?;
    }
    Ok(())
}

/// A number that changes when another connection changed the database.
pub(super) fn data_version(db: &Connection) -> Result<i64> {
    db.pragma_query_value(None, "data_version", |row| row.get(0))
}

pub(in crate::sqlite) fn sequence(row: &Row<'_>, column: &str) -> Result<Sequence> {
    Ok(Sequence(row.get::<_, i64>(column)?.cast_unsigned()))
}

pub(in crate::sqlite) fn lane(row: &Row<'_>) -> Result<DestinationName> {
    Ok(DestinationName::new(row.get_ref("lane")?.as_str()?))
}

pub(super) fn id(row: &Row<'_>) -> Result<DeliveryId> {
    Ok(DeliveryId::new(row.get_ref("id")?.as_str()?))
}

pub(super) fn events(row: &Row<'_>) -> Result<Vec<EventRef>> {
    json(row, "events")
}

/// What a row of a list keeps of a delivery that is not done.
pub(super) fn kept_events(row: &Row<'_>) -> Result<Option<Vec<EventRef>>> {
    match row.get_ref("kept_events")? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => json(row, "kept_events").map(Some),
    }
}

/// What a column holds as JSON.
pub(in crate::sqlite) fn json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Result<T> {
    serde_json::from_str(row.get_ref(column)?.as_str()?).map_err(|error| misfit(error.into()))
}

/// A column holds what this version does not write.
pub(in crate::sqlite) fn misfit(cause: BoxError) -> rusqlite::Error {
    let cause = FromSqlError::Other(cause);
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, cause.into())
}

/// Texts as a JSON list, for a statement to look in.
pub(super) fn texts_json(texts: &[&str]) -> String {
    serde_json::to_string(texts).expect("texts, written into memory")
}

fn events_json(events: &[EventRef]) -> String {
    serde_json::to_string(events).expect("numbers and texts, written into memory")
}
