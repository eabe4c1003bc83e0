//! News of deliveries themselves: which notes there are, under which ids, and how many.
//!
//! Invariant: a note's id follows from what it tells, so telling it twice is telling it once. A
//! delivery that carries nothing but such news is never told of: its failing would make more.

use std::time::Duration;

use domain::{
    delivery::{DeadLetter, EventRef},
    event::EventType,
    id::{DestinationName, EventId},
    note::{News, Note},
    time::Timestamp,
};
use webhook::request::delivery_id;

use crate::roster::Disabled;

/// What the ids of these notes begin with.
const PREFIX: &str = "evt_delivery_";

/// Deliveries given up that are told of, for each destination in each span of time. A receiver that
/// refuses everything must not fill the journal with news of that.
const EXHAUSTED_MAX: u32 = 10;
const SPAN: Duration = Duration::from_mins(1);

/// A destination is no longer sent to.
pub(crate) fn disabled(name: &DestinationName, disabled: Disabled) -> Note {
    let Disabled { why, since } = disabled;
    let id = id(name, EventType::DestinationDisabled, &since.as_nanos().to_string());
    Note {
        id,
        at: since,
        news: News::DestinationDisabled { destination: name.clone(), reason: why },
    }
}

/// A destination takes deliveries again.
pub(crate) fn recovered(name: &DestinationName, failing_since: Timestamp, at: Timestamp) -> Note {
    let id = id(name, EventType::DestinationRecovered, &failing_since.as_nanos().to_string());
    let news = News::DestinationRecovered { destination: name.clone(), failing_since };
    Note { id, at, news }
}

/// What one lane has told of deliveries given up.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    span_began: Timestamp,
    told: u32,
    passed_over: u64,
}

impl Telling {
    /// The news of a delivery that is given up; `None` if it is not told of. The next one that is
    /// says how many were not.
    pub(crate) fn exhausted(&mut self, letter: &DeadLetter) -> Option<Note> {
        let DeadLetter { destination, id, events, attempts, buried_at, reason } = letter;
        if is_operational(events) {
            return None;
        }
        let is_over = buried_at.since(self.span_began) >= SPAN || *buried_at < self.span_began;
        if is_over {
            self.span_began = *buried_at;
            self.told = 0;
        }
        if self.told == EXHAUSTED_MAX {
            self.passed_over += 1;
            return None;
        }
        self.told += 1;
        let what = format!("{id} {} {reason}", buried_at.as_nanos());
        let mut reason = reason.clone();
        let passed_over = std::mem::take(&mut self.passed_over);
        if passed_over > 0 {
            reason = format!("{reason} (and {passed_over} more before it)");
        }
        let news = News::DeliveryExhausted {
            destination: destination.clone(),
            delivery: id.clone(),
            attempts: *attempts,
            reason,
        };
        let id = self::id(destination, EventType::DeliveryExhausted, &what);
        Some(Note { id, at: *buried_at, news })
    }
}

/// The id of news about a destination: a hash of what is told of whom, without a `.`.
fn id(name: &DestinationName, kind: EventType, what: &str) -> EventId {
    let parts = [name.as_str(), kind.as_str(), what].map(EventId::from_stored);
    let [name, kind, what] = &parts;
    let hash = delivery_id(&[name, kind, what]);
    EventId::from_stored(&hash.as_str().replacen("bat_", PREFIX, 1))
}

/// Whether all that a delivery carries is news of deliveries.
fn is_operational(events: &[EventRef]) -> bool {
    events.iter().all(|event| event.event.as_str().starts_with(PREFIX))
}

#[cfg(test)]
mod tests {
    use domain::{id::DeliveryId, record::Sequence};

    use super::*;

    fn letter(event: &str, at: i64) -> DeadLetter {
        DeadLetter {
            destination: DestinationName::new("primary"),
            id: DeliveryId::new(event),
            events: vec![EventRef { sequence: Sequence(1), event: EventId::from_stored(event) }],
            attempts: 5,
            buried_at: Timestamp::from_millis(at),
            reason: "status 500".to_owned(),
        }
    }

    fn reason(note: &Note) -> &str {
        let News::DeliveryExhausted { reason, .. } = &note.news else { panic!("{note:?}") };
        reason
    }

    #[test]
    fn the_same_news_has_the_same_id_and_other_news_another() {
        let id = |letter: &DeadLetter| Telling::default().exhausted(letter).unwrap().id;
        let first = id(&letter("evt_1", 7));
        assert_eq!(first, id(&letter("evt_1", 7)));
        assert_ne!(first, id(&letter("evt_2", 7)));
        assert_ne!(first, id(&letter("evt_1", 8)), "given up again after it was revived");
        assert!(!first.as_str().contains('.'), "{first}");
        let name = DestinationName::new("primary");
        let at = Timestamp::from_millis(7);
        let other = DestinationName::new("other");
        let ids = [
            recovered(&name, at, at).id,
            recovered(&other, at, at).id,
            disabled(&name, Disabled { why: String::new(), since: at }).id,
        ];
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
    }

    #[test]
    fn news_of_deliveries_that_carried_such_news_is_not_told() {
        let mut telling = Telling::default();
        let told = telling.exhausted(&letter("evt_1", 1)).expect("a call's outcome is told of");
        assert_eq!(telling.exhausted(&letter(told.id.as_str(), 2)), None);
        let mut mixed = letter("evt_1", 3);
        mixed.events.extend(letter(told.id.as_str(), 3).events);
        assert!(telling.exhausted(&mixed).is_some());
    }

    #[test]
    fn a_flood_is_counted_and_not_told_one_by_one() {
        let mut telling = Telling::default();
        let told = (0..100).filter(|at| telling.exhausted(&letter("evt_1", 60_000 + at)).is_some());
        assert_eq!(told.count(), 10);
        let next = telling.exhausted(&letter("evt_1", 120_000)).expect("a minute later");
        assert_eq!(reason(&next), "status 500 (and 90 more before it)");
        let next = telling.exhausted(&letter("evt_1", 120_001)).expect("the next");
        assert_eq!(reason(&next), "status 500");
    }
}
