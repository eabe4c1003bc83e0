//! What happened in a run, as a hash: two runs of a seed must have the same.

use std::{
    collections::VecDeque,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Lines kept for a report.
const KEPT: usize = 60;

/// The record of a run.
#[derive(Debug)]
pub struct Trace {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    hasher: DefaultHasher,
    last: VecDeque<String>,
    lines: u64,
    kept_max: usize,
}

impl Trace {
    /// An empty one. `is_whole` keeps every line, not only the last.
    pub fn new(is_whole: bool) -> Self {
        let kept_max = if is_whole { usize::MAX } else { KEPT };
        let hasher = DefaultHasher::new();
        Self { state: Mutex::new(State { hasher, last: VecDeque::new(), lines: 0, kept_max }) }
    }

    /// Notes that something happened.
    pub fn note(&self, at: Duration, what: fmt::Arguments<'_>) {
        let line = format!("{:>12.3} {what}", at.as_secs_f64());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        line.hash(&mut state.hasher);
        state.lines += 1;
        if state.last.len() >= state.kept_max {
            state.last.pop_front();
        }
        state.last.push_back(line);
    }

    /// The hash of all lines so far.
    pub fn hash(&self) -> u64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.hasher.finish()
    }

    /// The lines that are kept.
    pub fn lines(&self) -> Vec<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.last.iter().cloned().collect()
    }
}
