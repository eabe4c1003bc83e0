//! What one attempt sees on its way: phases, and the address that was dialled.
//!
//! The connector finds the trace of the attempt that asks it for a connection in a task-local; the
//! connection remembers whose trace it was made under, so that an attempt on a connection that was
//! open already does not claim another's phases.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::delivery::Timings;
use tokio::time::Instant;
use webhook::verdict::Phase;

tokio::task_local! {
    /// The trace of the attempt that runs.
    pub(super) static TRACE: Arc<Trace>;
}

/// The notes of one attempt.
#[derive(Debug, Default)]
pub(super) struct Trace(Mutex<Notes>);

#[derive(Debug, Clone, Copy, Default)]
struct Notes {
    phase: Option<Phase>,
    since: Option<Instant>,
    address: Option<SocketAddr>,
    timings: Timings,
}

impl Trace {
    /// The trace of the attempt that runs; one that nobody reads if there is none.
    pub(super) fn current() -> Arc<Self> {
        TRACE.try_with(Arc::clone).unwrap_or_default()
    }

    /// A phase begins, and with it the one before has ended.
    pub(super) fn enter(&self, phase: Phase) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.end_phase();
        notes.phase = Some(phase);
        notes.since = Some(Instant::now());
    }

    /// The last phase has ended.
    pub(super) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).end_phase();
    }

    /// This address is being dialled.
    pub(super) fn dial(&self, address: SocketAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).address = Some(address);
    }

    /// Where it was when it was given up.
    pub(super) fn phase(&self) -> Option<Phase> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).phase
    }

    /// Whether it has been in the TLS handshake for so long.
    pub(super) fn is_in_tls_for(&self, limit: Duration) -> bool {
        let notes = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.phase == Some(Phase::Tls) && notes.since.is_some_and(|at| at.elapsed() >= limit)
    }

    /// The last address that was dialled.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).address
    }

    /// The phases, a running one as far as it came.
    pub(super) fn timings(&self) -> Timings {
        let mut notes = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.end_phase();
        notes.timings
    }
}

impl Notes {
    fn end_phase(&mut self) {
        let (Some(phase), Some(since)) = (self.phase.take(), self.since.take()) else { return };
        let took = Some(millis(since.elapsed()));
        match phase {
            Phase::Resolve => self.timings.dns_ms = took,
            Phase::Connect => self.timings.connect_ms = took,
            Phase::Tls => self.timings.tls_ms = took,
            // The attempt itself times these.
            Phase::Send | Phase::Answer => {}
        }
    }
}

/// Whole milliseconds, rounded: what took less than half of one is 0.
pub(super) fn millis(duration: Duration) -> u32 {
    u32::try_from((duration.as_micros() + 500) / 1000).unwrap_or(u32::MAX)
}
