//! Journal entries to deliveries: reads ahead within bounds, matches, renders, batches.

use std::{sync::Arc, time::Duration};

use domain::{
    delivery::EventRef,
    destination::Destination,
    event::{Detail, Event, EventType},
    time::Timestamp,
};
use store::journal::{ReadError, ReadLimit};
use webhook::{
    body::Body,
    format::{self, Item},
    matching, request,
};

use crate::{
    filling::{Filling, events_max},
    lane::{Ending, Lane, LaneError},
    sending::Delivery,
    shelf::Attempts,
};

/// Entries of one read, at most, and bytes of their payloads.
const READ_ENTRIES_MAX: usize = 256;
const READ_BYTES_MAX: usize = 4 << 20;
/// How long a lane that batches leaves the journal alone, at most, once it has read all of it.
const REST_MAX: Duration = Duration::from_millis(20);
/// Deliveries that are held to probe with while the receiver is down, at most, unless so many had
/// been read before.
const PROBES_MAX: usize = 16;
/// Rendered bytes that wait to be sent, at most, unless a single event is larger; and bytes of text in
/// pieces that have failed.
pub(crate) const RENDERED_BYTES_MAX: usize = 16 << 20;

/// Items that gather for the next body.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    items: Vec<Item>,
    filling: Filling,
    flush_at: Option<Timestamp>,
}

impl Gathering {
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// When the oldest item has waited long enough.
    pub(crate) fn flush_at(&self) -> Option<Timestamp> {
        self.flush_at
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.flush_at.is_some_and(|at| at <= now)
    }

    fn take(&mut self) -> Vec<Item> {
        self.filling = Filling::default();
        self.flush_at = None;
        std::mem::take(&mut self.items)
    }
}

impl Lane {
    /// Reads on while there is room, and closes batches that are due.
    pub(crate) async fn fill(&mut self) -> Result<(), LaneError> {
        self.at_head = false;
        if self.ending == Some(Ending::Halt) || self.is_resting() {
            return Ok(());
        }
        let mut has_read = false;
        while self.has_room() || self.makes_room() {
            // The head is told after those who wait for a commit, and their calls may be what ends
            // last: so a lane that stops reads until nothing comes.
            let is_read = self.window.read() >= *self.head.borrow_and_update();
            self.at_head = is_read && !self.is_draining() || self.has_read_all();
            if self.at_head {
                break;
            }
            let limit = ReadLimit {
                entries_max: READ_ENTRIES_MAX
                    .min(self.destination.queue_size.saturating_sub(self.window.len()).max(1)),
                bytes_max: READ_BYTES_MAX,
            };
            let read = self.shared.events.read_after(self.window.read(), limit).await;
            let entries = match read {
                Err(ReadError::Corrupt { sequence, what })
                    if sequence == self.window.read().next() =>
                {
                    self.bury_corrupt(sequence, &what);
                    continue;
                }
                read => read?,
            };
            if entries.is_empty() {
                self.at_head = true;
                break;
            }
            has_read = true;
            let until = self.bounds.as_ref().map(|bounds| bounds.replay.to);
            for entry in entries {
                if until.is_some_and(|until| entry.sequence > until) {
                    self.window.advance(until.unwrap_or_default());
                    break;
                }
                self.window.advance(entry.sequence);
                for event in &entry.events {
                    self.take_in(event);
                }
                if self.is_held_up() {
                    break;
                }
            }
        }
        if self.at_head && has_read && self.is_batching() {
            // Every commit moves the head, and a batch is in no hurry: waking for each would cost
            // more than reading what has come.
            let rest = (self.destination.batch.flush_interval / 4).min(REST_MAX);
            self.rest_until = self.now().plus(rest);
        }
        let is_last = self.has_read_all() || self.is_draining();
        if is_last && self.at_head || self.gathering.is_due(self.now()) {
            self.flush();
        }
        Ok(())
    }

    fn is_batching(&self) -> bool {
        events_max(&self.destination) > 1
    }

    /// Whether reading waits, for what comes meanwhile to be read at once.
    fn is_resting(&self) -> bool {
        !self.is_draining() && self.now() < self.rest_until
    }

    /// Whether another entry may be read. While the receiver is down one delivery to probe with is
    /// enough; the rest stays in the journal.
    fn has_room(&self) -> bool {
        if self.is_held_up()
            || self.queue.bytes() + self.gathering.filling.bytes() >= RENDERED_BYTES_MAX
        {
            return false;
        }
        let ahead_max = self.destination.queue_size;
        if self.is_down() {
            self.wants_probe() && self.window.len() < ahead_max.max(PROBES_MAX)
        } else {
            self.window.len() < ahead_max && self.shelf.living() < ahead_max
        }
    }

