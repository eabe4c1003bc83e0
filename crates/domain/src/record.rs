//! What the journal stores.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{call::Call, event::Captured, exchange::Exchange, id::CallId, note::Note};

/// A record's position in the journal: consecutive, from 1. As a cursor, `Sequence(n)` says that
/// everything up to and including `n` is settled; `Sequence(0)` is the beginning.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The position before this one: a cursor from which this one is read next.
    #[must_use]
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl std::fmt::Display for Sequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One fact, as it is appended.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A call was let in; its outcome is owed.
    Admitted(Arc<Call>),
    /// Tokens of a running stream went by.
    Captured(Arc<Captured>),
    /// The one outcome of an admitted call.
    Sealed(Arc<Exchange>),
    /// News that is of no single call.
    Noted(Arc<Note>),
}

impl Record {
    /// The call that it is about, if it is about one.
    pub fn call_id(&self) -> Option<CallId> {
        match self {
            Self::Admitted(call) => Some(call.id),
            Self::Captured(captured) => Some(captured.call_id()),
            Self::Sealed(exchange) => Some(exchange.facts.call.id),
            Self::Noted(_) => None,
        }
    }
}

/// A record and its position.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where it stands.
    pub sequence: Sequence,
    /// What it says.
    pub record: Record,
}
