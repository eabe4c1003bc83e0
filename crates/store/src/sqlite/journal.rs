//! `Journal` on the threads of the store: a handle that queues, reads memory and waits.

use std::sync::Arc;

use domain::{
    call::Call,
    record::{Entry, Record, Sequence},
};
use tokio::sync::{oneshot, watch};

use crate::{
    journal::{AppendError, BoxFuture, Commit, Health, Journal, ReadError, ReadLimit},
    sqlite::{
        queue::Queue,
        shared::{AppendJob, ReadJob, Shared},
        tail,
    },
};

/// A handle to the journal. It outlives the store as a closed one.
#[derive(Debug)]
pub(super) struct SqliteJournal(pub(super) Arc<Shared>);

impl SqliteJournal {
    /// Why nothing but outcomes is queued, if so. Those always are, for their calls were admitted.
    fn refusal(&self) -> Option<String> {
        self.0.refusal().or_else(|| {
            (self.0.appends.weight() > self.0.config.queue_bytes_max)
                .then(|| "the disk does not keep up with the calls".to_owned())
        })
    }

    fn enqueue(
        &self,
        record: Record,
        push: impl FnOnce(&Queue<AppendJob>, AppendJob, usize) -> Result<(), AppendJob>,
    ) -> Commit {
        let (done, commit) = Commit::pair();
        if !matches!(record, Record::Sealed(_))
            && let Some(reason) = self.refusal()
        {
            // Nobody may be waiting; then nobody misses the answer.
            let _ = done.send(Err(AppendError::Refusing { reason }));
            return commit;
        }
        let weight = tail::weight(&record);
        // A closed queue gives the job back; dropping it tells the future.
        drop(push(&self.0.appends, AppendJob { record, done }, weight));
        commit
    }
}

impl Journal for SqliteJournal {
    fn append(&self, record: Record) -> Commit {
        self.enqueue(record, Queue::push)
    }

    fn append_soon(&self, record: Record) -> Commit {
        self.enqueue(record, Queue::push_soon)
    }

    fn hurry(&self) {
        self.0.appends.hurry();
    }

    fn head(&self) -> watch::Receiver<Sequence> {
        self.0.head.subscribe()
    }

    fn oldest(&self) -> Sequence {
        self.0.catalog.oldest().unwrap_or_else(|| self.0.committed().next())
    }

    fn read_after(
        &self,
        cursor: Sequence,
        limit: ReadLimit,
    ) -> BoxFuture<'_, Result<Vec<Arc<Entry>>, ReadError>> {
        Box::pin(async move {
            if let Some(entries) = self.0.tail.read_after(cursor, limit) {
                return Ok(entries);
            }
            if cursor >= self.0.committed() {
                return Ok(Vec::new());
            }
            let (done, entries) = oneshot::channel();
            drop(self.0.reads.push(ReadJob { cursor, limit, done }, 0));
            entries.await.unwrap_or(Err(ReadError::Closed))
        })
    }

    fn unsettled(&self) -> BoxFuture<'_, Result<Vec<Arc<Call>>, ReadError>> {
        let mut calls: Vec<_> = self.0.interrupted().values().cloned().collect();
        calls.sort_unstable_by_key(|call| call.id);
        Box::pin(std::future::ready(Ok(calls)))
    }

    fn health(&self) -> Health {
        self.refusal().map_or(Health::Ready, Health::Refusing)
    }
}
