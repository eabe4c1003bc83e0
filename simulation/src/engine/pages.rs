//! Deliveries as people look at them, over the rows of a model engine.

use domain::{
    carried::Carried,
    delivery::{Attempt, EventRef},
    id::{DeliveryId, DestinationName},
    record::Sequence,
    time::Timestamp,
};
use store::lanes::{DeliveryDetail, DeliveryQuery, DeliveryRow, DeliveryState};

use super::disk::{Disk, LaneRows};

/// Below the numbers of attempts.
const PARKED_BELOW: i64 = 1 << 51;
/// Below those.
const DEAD_BELOW: i64 = 1 << 52;

/// What an exception's row says.
struct Exception<'a> {
    number: i64,
    state: DeliveryState,
    attempts: u32,
    reason: &'a str,
    events: &'a [EventRef],
    due_at: Option<Timestamp>,
    /// When it is due, or was buried.
    time: Timestamp,
}

fn exception<'a>(rows: &'a LaneRows, id: &DeliveryId) -> Option<Exception<'a>> {
    if let Some((number, row)) = rows.parked.get(id) {
        return Some(Exception {
            number: number - PARKED_BELOW,
            state: DeliveryState::Waiting,
            attempts: row.attempts,
            reason: &row.reason,
            events: &row.events,
            due_at: Some(row.due_at),
            time: row.due_at,
        });
    }
    let (number, letter) = rows.dead.iter().find(|(_, letter)| letter.id == *id)?;
    Some(Exception {
        number: number - DEAD_BELOW,
        state: DeliveryState::Dead,
        attempts: letter.attempts,
        reason: &letter.reason,
        events: &letter.events,
        due_at: None,
        time: letter.buried_at,
    })
}

/// One delivery.
pub(super) fn detail(
    disk: &Disk,
    lane: &DestinationName,
    id: &DeliveryId,
) -> Option<DeliveryDetail> {
    let rows = disk.lanes.get(lane)?;
    let attempts: Vec<&(i64, Attempt)> =
        rows.attempts.iter().filter(|(_, attempt)| attempt.delivery == *id).collect();
    let last = attempts.last().copied();
    let exception = exception(rows, id);
    let made = attempts.len() as u32;
    let row = match (&exception, last) {
        (Some(exception), last) => DeliveryRow {
            number: last.map_or(exception.number, |(number, _)| *number),
            destination: lane.clone(),
            id: id.clone(),
            state: exception.state,
            attempts: exception.attempts,
            made,
            last: last.map(|(_, attempt)| attempt.clone()),
            due_at: exception.due_at,
            reason: exception.reason.to_owned(),
            carried: Carried::of(exception.events),
        },
        (None, Some((number, last))) => DeliveryRow {
            number: *number,
            destination: lane.clone(),
            id: id.clone(),
            state: without_row(last, rows.cursor),
            attempts: last.number,
            made,
            last: Some(last.clone()),
            due_at: None,
            reason: last.result.clone(),
            carried: last.carried.clone(),
        },
        (None, None) => return None,
    };
    let attempts = attempts.into_iter().map(|(_, attempt)| attempt.clone()).collect();
    let events = exception.map(|exception| exception.events.to_vec()).unwrap_or_default();
    Some(DeliveryDetail { row, attempts, events })
}

fn without_row(last: &Attempt, cursor: Option<Sequence>) -> DeliveryState {
    let first = last.carried.places().next().map(|place| place.sequence);
    if last.result.starts_with("delivered") {
        DeliveryState::Delivered
    } else if first.unwrap_or_default() <= cursor.unwrap_or_default() {
        DeliveryState::Replaced
    } else {
        DeliveryState::Waiting
    }
}

/// A page of deliveries, newest first.
pub(super) fn list(disk: &Disk, query: &DeliveryQuery) -> Vec<DeliveryRow> {
    let mut page = Vec::new();
    for (lane, rows) in &disk.lanes {
        if !query.lanes.is_empty() && !query.lanes.contains(lane) {
            continue;
        }
        let mut ids: Vec<&DeliveryId> = rows.attempts.iter().map(|(_, a)| &a.delivery).collect();
        ids.extend(rows.parked.keys());
        ids.extend(rows.dead.iter().map(|(_, letter)| &letter.id));
        ids.sort_unstable();
        ids.dedup();
        page.extend(ids.into_iter().filter_map(|id| shown(disk, rows, lane, id, query)));
    }
    page.sort_unstable_by_key(|row| std::cmp::Reverse(row.number));
    page.truncate(query.limit);
    page
}

fn shown(
    disk: &Disk,
    rows: &LaneRows,
    lane: &DestinationName,
    id: &DeliveryId,
    query: &DeliveryQuery,
) -> Option<DeliveryRow> {
    let DeliveryDetail { row, events, .. } = detail(disk, lane, id)?;
    let time = match &row.last {
        Some(last) => last.started_at,
        None => exception(rows, id)?.time,
    };
    let carries = query.event.as_ref().is_none_or(|wanted| {
        wanted.as_str() == id.as_str()
            || events.iter().any(|event| event.event == *wanted)
            || query.event_at.is_some_and(|at| row.carried.has(at, wanted))
    });
    let status = row.last.as_ref().and_then(|last| last.status);
    let reason = query.reason.as_ref().map(|text| text.to_lowercase());
    let is_shown = carries
        && (query.status.is_none() || query.status == status)
        && reason.is_none_or(|text| row.reason.to_lowercase().contains(&text))
        && query.state.is_none_or(|state| state == row.state)
        && query.since.is_none_or(|since| time >= since)
        && query.until.is_none_or(|until| time < until)
        && query.before.is_none_or(|before| row.number < before);
    is_shown.then_some(row)
}
