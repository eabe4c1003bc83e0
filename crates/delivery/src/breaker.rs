//! Whether a receiver is taken for down, and how fast it is sent to after it came back.

use std::time::Duration;

use domain::{destination::RetryPolicy, time::Timestamp};

/// Failures in a row, with no success in between, that open the breaker (DESIGN, "Whose fault").
pub(crate) const FAILURES_TO_OPEN: u32 = 5;

/// Watches one receiver's answers.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    streak: u32,
    open: Option<Open>,
    /// Attempts that may run at once while it recovers; `None` once it has.
    ramp: Option<usize>,
}

#[derive(Debug)]
struct Open {
    probes: u32,
    probe_at: Timestamp,
    probing: bool,
}

impl Breaker {
    /// Whether the receiver is taken for down.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// How many attempts may run at once: none, one to probe with, or up to `most`.
    pub(crate) fn room(&self, most: usize, now: Timestamp) -> usize {
        match &self.open {
            Some(open) if open.probing => 1,
            Some(open) => usize::from(open.probe_at <= now),
            None => self.ramp.unwrap_or(most).min(most),
        }
    }

    /// When the next probe is due, while it is open and none runs.
    pub(crate) fn probe_at(&self) -> Option<Timestamp> {
        self.open.as_ref().filter(|open| !open.probing).map(|open| open.probe_at)
    }

    /// An attempt begins.
    pub(crate) fn began(&mut self) {
        if let Some(open) = &mut self.open {
            open.probing = true;
        }
    }

    /// An attempt succeeded. Returns whether that closed the breaker.
    pub(crate) fn succeeded(&mut self, most: usize) -> bool {
        self.streak = 0;
        let closed = self.open.take().is_some();
        self.ramp = match self.ramp {
            _ if closed => Some(1),
            Some(ramp) if ramp < most => Some(ramp * 2),
            _ => None,
        };
        closed
    }

    /// An attempt failed. Returns whether that opened the breaker.
    pub(crate) fn failed(&mut self, retry: &RetryPolicy, now: Timestamp, dice: f64) -> bool {
        self.streak = self.streak.saturating_add(1);
        if let Some(open) = &mut self.open {
            open.probes = open.probes.saturating_add(1);
            open.probing = false;
            open.probe_at = now.plus(probe_delay(retry, open.probes, dice));
            return false;
        }
        if self.streak < FAILURES_TO_OPEN {
            return false;
        }
        self.open(retry, now, dice);
        true
    }

    /// Takes the receiver for down at once.
    pub(crate) fn open(&mut self, retry: &RetryPolicy, now: Timestamp, dice: f64) {
        let probe_at = now.plus(probe_delay(retry, 1, dice));
        self.open = Some(Open { probes: 1, probe_at, probing: false });
    }
}

fn probe_delay(retry: &RetryPolicy, probes: u32, dice: f64) -> Duration {
    webhook::schedule::probe_delay(retry, probes, dice)
}
