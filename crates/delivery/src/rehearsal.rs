//! What a replay would send, counted and not sent.

use std::{collections::BTreeMap, sync::Arc};

use domain::{
    destination::Destination,
    event::{Event, EventType},
};
use store::journal::{ReadError, ReadLimit};
use webhook::{
    format::{self, Item},
    matching,
};

use crate::{
    filling::Filling,
    preview::{Preview, render},
    replay::Replay,
    service::Shared,
};

/// Entries of one read.
const READ: ReadLimit = ReadLimit { entries_max: 256, bytes_max: 4 << 20 };

/// What a replay would send.
#[derive(Debug, Clone)]
pub struct Rehearsal {
    /// What was asked for, with the ends of its range as they are.
    pub replay: Replay,
    /// Events, by type.
    pub matched: BTreeMap<EventType, u64>,
    /// Bodies, if none is closed early because the next event lets it wait too long.
    pub bodies: u64,
    /// The first of them; `None` if nothing would be sent.
    pub first: Option<Preview>,
}

/// Bodies as a lane closes them.
#[derive(Default)]
struct Bodies {
    closed: u64,
    filling: Filling,
    /// What the first one carries, and the event that it begins with.
    first: Option<(Arc<Event>, Vec<Item>)>,
}

impl Bodies {
    fn take(&mut self, event: &Arc<Event>, item: Item, lane: &Destination) {
        if self.filling.overflows_with(&item, lane) {
            self.close();
        }
        self.filling.add(&item);
        if self.closed == 0 {
            let (_, items) = self.first.get_or_insert_with(|| (Arc::clone(event), Vec::new()));
            items.push(item);
        }
        if self.filling.is_full(lane) {
            self.close();
        }
    }

    fn close(&mut self) {
        if !self.filling.is_empty() {
            self.closed += 1;
            self.filling = Filling::default();
        }
    }
}

/// Reads the range as the replay's lane would; `only` narrows it as the replay asks.
pub(crate) async fn rehearse(
    shared: &Shared,
    replay: Replay,
    lane: &Destination,
    only: &Destination,
) -> Result<Rehearsal, ReadError> {
    let (mut matched, mut bodies) = (BTreeMap::new(), Bodies::default());
    let mut cursor = replay.from.before();
    while cursor < replay.to {
        let entries = match shared.events.read_after(cursor, READ).await {
            Err(ReadError::Corrupt { sequence, .. }) if sequence > cursor => {
                cursor = sequence;
                continue;
            }
            read => read?,
        };
        let Some(last) = entries.last() else { break };
        cursor = last.sequence;
        for event in entries.iter().filter(|e| e.sequence <= replay.to).flat_map(|e| &e.events) {
            let kind = event.kind();
            let items = if matching::matches(kind, event, only) {
                format::items(event, lane)
            } else {
                Vec::new()
            };
            if !items.is_empty() {
                *matched.entry(kind).or_default() += 1;
            }
            for item in items {
                bodies.take(event, item, lane);
            }
        }
        tokio::task::yield_now().await;
    }
    bodies.close();
    let first = bodies.first.map(|(event, items)| render(shared, lane, &event, &items));
    Ok(Rehearsal { replay, matched, bodies: bodies.closed, first })
}
