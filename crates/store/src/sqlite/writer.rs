//! The one thread that appends: it takes what is queued, commits it as one group, and tells.
//!
//! What queued up while a commit ran is the next group, so groups grow with the load and a lone
//! record waits for nobody. `rescue` decides what happens when a commit fails.
//!
//! Invariants: a record is told of only once it is committed. A group is committed whole, or
//! nothing of it is.

mod rescue;

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{
    record::{Entry, Record, Sequence},
    time::Clock,
};
use tokio::sync::oneshot;

pub(super) use self::rescue::GivenUp;
use crate::{
    journal::{AppendError, BoxError},
    sqlite::{
        Durability,
        ballast::Ballast,
        codec,
        keeper::Task,
        live::{Block, Live, WriteError},
        open_calls::OpenCalls,
        queue::Queue,
        shared::{AppendJob, Shared},
        tail,
    },
};

/// A block is ended once it has this many bytes, so that reads stay bounded.
const BLOCK_BYTES: usize = 1 << 20;
/// Records of this weight together make a group, even if more are queued.
const GROUP_WEIGHT: usize = 4 << 20;
/// The encoding buffer is given back when it has grown beyond this.
const BUFFER_BYTES_KEPT: usize = 8 << 20;
/// How often the writer looks after the period's age and the health, and tries again what failed.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// A commit dirties about this many bytes of the database, which a checkpoint moves.
const DIRTY_BYTES_PER_COMMIT: u64 = 5000;
/// Dirty bytes after which a checkpoint is due: some 6,700 commits. Its end holds up commits for two
/// fsyncs, so it must be rare; a start after a crash reads this much more.
const CHECKPOINT_BYTES: u64 = 32 << 20;

/// A retention is this many periods long, unless they fill up first.
const PERIODS_PER_RETENTION: u32 = 24;
/// A period lasts at least this long, unless it fills up first.
const PERIOD_AGE_MIN: Duration = Duration::from_mins(1);

/// The writer's state. It lives on its own thread.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) keeper: Arc<Queue<Task>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) live: Live,
    pub(super) head: Sequence,
    pub(super) open: OpenCalls,
    pub(super) ballast: Ballast,
    pub(super) trouble: Option<Trouble>,
    /// Empty unless there is trouble.
    pub(super) given_up: GivenUp,
    pub(super) scratch: Scratch,
}

/// Why calls are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The disk is full: outcomes are cut to what fits, until there is room for ballast again.
    Full,
    /// The database or the disk is broken.
    Broken,
}

/// Buffers that groups reuse, and counters between groups.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    bytes: Vec<u8>,
    blocks: Vec<Span>,
    entries: Vec<Arc<Entry>>,
    dones: Vec<oneshot::Sender<Result<Sequence, AppendError>>>,
    dirty_bytes: u64,
    looked_after: Option<Instant>,
    rotation_failed: Option<Instant>,
}

/// A block of the group being written.
#[derive(Debug, Clone)]
struct Span {
    first: Sequence,
    last: Sequence,
    sealed: u32,
    bytes: Range<usize>,
}

