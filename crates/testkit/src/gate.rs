//! A gate: where a scripted answer waits until the test lets it go on.

use tokio::sync::watch;

use crate::DEADLINE;

/// Closed when new; once opened, it stays open. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate {
    open: watch::Sender<bool>,
    waiting: watch::Sender<usize>,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self { open: watch::Sender::new(false), waiting: watch::Sender::new(0) }
    }

    /// Lets everyone through who waits, and everyone who comes later.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Returns once `count` have come to the gate, counting those who went through.
    pub async fn reached_by(&self, count: usize) {
        let mut waiting = self.waiting.subscribe();
        let reached = tokio::time::timeout(DEADLINE, waiting.wait_for(|n| *n >= count)).await;
        assert!(reached.is_ok(), "only {} of {count} reached the gate", *self.waiting.borrow());
    }

    /// Whether anybody has come to the gate yet.
    pub fn is_reached(&self) -> bool {
        *self.waiting.borrow() > 0
    }

    /// Waits until the gate is open.
    pub async fn pass(&self) {
        self.waiting.send_modify(|count| *count += 1);
        let mut open = self.open.subscribe();
        // An error would mean that no sender is left, but `self` is one.
        let _ = open.wait_for(|open| *open).await;
    }
}
