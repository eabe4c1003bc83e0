//! One life of the simulated gateway, and the steps at which it may die.
//!
//! Invariant: a process that is dead has no effect any more. Whatever its tasks still do ends at
//! their next step and never returns, so a crash is as sharp as a real one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// A life.
#[derive(Debug)]
pub struct Process {
    steps: AtomicU64,
    dies_at: AtomicU64,
    is_dead: AtomicBool,
    died: Notify,
}

impl Default for Process {
    fn default() -> Self {
        Self {
            steps: AtomicU64::new(0),
            dies_at: AtomicU64::new(u64::MAX),
            is_dead: AtomicBool::new(false),
            died: Notify::new(),
        }
    }
}

impl Process {
    /// Makes the process die at a step to come; 0 is the next one.
    pub fn die_after(&self, steps: u64) {
        self.dies_at.store(self.steps.load(Ordering::Relaxed) + steps, Ordering::Relaxed);
    }

    /// Ends it at once.
    pub fn kill(&self) {
        self.is_dead.store(true, Ordering::Relaxed);
        self.died.notify_one();
    }

    /// Whether it is dead.
    pub fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Relaxed)
    }

    /// Returns once it is dead.
    pub async fn died(&self) {
        self.died.notified().await;
    }

    /// A step: before something takes effect, or between that and its answer. Says whether the
    /// process dies here.
    pub fn dies_here(&self) -> bool {
        let step = self.steps.fetch_add(1, Ordering::Relaxed);
        if step >= self.dies_at.load(Ordering::Relaxed) && !self.is_dead() {
            self.kill();
        }
        self.is_dead()
    }

    /// Passes a step; never returns in a dead process.
    pub async fn step(&self) {
        if self.dies_here() {
            std::future::pending::<()>().await;
        }
    }
}
