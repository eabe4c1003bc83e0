//! What a delivery carried, in a few bytes an event, so that each attempt can keep it.
//!
//! An event is named by its record and by what its id says beside the call: who reads the record
//! knows the call. As text, with a comma between events: the position of the record, counted from
//! that of the event before, and the name after a colon unless it is the one before. So
//! `4711:completion,2,3,0:rate_limit_1` are four events of three records.
//!
//! Invariant: what [`Carried::of`] made, [`Carried::places`] tells in the same order.

use crate::{
    delivery::EventRef,
    id::{CallId, EventId},
    record::Sequence,
};

/// Hexadecimal digits of a call in an event's id.
const CALL_DIGITS: usize = 32;

/// Events, short. Empty where they are not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Carried(String);

/// Where an event is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// Its record.
    pub sequence: Sequence,
    /// What its id says beside the call (`completion`); of an event of no call, its whole id.
    pub name: &'a str,
}

impl Carried {
    /// These events, in order.
    pub fn of(events: &[EventRef]) -> Self {
        use std::fmt::Write;
        let mut text = String::with_capacity(16 + 2 * events.len());
        let (mut sequence, mut name) = (0, "");
        for event in events {
            if !text.is_empty() {
                text.push(',');
            }
            let step = event.sequence.0.wrapping_sub(sequence).cast_signed();
            write!(text, "{step}").expect("memory takes it");
            sequence = event.sequence.0;
            let its_name = name_of(&event.event);
            if its_name != name {
                text.push(':');
                text.push_str(its_name);
                name = its_name;
            }
        }
        Self(text)
    }

    /// From text that a row stored.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The events, in order. Text that is no text form ends where it is not.
    pub fn places(&self) -> impl Iterator<Item = Place<'_>> {
        let (mut sequence, mut name) = (0_u64, "");
        let parts = self.0.split(',').take_while(|part| !part.is_empty());
        parts.map_while(move |part| {
            let (step, its_name) = match part.split_once(':') {
                Some((step, its_name)) => (step, its_name),
                None => (part, name),
            };
            sequence = sequence.wrapping_add(step.parse::<i64>().ok()?.cast_unsigned());
            name = its_name;
            Some(Place { sequence: Sequence(sequence), name })
        })
    }

    /// Whether the event of this record and id is among them. That the record has it is taken for
    /// granted.
    pub fn has(&self, sequence: Sequence, id: &EventId) -> bool {
        let name = name_of(id);
        self.places().any(|place| place.sequence == sequence && place.name == name)
    }
}

impl Place<'_> {
    /// The id of the event, whose record is of this call.
    pub fn id(&self, call: Option<CallId>) -> EventId {
        match call.filter(|_| !self.name.starts_with("evt_")) {
            Some(call) => EventId::from_stored(&format!("evt_{}_{}", call.to_simple(), self.name)),
            None => EventId::from_stored(self.name),
        }
    }

    /// Whether it is of an event of this id, which is known to be in its record.
    pub fn is(&self, id: &EventId) -> bool {
        self.name == name_of(id)
    }
}

/// What an event's id says beside the call.
fn name_of(id: &EventId) -> &str {
    let id = id.as_str();
    let of_call = || {
        let (call, name) = id.strip_prefix("evt_")?.split_at_checked(CALL_DIGITS)?;
        let is_call = call.bytes().all(|byte| byte.is_ascii_hexdigit());
        name.strip_prefix('_').filter(|_| is_call)
    };
    of_call().unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventType;

    fn of_call(sequence: u64, call: u8, kind: EventType) -> EventRef {
        let event = EventId::of_outcome(CallId::from_bytes([call; 16]), kind);
        EventRef { sequence: Sequence(sequence), event }
    }

    #[test]
    fn events_are_told_in_order_as_they_were_given() {
        let note = EventId::from_stored("evt_budget_12ab_80");
        let limit = EventId::of_rate_limit(CallId::from_bytes([3; 16]), 1);
        let events = [
            of_call(4711, 1, EventType::Completion),
            of_call(4713, 2, EventType::Completion),
            of_call(4716, 3, EventType::Error),
            EventRef { sequence: Sequence(4716), event: limit },
            // Held back until a piece was sent.
            of_call(4702, 4, EventType::Completion),
            EventRef { sequence: Sequence(4720), event: note },
        ];
        let carried = Carried::of(&events);
        assert_eq!(
            carried.as_str(),
            "4711:completion,2,3:error,0:rate_limit_1,-14:completion,18:evt_budget_12ab_80"
        );
        let places: Vec<_> = carried.places().collect();
        assert_eq!(places.len(), events.len());
        for (place, event) in places.iter().zip(&events) {
            assert_eq!(place.sequence, event.sequence);
            assert!(place.is(&event.event), "{place:?}");

            assert!(carried.has(event.sequence, &event.event));
        }
        assert_eq!(places[2].id(Some(CallId::from_bytes([3; 16]))), events[2].event);
        assert_eq!(places[5].id(None), events[5].event);
        assert!(!carried.has(Sequence(4713), &events[2].event));
        assert!(!carried.has(Sequence(4712), &events[0].event));
    }

    #[test]
    fn what_is_not_known_or_no_text_form_is_no_event() {
        for text in ["", "x", "x:completion"] {
            assert_eq!(Carried::from_stored(text.to_owned()).places().count(), 0, "{text}");
        }
        let cut = Carried::from_stored("7:error,2,x,3".to_owned());
        let places: Vec<_> = cut.places().map(|place| place.sequence.0).collect();
        assert_eq!(places, [7, 9]);
    }
}
