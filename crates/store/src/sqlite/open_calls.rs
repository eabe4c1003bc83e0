//! Which calls are admitted and have no outcome yet.
//!
//! Invariant: a record that passes `admit` keeps the journal's law that a call has one admission,
//! one outcome, and nothing after it.

use std::{
    collections::{BTreeMap, HashMap, hash_map},
    sync::Arc,
};

use domain::{
    call::Call,
    id::CallId,
    record::{Record, Sequence},
};

/// The open calls, and what the group being written changes about them.
#[derive(Debug, Default)]
pub(super) struct OpenCalls {
    calls: HashMap<CallId, OpenCall>,
    undo: Vec<Undo>,
}

#[derive(Debug)]
struct OpenCall {
    admitted: Sequence,
    call: Arc<Call>,
}

#[derive(Debug)]
enum Undo {
    Close(CallId),
    Open(CallId, OpenCall),
}

impl OpenCalls {
    /// Takes a record that is to be written at `sequence`. Returns whether it fits what went before.
    pub(super) fn admit(&mut self, sequence: Sequence, record: &Record) -> bool {
        match record {
            Record::Admitted(call) => {
                let hash_map::Entry::Vacant(vacant) = self.calls.entry(call.id) else {
                    return false;
                };
                vacant.insert(OpenCall { admitted: sequence, call: Arc::clone(call) });
                self.undo.push(Undo::Close(call.id));
                true
            }
            Record::Captured(captured) => self.calls.contains_key(&captured.call_id()),
            Record::Noted(_) => true,
            Record::Sealed(exchange) => {
                let id = exchange.facts.call.id;
                let open = self.calls.remove(&id);
                let fits = open.is_some();
                self.undo.extend(open.map(|open| Undo::Open(id, open)));
                fits
            }
        }
    }

    /// Takes a call that is known to be open.
    pub(super) fn insert(&mut self, admitted: Sequence, call: Arc<Call>) {
        self.calls.insert(call.id, OpenCall { admitted, call });
    }

    /// The group is committed.
    pub(super) fn keep(&mut self) {
        self.undo.clear();
    }

    /// The group is not committed: everything is as before it.
    pub(super) fn revert(&mut self) {
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Close(id) => drop(self.calls.remove(&id)),
                Undo::Open(id, open) => drop(self.calls.insert(id, open)),
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// The open calls, by admission.
    pub(super) fn in_order(&self) -> BTreeMap<Sequence, Arc<Call>> {
        self.calls.values().map(|open| (open.admitted, Arc::clone(&open.call))).collect()
    }
}
