//! Deliveries, found by what they carry: their rows say which records, the journal says the rest.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    carried::Place,
    event::EventType,
    id::{DeliveryId, DestinationName, EventId},
    record::{Record, Sequence},
};
use store::lanes::{DeliveryQuery, DeliveryRow, DeliveryState};

use super::{
    FindError, RECORDS_MAX, SEARCH_BYTES_MAX, call_of_record, event, is_of_key, is_record_of_model,
    records::Records,
};
use crate::service::Console;

/// Rows of one look.
const PAGE: usize = 200;
/// Rows that one search for a page looks at, at most.
const ROWS_MAX: usize = 2_000;
/// Rows of one look for all.
const PAGE_OF_ALL: usize = 1_000;
/// Places of events that a search for a state holds, at most: those last attempted.
const PLACES_MAX: usize = 100_000;

/// What is looked for: deliveries that meet all of it.
#[derive(Default)]
pub(crate) struct DeliverySearch {
    /// What their rows say.
    pub(crate) query: DeliveryQuery,
    /// Carrying an event of this type.
    pub(crate) kind: Option<EventType>,
    /// Carrying an event of a call of this model, a glob.
    pub(crate) model: Option<String>,
    /// Carrying an event of a call by this key, a glob.
    pub(crate) key: Option<String>,
}

/// A page of what was found.
pub(crate) struct FoundDeliveries {
    /// The last attempted first.
    pub(crate) rows: Vec<DeliveryRow>,
    /// The number of the last row that was looked at, if there may be more.
    pub(crate) next: Option<i64>,
}

/// Finds a page of deliveries. It ends at a bound of rows and of records looked at.
pub(crate) async fn deliveries(
    console: &Console,
    mut search: DeliverySearch,
) -> Result<FoundDeliveries, FindError> {
    know_where(console, &mut search.query).await?;
    let limit = search.query.limit;
    let mut query = search.query.clone();
    if search.looks_inside() {
        query.limit = PAGE;
    }
    let _turn = if search.reads() { Some(console.searching().await) } else { None };
    let (mut rows, mut looked_at) = (Vec::new(), 0);
    let mut records = Records::new(console);
    loop {
        let page = console.lanes.deliveries(query.clone()).await?;
        let is_last = page.len() < query.limit;
        for row in page {
            let is_enough = looked_at >= ROWS_MAX || records.is_spent();
            if rows.len() == limit || is_enough {
                return Ok(FoundDeliveries { rows, next: query.before });
            }
            looked_at += 1;
            query.before = Some(row.number);
            if search.finds(&mut records, &row).await? {
                rows.push(row);
            }
        }
        if is_last {
            return Ok(FoundDeliveries { rows, next: None });
        }
    }
}

/// All dead letters that a search finds, by the lanes that they are of. Only their ids are held.
pub(crate) async fn dead(
    console: &Console,
    mut search: DeliverySearch,
) -> Result<BTreeMap<DestinationName, Vec<DeliveryId>>, FindError> {
    know_where(console, &mut search.query).await?;
    let _turn = if search.reads() { Some(console.searching().await) } else { None };
    let mut records = Records::new(console);
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let state = Some(DeliveryState::Dead);
    let mut query = DeliveryQuery { state, limit: PAGE_OF_ALL, ..search.query.clone() };
    loop {
        let page = console.lanes.deliveries(query.clone()).await?;
        query.before = page.last().map(|row| row.number);
        let is_last = page.len() < PAGE_OF_ALL;
        for row in page {
            if search.finds(&mut records, &row).await? {
                found.entry(row.destination).or_default().push(row.id);
            }
        }
        if is_last {
            return Ok(found);
        }
    }
}

/// Ids of the events that a delivery carries, as far as their records are there.
pub(crate) async fn events_of(
    console: &Console,
    row: &DeliveryRow,
) -> Result<Vec<EventId>, FindError> {
    let mut records = Records::new(console);
    let mut ids = Vec::new();
    for place in row.carried.places() {
        let entry = records.at(place.sequence.0).await?;
        ids.extend(entry.map(|entry| place.id(entry.record.call_id())));
    }
    Ok(ids)
}

