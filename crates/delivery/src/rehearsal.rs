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

/// Bodies as a lane would close them.
#[derive(Default)]
struct Bodies {
    closed: u64,
    items: usize,
    bytes: usize,
    /// What the first one carries, and the event that it begins with.
    first: Option<(Arc<Event>, Vec<Item>)>,
}

impl Bodies {
    fn take(&mut self, event: &Arc<Event>, item: Item, lane: &Destination) {
        // With what stands between it and the next, and one more at the end: as in `reading`.
        let bytes = item.bytes.len() + 1;
        if self.bytes + bytes + 1 > lane.batch.bytes_max {
            self.close();
        }
        self.items += 1;
        self.bytes += bytes;
        if self.closed == 0 {
            let (_, items) = self.first.get_or_insert_with(|| (Arc::clone(event), Vec::new()));
            items.push(item);
        }
        let items_max = lane.batch.events_max.min(format::events_per_body_max(lane.format));
        if self.items >= items_max {
            self.close();
        }
    }

    fn close(&mut self) {
        if self.items > 0 {
            self.closed += 1;
            (self.items, self.bytes) = (0, 0);
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
