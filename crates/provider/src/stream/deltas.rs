//! Collects a stream's deltas for pieces that are recorded while it runs.

use domain::event::Delta;

/// The deltas seen since they were last taken, numbered by choice. One delta counts as one token.
#[derive(Debug)]
pub(crate) struct Deltas {
    wanted: bool,
    seen: Vec<Delta>,
    /// The next index of each choice.
    next: Vec<(u32, u32)>,
}

impl Deltas {
    /// Collects nothing unless `wanted`.
    pub(crate) fn new(wanted: bool) -> Self {
        Self { wanted, seen: Vec::new(), next: Vec::new() }
    }

    pub(crate) fn are_wanted(&self) -> bool {
        self.wanted
    }

    /// Adds a delta, unless it has neither text nor an end.
    pub(crate) fn add(&mut self, choice: u32, content: String, finish_reason: Option<String>) {
        if !self.wanted || (content.is_empty() && finish_reason.is_none()) {
            return;
        }
        let position = self.next.iter().position(|(index, _)| *index == choice);
        let position = position.unwrap_or_else(|| {
            self.next.push((choice, 0));
            self.next.len() - 1
        });
        let next = &mut self.next[position].1;
        self.seen.push(Delta { choice_index: choice, token_index: *next, content, finish_reason });
        *next += 1;
    }

    pub(crate) fn take(&mut self) -> Vec<Delta> {
        std::mem::take(&mut self.seen)
    }
}
