//! What a destination would get, made and not sent.

use std::sync::Arc;

use bytes::Bytes;
use domain::{
    destination::Destination,
    event::{Event, EventType},
    id::DeliveryId,
    record::Sequence,
};
use store::journal::{ReadError, ReadLimit};
use webhook::{
    format::{self, Item},
    request,
};

use crate::{reading::delivery, service::Shared};

/// Records that are looked at, at most: the newest.
const RECORDS_MAX: u64 = 10_000;
/// Records of one read: backwards, a window at a time.
const WINDOW: u64 = 256;
/// What stands for the values of a user's own headers, which count as secrets.
const HIDDEN: &str = "…";

/// A request as a destination would get it.
#[derive(Debug, Clone)]
pub struct Preview {
    /// The delivery's id, which is the event's.
    pub id: DeliveryId,
    /// The event's type.
    pub event_type: EventType,
    /// The record that it follows from.
    pub sequence: Sequence,
    /// Names and values in order; of a user's own headers, only the names.
    pub headers: Vec<(String, String)>,
    /// The body as it would be sent, packed if the destination asks for that.
    pub body: Bytes,
    /// The body before it is packed.
    pub content: Bytes,
}

/// Why there is no preview.
#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    /// The journal could not be read.
    #[error("could not read the journal")]
    Read(#[from] ReadError),
}

/// The newest event that the destination would get, if it is among the newest records.
pub(crate) async fn preview(
    shared: &Shared,
    destination: &Destination,
) -> Result<Option<Preview>, PreviewError> {
    let head = { shared.journal.head().borrow().0 };
    let oldest = shared.journal.oldest().0.max(1).max(head.saturating_sub(RECORDS_MAX) + 1);
    let mut end = head;
    while end >= oldest {
        let start = end.saturating_sub(WINDOW - 1).max(oldest);
        if let Some((event, items)) = newest(shared, destination, start, end).await? {
            let items_max = format::events_per_body_max(destination.format);
            let items = &items[..items.len().min(items_max)];
            return Ok(Some(render(shared, destination, &event, items)));
        }
        end = start - 1;
    }
    Ok(None)
}

/// The newest event in `start..=end` that the destination wants, as it would be written.
async fn newest(
    shared: &Shared,
    destination: &Destination,
    start: u64,
    end: u64,
) -> Result<Option<(Arc<Event>, Vec<Item>)>, ReadError> {
    let mut found = None;
    let mut cursor = Sequence(start - 1);
    while cursor.0 < end {
        let limit = ReadLimit { entries_max: (end - cursor.0) as usize, bytes_max: 4 << 20 };
        let entries = match shared.events.read_after(cursor, limit).await {
            Err(ReadError::Corrupt { sequence, .. }) if sequence > cursor => {
                cursor = sequence;
                continue;
            }
            read => read?,
        };
        let Some(last) = entries.last() else { break };
        cursor = last.sequence;
        for event in entries.iter().filter(|e| e.sequence.0 <= end).flat_map(|e| &e.events) {
            let items = format::items(event, destination);
            if !items.is_empty() {
                found = Some((Arc::clone(event), items));
            }
        }
    }
    Ok(found)
}

/// A body of these items, the first of which is of this event.
pub(crate) fn render(
    shared: &Shared,
    destination: &Destination,
    event: &Event,
    items: &[Item],
) -> Preview {
    let made = delivery(destination, items);
    let content = made.body.map(|body| body.to_bytes()).unwrap_or_default();
    let content_type = format::content_type(destination.format);
    let now = shared.clock.now();
    let request = request::build(destination, &made.id, content_type, content.clone().into(), now);
    let is_own = |name: &str| destination.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    let shown = |name: &str, value: &str| {
        let value = if is_own(name) { HIDDEN } else { value };
        (name.to_owned(), value.to_owned())
    };
    Preview {
        id: made.id,
        event_type: event.kind(),
        sequence: event.sequence,
        headers: request.headers.iter().map(|(name, value)| shown(name, value)).collect(),
        body: request.body.to_bytes(),
        content,
    }
}