    /// Whether nothing new is there to probe with. One that is parked or was tried in vain is not
    /// enough: it may be what this receiver never takes, and nothing else would show that it is back.
    fn wants_probe(&self) -> bool {
        let has_probe = self.queue.untried() > 0 || !self.gathering.is_empty();
        !has_probe && self.queue.len() < PROBES_MAX
    }

    /// Gives pieces of streams up where they are all that can be read while the receiver is down:
    /// behind them come outcomes. Says whether that helped.
    fn makes_room(&mut self) -> bool {
        if !self.is_down() || !self.wants_probe() {
            return false;
        }
        let released = self.streams.give_up_all();
        self.take_released(released);
        self.has_room()
    }

    /// Whether an outcome waits for pieces of its stream that nothing may overtake.
    fn is_held_up(&self) -> bool {
        self.destination.strict_order && self.streams.holds_outcome()
    }

    fn take_in(&mut self, event: &Arc<Event>) {
        let only = self.bounds.as_ref().map(|bounds| &bounds.only);
        if only.is_some_and(|only| !matching::matches(event.kind(), event, only)) {
            return;
        }
        if let Detail::Streaming(piece) = &event.detail {
            if !self.streams.is_over(piece.call.id)
                && matching::matches(EventType::Streaming, event, &self.destination)
            {
                self.window.hold(event.sequence);
                self.streams.piece(event, piece);
            }
            return;
        }
        let mut items = format::items(event, &self.destination);
        items.retain(|item| !self.parked_before.remove(&item.id));
        for item in &items {
            self.window.hold(item.sequence);
        }
        let items = match event.call() {
            Some(call) => self.streams.outcome(call.id, items),
            None => items,
        };
        self.gather(items);
        if self.is_down() {
            let released = self.streams.give_up();
            self.take_released(released);
        }
    }

    /// Puts items into bodies.
    pub(crate) fn gather(&mut self, items: Vec<Item>) {
        for item in items {
            if self.gathering.filling.overflows_with(&item, &self.destination) {
                self.flush();
            }
            if self.gathering.flush_at.is_none() {
                let wait = self.destination.batch.flush_interval;
                self.gathering.flush_at = Some(self.now().plus(wait));
            }
            self.gathering.filling.add(&item);
            self.gathering.items.push(item);
            if self.gathering.filling.is_full(&self.destination) {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        let items = self.gathering.take();
        if !items.is_empty() {
            self.queue.push(delivery(&self.destination, &items));
        }
    }
}

/// A delivery that carries `items`.
pub(crate) fn delivery(destination: &Destination, items: &[Item]) -> Delivery {
    let ids: Vec<_> = items.iter().map(|item| &item.id).collect();
    Delivery {
        id: request::delivery_id(&ids),
        events: items
            .iter()
            .map(|item| EventRef { sequence: item.sequence, event: item.id.clone() })
            .collect(),
        attempts: Attempts::default(),
        body: Some(format::join(destination, items)),
        is_parked: false,
        is_thin: false,
        probes: 0,
    }
}

/// Why a delivery's body could not be made again.
pub(crate) enum RebuildError {
    /// These of its events can no longer be made.
    Missing(Vec<EventRef>),
    /// They could not be read now.
    Read(ReadError),
}

/// Renders the body of a parked delivery again from the journal.
pub(crate) async fn rebuild(
    shared: &crate::service::Shared,
    destination: &Destination,
    events: &[EventRef],
) -> Result<Body, RebuildError> {
    let mut items = Vec::with_capacity(events.len());
    let mut missing = Vec::new();
    for wanted in events {
        let entry = match shared.events.read_at(wanted.sequence).await {
            Err(ReadError::Corrupt { .. }) => None,
            read => read.map_err(RebuildError::Read)?,
        };
        let found = entry.iter().flat_map(|entry| &entry.events).find_map(|event| {
            let rendered = format::items(event, destination);
            rendered.into_iter().find(|item| item.id == wanted.event)
        });
        match found {
            Some(item) => items.push(item),
            None => missing.push(wanted.clone()),
        }
    }
    if missing.is_empty() {
        Ok(format::join(destination, &items))
    } else {
        Err(RebuildError::Missing(missing))
    }
}
