//! What a fake saw, in order, and waiting until it has seen enough.

use std::{fmt::Debug, sync::Mutex};

use tokio::sync::watch;

use crate::DEADLINE;

/// A list that grows while tests wait on it.
#[derive(Debug)]
pub struct Record<T> {
    entries: Mutex<Vec<T>>,
    version: watch::Sender<u64>,
}

impl<T> Default for Record<T> {
    fn default() -> Self {
        Self { entries: Mutex::new(Vec::new()), version: watch::Sender::new(0) }
    }
}

impl<T: Clone + Debug> Record<T> {
    /// Everything so far.
    pub fn all(&self) -> Vec<T> {
        self.locked().clone()
    }

    /// Waits until `enough` of what was seen and returns all of it; fails the test after
    /// [`DEADLINE`] with `what` it had waited for.
    pub async fn wait_until(&self, what: &str, enough: impl Fn(&[T]) -> bool) -> Vec<T> {
        let mut version = self.version.subscribe();
        let wait = async {
            while !enough(&self.locked()) {
                // Cannot fail: `self` holds the sender.
                let _ = version.changed().await;
            }
        };
        let done = tokio::time::timeout(DEADLINE, wait).await;
        assert!(done.is_ok(), "waited {DEADLINE:?} for {what}; seen: {:#?}", self.locked());
        self.all()
    }

    /// Adds an entry and returns its index.
    pub(crate) fn push(&self, entry: T) -> usize {
        let index = {
            let mut entries = self.locked();
            entries.push(entry);
            entries.len() - 1
        };
        self.version.send_modify(|version| *version += 1);
        index
    }

    /// Changes an entry.
    pub(crate) fn update(&self, index: usize, change: impl FnOnce(&mut T)) {
        if let Some(entry) = self.locked().get_mut(index) {
            change(entry);
        }
        self.version.send_modify(|version| *version += 1);
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.locked().clear();
        self.version.send_modify(|version| *version += 1);
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<T>> {
        self.entries.lock().expect("a test that panicked has failed already")
    }
}