impl Writer {
    /// Appends until the queue is closed and empty; then gives the files to the keeper.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _closing = shared.appends.close_on_drop();
        let mut jobs = Vec::new();
        let mut group = Vec::new();
        while self.shared.appends.take(&mut jobs, LOOK_AFTER) {
            let mut weight = 0;
            let mut rest = jobs.drain(..);
            while let Some(job) = rest.next() {
                weight += tail::weight(&job.record);
                group.push(job);
                if weight >= GROUP_WEIGHT {
                    weight = 0;
                    self.commit(&mut group, &mut rest);
                }
            }
            self.commit(&mut group, &mut rest);
            drop(rest);
            self.look_after();
        }
        if !self.given_up.is_empty() {
            self.try_to_recover();
        }
        let first = self.live.first;
        let (db, data) = self.live.into_parts();
        drop(self.keeper.push(Task::End { first, db, data }, 0));
    }

    /// Commits the group and empties it: every record is told what became of it. If that fails,
    /// the `rest` of what was taken shares the group's fate, for it comes before what is queued.
    fn commit(&mut self, group: &mut Vec<AppendJob>, rest: &mut impl Iterator<Item = AppendJob>) {
        if group.is_empty() {
            return;
        }
        if let Err(error) = self.try_commit(group) {
            group.extend(rest);
            self.rescue(group, error);
        }
        debug_assert!(group.is_empty());
    }

    /// Commits the group and empties it, or leaves the journal as it was and the group what fits
    /// into it.
    fn try_commit(&mut self, group: &mut Vec<AppendJob>) -> Result<(), WriteError> {
        self.rotate_if_due();
        if self.trouble.is_none() && self.shared.refusal().is_some() {
            // The lanes' state met the full disk first, and took the ballast.
            self.trouble = Some(Trouble::Full);
        }
        if self.trouble == Some(Trouble::Full) {
            self.cut_bodies(group);
        }
        self.encode(group);
        if group.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let blocks: Vec<_> =
            self.scratch.blocks.iter().map(|span| span.block(&self.scratch.bytes)).collect();
        if let Err(error) = self.live.append(&blocks, now) {
            self.open.revert();
            return Err(error);
        }
        self.open.keep();
        self.publish(group);
        self.checkpoint_if_due();
        Ok(())
    }

    /// Encodes the records that fit the journal; answers and removes the others.
    fn encode(&mut self, group: &mut Vec<AppendJob>) {
        let Self { open, scratch, head, .. } = self;
        scratch.bytes.clear();
        scratch.bytes.shrink_to(BUFFER_BYTES_KEPT);
        scratch.blocks.clear();
        let mut next = head.next();
        let misfits = group.extract_if(.., |job| {
            if !open.admit(next, &job.record) {
                return true;
            }
            scratch.add(next, &job.record);
            next = next.next();
            false
        });
        for AppendJob { record, done } in misfits {
            let call = record.call_id().expect("a note fits always");
            // The caller may have left; nothing is owed then.
            let _ = done.send(Err(match record {
                Record::Admitted(_) => AppendError::Commit {
                    cause: Arc::from(BoxError::from(format!("call `{call}` is admitted already"))),
                },
                _ => AppendError::NotOpen { call },
            }));
        }
    }

    /// Tells of a committed group: readers of memory first, then those who wait, then lanes.
    fn publish(&mut self, group: &mut Vec<AppendJob>) {
        let first = self.head.next();
        let mut sequence = first;
        for AppendJob { record, done } in group.drain(..) {
            self.forget_interrupted(&record);
            self.scratch.entries.push(Arc::new(Entry { sequence, record }));
            self.scratch.dones.push(done);
            self.head = sequence;
            sequence = sequence.next();
        }
        self.shared.tail.push(&mut self.scratch.entries);
        self.shared.set_committed(self.head);
        let mut sequence = first;
        for done in self.scratch.dones.drain(..) {
            // Nobody waits for a piece of a stream.
            let _ = done.send(Ok(sequence));
            sequence = sequence.next();
        }
        self.shared.head.send_replace(self.head);
    }

    fn forget_interrupted(&self, record: &Record) {
        if let Record::Sealed(exchange) = record {
            let mut interrupted = self.shared.interrupted();
            if !interrupted.is_empty() {
                interrupted.remove(&exchange.facts.call.id);
            }
        }
    }

    fn checkpoint_if_due(&mut self) {
        let inline = match self.shared.config.durability {
            Durability::Power => self.scratch.bytes.len() as u64,
            Durability::Process => 0,
        };
        self.scratch.dirty_bytes += inline + DIRTY_BYTES_PER_COMMIT;
        if self.scratch.dirty_bytes >= CHECKPOINT_BYTES {
            self.scratch.dirty_bytes = 0;
            let task = Task::Checkpoint { first: self.live.first, data: self.live.data() };
            drop(self.keeper.push(task, 0));
        }
    }

    /// Begins a new period when the live one is large or old. If that fails, the live one goes on.
    fn rotate_if_due(&mut self) {
        let full = self.live.bytes >= self.shared.config.period_bytes_max;
        let age_max = (self.shared.config.retention / PERIODS_PER_RETENTION).max(PERIOD_AGE_MIN);
        let aged = || self.clock.now().since(self.live.begun_at) >= age_max;
        let just_failed =
            self.scratch.rotation_failed.is_some_and(|failed| failed.elapsed() < LOOK_AFTER);
        if self.live.bytes == 0 || just_failed || !(full || aged()) {
            return;
        }
        let first = self.head.next();
        let begun = Live::begin(
            &self.shared.catalog,
            (self.head, first),
            self.clock.now(),
            &self.open.in_order(),
            self.shared.config.durability,
        );
        match begun {
            Ok(live) => {
                let ended = std::mem::replace(&mut self.live, live);
                self.shared.catalog.add(first);
                let first = ended.first;
                let (db, data) = ended.into_parts();
                drop(self.keeper.push(Task::End { first, db, data }, 0));
                self.scratch.dirty_bytes = 0;
            }
            Err(error) => {
                self.scratch.rotation_failed = Some(Instant::now());
                tracing::warn!(
                    error = %error.into_cause(),
                    "The journal could not begin a new file; it goes on in the old one.",
                );
            }
        }
    }

    /// Rotates by age when nothing is appended, and tries to end a trouble.
    fn look_after(&mut self) {
        if self.scratch.looked_after.is_some_and(|at| at.elapsed() < LOOK_AFTER) {
            return;
        }
        self.scratch.looked_after = Some(Instant::now());
        self.rotate_if_due();
        if self.trouble.is_none() && self.shared.refusal().is_some() {
            // The lanes' state met the full disk first, and took the ballast.
            self.trouble = Some(Trouble::Full);
        }
        self.try_to_recover();
    }
}

impl Scratch {
    fn add(&mut self, sequence: Sequence, record: &Record) {
        let start = self.bytes.len();
        let is_room = |span: &&mut Span| span.bytes.len() < BLOCK_BYTES;
        codec::encode(record, &mut self.bytes);
        let sealed = u32::from(matches!(record, Record::Sealed(_)));
        if let Some(span) = self.blocks.last_mut().filter(is_room) {
            span.last = sequence;
            span.sealed += sealed;
            span.bytes.end = self.bytes.len();
        } else {
            let bytes = start..self.bytes.len();
            self.blocks.push(Span { first: sequence, last: sequence, sealed, bytes });
        }
    }
}

impl Span {
    fn block<'a>(&self, bytes: &'a [u8]) -> Block<'a> {
        Block {
            first: self.first,
            last: self.last,
            sealed: self.sealed,
            bytes: &bytes[self.bytes.clone()],
        }
    }
}
