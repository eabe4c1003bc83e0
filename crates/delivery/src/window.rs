//! Which entries are read and not yet settled. The lowest of them bounds the cursor.

use std::collections::BTreeMap;

use domain::record::Sequence;

/// Entries read ahead of the cursor.
///
/// Invariant: the cursor never passes an entry that still holds something unsettled.
#[derive(Debug)]
pub(crate) struct Window {
    read: Sequence,
    open: BTreeMap<Sequence, u32>,
}

impl Window {
    /// Nothing is open after `cursor`.
    pub(crate) fn new(cursor: Sequence) -> Self {
        Self { read: cursor, open: BTreeMap::new() }
    }

    /// How far the journal was read.
    pub(crate) fn read(&self) -> Sequence {
        self.read
    }

    /// Notes that an entry was read.
    pub(crate) fn advance(&mut self, sequence: Sequence) {
        self.read = self.read.max(sequence);
    }

    /// Something of an entry is now unsettled.
    pub(crate) fn hold(&mut self, sequence: Sequence) {
        *self.open.entry(sequence).or_default() += 1;
    }

    /// Something of an entry is settled.
    pub(crate) fn release(&mut self, sequence: Sequence) {
        if let Some(count) = self.open.get_mut(&sequence) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(&sequence);
            }
        }
    }

    /// Entries with something unsettled.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Everything up to here is settled.
    pub(crate) fn cursor(&self) -> Sequence {
        match self.open.first_key_value() {
            Some((first, _)) => Sequence(first.0 - 1),
            None => self.read,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn law_the_cursor_passes_nothing_unsettled(
            holds in proptest::collection::vec(0..3u32, 1..60),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 0..120),
        ) {
            let mut window = Window::new(Sequence(0));
            let mut unsettled: Vec<u64> = Vec::new();
            for (index, count) in holds.iter().enumerate() {
                let sequence = Sequence(index as u64 + 1);
                window.advance(sequence);
                for _ in 0..*count {
                    window.hold(sequence);
                    unsettled.push(sequence.0);
                }
            }
            let mut before = window.cursor();
            for index in order {
                if unsettled.is_empty() {
                    break;
                }
                let at = index.index(unsettled.len());
                window.release(Sequence(unsettled.swap_remove(at)));
                let cursor = window.cursor();
                prop_assert!(cursor >= before);
                prop_assert!(unsettled.iter().all(|open| *open > cursor.0));
                before = cursor;
            }
            if unsettled.is_empty() {
                prop_assert_eq!(window.cursor(), window.read());
            }
        }
    }
}
