//! The lanes' state as its users see it: cursors, parked deliveries, dead letters, attempts.

use domain::{
    carried::Carried,
    delivery::{Attempt, DeadLetter, EventRef, Parked},
    id::{DeliveryId, DestinationName, EventId},
    record::Sequence,
    time::Timestamp,
};
use tokio::sync::watch;

use crate::journal::{BoxError, BoxFuture};

/// Deliveries of a lane that may wait, at most, where somebody has dead letters sent again: all that
/// wait are held in memory.
pub const WAITING_MAX: usize = 10_000;

/// What lanes remember across restarts.
///
/// Invariant: a settlement is stored whole or not at all, so the cursor never passes an event
/// that is neither delivered, parked, buried nor unwanted.
pub trait Lanes: Send + Sync + 'static {
    /// How far the lane has settled; `None` for a lane that never ran.
    fn cursor(&self, lane: &DestinationName)
    -> BoxFuture<'_, Result<Option<Sequence>, LanesError>>;

    /// Stores what became of some deliveries, and the cursor, in one transaction.
    fn settle(
        &self,
        lane: &DestinationName,
        settlement: Settlement,
    ) -> BoxFuture<'_, Result<(), LanesError>>;

    /// All deliveries of the lane that wait for another attempt, by due time.
    fn parked(&self, lane: &DestinationName) -> BoxFuture<'_, Result<Vec<Parked>, LanesError>>;

    /// Changes when another process changed the state (a revived dead letter, say): then parked
    /// deliveries should be read again.
    fn changed(&self) -> watch::Receiver<u64>;

    /// Dead letters, oldest first; of one lane, or of all.
    fn dead_letters(
        &self,
        lane: Option<&DestinationName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DeadLetter>, LanesError>>;

    /// Makes dead letters of a lane due at once, with no attempt counted: those named, or all, oldest
    /// first. Returns how many: no more than may wait, by `WAITING_MAX`.
    fn revive(
        &self,
        lane: &DestinationName,
        ids: Option<&[DeliveryId]>,
    ) -> BoxFuture<'_, Result<usize, LanesError>>;

    /// Deliveries for people to look at, newest first. It never holds up a settlement.
    fn deliveries(
        &self,
        query: DeliveryQuery,
    ) -> BoxFuture<'_, Result<Vec<DeliveryRow>, LanesError>>;

    /// One delivery of a lane with all that is still known of it.
    fn delivery(
        &self,
        lane: &DestinationName,
        id: &DeliveryId,
    ) -> BoxFuture<'_, Result<Option<DeliveryDetail>, LanesError>>;

    /// Events behind a position that stand in dead letters of the lane: they are settled, though the
    /// cursor has not passed them.
    fn dead_after(
        &self,
        lane: &DestinationName,
        cursor: Sequence,
    ) -> BoxFuture<'_, Result<Vec<EventId>, LanesError>>;

    /// How many dead letters a lane has.
    fn dead_count(&self, lane: &DestinationName) -> BoxFuture<'_, Result<u64, LanesError>>;

    /// The cursors of all lanes that ever ran and were not forgotten.
    fn cursors(&self) -> BoxFuture<'_, Result<Vec<(DestinationName, Sequence)>, LanesError>>;

    /// Marks exactly these lanes as of destinations that are not there any more: what they hold waits
    /// in vain. Nothing else changes.
    fn mark_removed(&self, lanes: &[DestinationName]) -> BoxFuture<'_, Result<(), LanesError>>;

    /// The lanes that were last marked so and not forgotten since, by name.
    fn removed(&self) -> BoxFuture<'_, Result<Vec<DestinationName>, LanesError>>;

    /// Forgets all of a lane whose destination was removed: cursor, parked deliveries, dead letters,
    /// attempts, its mark, and whether it was paused or resumed.
    fn forget(&self, lane: &DestinationName) -> BoxFuture<'_, Result<(), LanesError>>;
}

/// Which deliveries to show: those that meet all that is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryQuery {
    /// Of any of these lanes; of all if there are none.
    pub lanes: Vec<DestinationName>,
    /// In this state.
    pub state: Option<DeliveryState>,
    /// Carrying this event.
    pub event: Option<EventId>,
    /// The record of `event`, which is taken at its word. Without it, a batch that was delivered is not
    /// found.
    pub event_at: Option<Sequence>,
    /// Whose last attempt was answered with this status.
    pub status: Option<u16>,
    /// Whose reason holds this text, in upper or lower case.
    pub reason: Option<String>,
    /// Last attempted at this time or later; without attempts, due or buried then.
    pub since: Option<Timestamp>,
    /// Last attempted before this time; without attempts, due or buried then.
    pub until: Option<Timestamp>,
    /// Behind the row of this number: the next page.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: usize,
}

/// How a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// Its last attempt succeeded.
    Delivered,
    /// It waits for another attempt.
    Waiting,
    /// It was given up, and stands in the dead letters.
    Dead,
    /// It failed, and its events went on in other deliveries: in halves of it, or in batches that were
    /// cut anew after a restart.
    Replaced,
}

impl DeliveryState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Delivered, Self::Waiting, Self::Dead, Self::Replaced];

    /// The text form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Waiting => "waiting",
            Self::Dead => "dead",
            Self::Replaced => "replaced",
        }
    }
}

/// A delivery, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Its place in the order of last attempts: newer is larger. It changes with each attempt.
    pub number: i64,
    /// To which destination.
    pub destination: DestinationName,
    /// Its id, the same in every attempt.
    pub id: DeliveryId,
    /// How it stands.
    pub state: DeliveryState,
    /// Attempts that count against `max_attempts`: not those that failed while the receiver was down,
    /// nor those before it was sent again by hand.
    pub attempts: u32,
    /// Attempts that are still known.
    pub made: u32,
    /// The last attempt, if it is still known and there was one.
    pub last: Option<Attempt>,
    /// When the next attempt is due, if it waits for a time.
    pub due_at: Option<Timestamp>,
    /// What the last attempt ended with, or why it was given up, in words.
    pub reason: String,
    /// What it carries.
    pub carried: Carried,
}

/// A delivery with all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryDetail {
    /// How it stands.
    pub row: DeliveryRow,
    /// Its attempts that are still known, oldest first.
    pub attempts: Vec<Attempt>,
    /// What it carries, with whole ids: while it waits, and as a dead letter.
    pub events: Vec<EventRef>,
}

/// What became of some deliveries of one lane. A delivery that is named more than once ends buried
/// rather than waiting, and unparked rather than parked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settlement {
    /// The new cursor, if it moved.
    pub cursor: Option<Sequence>,
    /// Deliveries to park, or whose waiting changed; by id, the newest wins.
    pub parked: Vec<Parked>,
    /// Parked deliveries that no longer wait: delivered, or about to be buried.
    pub unparked: Vec<DeliveryId>,
    /// Deliveries given up.
    pub buried: Vec<DeadLetter>,
    /// Attempts made, for people.
    pub attempts: Vec<Attempt>,
}

/// Why the lanes' state could not be read or written. Nothing of the operation took effect.
#[derive(Debug, thiserror::Error)]
pub enum LanesError {
    /// The store is shutting down.
    #[error("lanes' state is closed")]
    Closed,
    /// The disk or the database refused.
    #[error("could not access the lanes' state")]
    Engine(#[source] BoxError),
}
