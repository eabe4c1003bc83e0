//! The lanes' state as its users see it: cursors, parked deliveries, dead letters, attempts.

use domain::{
    delivery::{Attempt, DeadLetter, Parked},
    id::{DeliveryId, DestinationName},
    record::Sequence,
};
use tokio::sync::watch;

use crate::journal::{BoxError, BoxFuture};

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

    /// Makes dead letters due at once, with no attempt counted: those named, or all of a lane.
    /// Returns how many.
    fn revive(
        &self,
        lane: Option<&DestinationName>,
        ids: Option<&[DeliveryId]>,
    ) -> BoxFuture<'_, Result<usize, LanesError>>;
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
