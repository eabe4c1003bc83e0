//! The journal as its users see it: append, and read from a cursor.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use domain::{
    id::CallId,
    record::{Entry, Record, Sequence},
};
use tokio::sync::{oneshot, watch};

/// A future behind a pointer, for the methods of traits used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A cause from an engine, kept for the log.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The durable, ordered log of what happened to calls.
///
/// Invariants: sequences are consecutive from 1 and never reused. A call has at most one
/// `Admitted`, and at most one `Sealed`, which comes after it. What a commit has acknowledged
/// survives what the configured durability names.
pub trait Journal: Send + Sync + 'static {
    /// Queues a record behind all that were appended before; the future resolves once it is
    /// committed. The record is queued when this returns, whether the future is polled or not.
    fn append(&self, record: Record) -> Commit;

    /// Queues a record that nobody waits for yet: it is committed together with the next one that
    /// `append` brings, or after `hurry`. So a record that is soon followed by another costs no
    /// commit of its own.
    fn append_soon(&self, record: Record) -> Commit;

    /// Commits what `append_soon` has queued.
    fn hurry(&self);

    /// The last committed position; it changes with every group of commits, right after those who
    /// wait for them were told.
    fn head(&self) -> watch::Receiver<Sequence>;

    /// The oldest position still stored, or the position after the head in an empty journal.
    fn oldest(&self) -> Sequence;

    /// Committed entries after `cursor`, in order, at least one if there is any, until `limit` is
    /// reached. Entries that retention deleted are skipped. Recent ones come from memory. Those
    /// before a corrupt record are returned first; once the cursor stands right before it, the
    /// answer is `ReadError::Corrupt`; a read from its sequence on returns what is behind it.
    fn read_after(
        &self,
        cursor: Sequence,
        limit: ReadLimit,
    ) -> BoxFuture<'_, Result<Vec<Arc<Entry>>, ReadError>>;

    /// Calls that were admitted before this process started and have no outcome yet.
    fn unsettled(&self) -> BoxFuture<'_, Result<Vec<Arc<domain::call::Call>>, ReadError>>;

    /// Whether calls may be admitted, and if not, why, in words for the operator.
    fn health(&self) -> Health;
}

/// How much one read returns, at most.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimit {
    /// Entries.
    pub entries_max: usize,
    /// Bytes of their payloads; the first entry is returned however large.
    pub bytes_max: usize,
}

/// Whether the journal takes new calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Ready,
    /// It does not, and this is why. Outcomes of calls already admitted are still taken.
    Refusing(String),
}

/// An append on its way. Dropping it does not take the record back.
#[derive(Debug)]
pub struct Commit(oneshot::Receiver<Result<Sequence, AppendError>>);

impl Commit {
    /// The future, and the end by which an engine resolves it.
    pub fn pair() -> (oneshot::Sender<Result<Sequence, AppendError>>, Self) {
        let (done, receiver) = oneshot::channel();
        (done, Self(receiver))
    }
}

impl Future for Commit {
    type Output = Result<Sequence, AppendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|received| received.unwrap_or(Err(AppendError::Closed)))
    }
}

/// Why a record could not be appended. It was not stored; see `Commit` for what may come of it.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The journal is shutting down. Answer 503: another process may take the call.
    #[error("journal is closed")]
    Closed,
    /// The disk is full: what room is left is kept for the outcomes of admitted calls.
    #[error("journal takes no new calls: {reason}")]
    Refusing {
        /// In words for the operator.
        reason: String,
    },
    /// The call has an outcome already, or was never admitted.
    #[error("call `{call}` is not open, so it takes no outcome")]
    NotOpen {
        /// The call.
        call: CallId,
    },
    /// The disk or the database refused; the cause says why. An outcome is kept in memory and stored
    /// once that works, if the process still runs and the call has no other by then.
    #[error("could not commit to the journal")]
    Commit {
        /// Shared by all records of the group that failed together.
        #[source]
        cause: Arc<dyn std::error::Error + Send + Sync>,
    },
}

/// Why entries could not be read. Nothing is lost by it; the cursor stays.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The journal is shutting down.
    #[error("journal is closed")]
    Closed,
    /// Stored bytes are not what was written there.
    #[error("journal record {sequence} is corrupt: {what}")]
    Corrupt {
        /// Where it stands. With this as its cursor, the next read goes on behind it.
        sequence: Sequence,
        /// What does not fit, and which records are lost with it.
        what: String,
    },
    /// The disk or the database refused.
    #[error("could not read the journal")]
    Engine(#[source] BoxError),
}