/// Where events stand that have a delivery in a state: their records, and what their ids say.
pub(super) async fn places(
    console: &Console,
    lanes: Vec<DestinationName>,
    state: DeliveryState,
) -> Result<BTreeSet<(u64, String)>, FindError> {
    let mut places = BTreeSet::new();
    let limit = PAGE_OF_ALL;
    let state = Some(state);
    let mut query = DeliveryQuery { lanes, state, limit, ..DeliveryQuery::default() };
    loop {
        let page = console.lanes.deliveries(query.clone()).await?;
        query.before = page.last().map(|row| row.number);
        for place in page.iter().flat_map(|row| row.carried.places()) {
            places.insert((place.sequence.0, place.name.to_owned()));
        }
        if page.len() < limit || PLACES_MAX <= places.len() {
            return Ok(places);
        }
    }
}

/// A batch is found by the record of the event that is looked for.
async fn know_where(console: &Console, query: &mut DeliveryQuery) -> Result<(), FindError> {
    if let (Some(id), None) = (&query.event, query.event_at) {
        query.event_at = event(console, id).await?.map(|event| event.sequence);
    }
    Ok(())
}

impl DeliverySearch {
    /// Whether it asks for what a row's columns do not say.
    fn looks_inside(&self) -> bool {
        self.kind.is_some() || self.reads()
    }

    /// Whether it asks for what stands in the journal alone.
    fn reads(&self) -> bool {
        self.model.is_some() || self.key.is_some()
    }

    async fn finds(&self, records: &mut Records<'_>, row: &DeliveryRow) -> Result<bool, FindError> {
        if !self.looks_inside() {
            return Ok(true);
        }
        for place in row.carried.places() {
            if self.finds_event(records, place).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn finds_event(
        &self,
        records: &mut Records<'_>,
        place: Place<'_>,
    ) -> Result<bool, FindError> {
        let of_name = kind_of(place.name);
        let is_other = self.kind.is_some_and(|kind| of_name.is_some_and(|own| own != kind));
        if is_other {
            return Ok(false);
        }
        if self.kind == of_name && !self.reads() {
            return Ok(true);
        }
        let Sequence(sequence) = place.sequence;
        let Some(entry) = records.at(sequence).await? else { return Ok(false) };
        let record = &entry.record;
        let is_of_kind = || match (self.kind, of_name, record) {
            (Some(kind), None, Record::Noted(note)) => note.kind() == kind,
            (Some(kind), of_name, _) => of_name == Some(kind),
            (None, ..) => true,
        };
        let is_of_key = |key: &str| call_of_record(record).is_some_and(|call| is_of_key(call, key));
        let is_of_model = |model: &str| is_record_of_model(record, model);
        Ok(is_of_kind()
            && self.key.as_deref().is_none_or(is_of_key)
            && self.model.as_deref().is_none_or(is_of_model))
    }
}

impl Records<'_> {
    /// Whether a search has read as much as it may.
    fn is_spent(&self) -> bool {
        RECORDS_MAX <= self.scanned || SEARCH_BYTES_MAX <= self.bytes
    }
}

/// The type that the name of a call's event tells: the type's own, and perhaps numbers.
fn kind_of(name: &str) -> Option<EventType> {
    let is_digit = |c: char| c.is_ascii_digit() || c == '_';
    let kind = name.trim_end_matches(is_digit);
    EventType::ALL.into_iter().find(|known| known.as_str() == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_call_s_event_tells_its_type_and_a_note_s_does_not() {
        for (name, kind) in [
            ("completion", Some(EventType::Completion)),
            ("error", Some(EventType::Error)),
            ("error_2", Some(EventType::Error)),
            ("rate_limit_0", Some(EventType::RateLimit)),
            ("streaming_0_3_17", Some(EventType::Streaming)),
            ("evt_budget_12ab_80", None),
            ("evt_delivery_0123456789abcdef", None),
        ] {
            assert_eq!(kind_of(name), kind, "{name}");
        }
    }
}
