//! The model's `Journal`.

use std::{ops::Bound, sync::Arc};

use domain::{
    call::Call,
    record::{Entry, Record, Sequence},
};
use store::journal::{BoxFuture, Commit, Health, Journal, ReadError, ReadLimit};
use tokio::sync::watch;

use super::{Append, Engine, lock, subscribe, trouble};

impl Engine {
    fn queue(&self, record: Record) -> Commit {
        let (done, commit) = Commit::pair();
        // The channel of a record that is not taken closes, which says that the journal is.
        if !self.is_closed() && !self.process.is_dead() {
            lock(&self.appends).push(Append { record, done });
        }
        commit
    }
}

impl Journal for Engine {
    fn append(&self, record: Record) -> Commit {
        let commit = self.queue(record);
        self.hurry();
        commit
    }

    fn append_soon(&self, record: Record) -> Commit {
        self.queue(record)
    }

    fn hurry(&self) {
        if self.is_instant {
            self.commit_group(false);
        } else {
            self.append_asked.notify_one();
        }
    }

    fn head(&self) -> watch::Receiver<Sequence> {
        let last = lock(&self.disk).last;
        subscribe(&self.heads, last)
    }

    fn oldest(&self) -> Sequence {
        lock(&self.disk).oldest()
    }

    fn read_after(
        &self,
        cursor: Sequence,
        limit: ReadLimit,
    ) -> BoxFuture<'_, Result<Vec<Arc<Entry>>, ReadError>> {
        Box::pin(async move {
            if !self.is_instant {
                // Recent records come from memory, at once.
                let is_recent = cursor.0 + 100 >= lock(&self.disk).last.0;
                if !is_recent {
                    let time = self.commit_time();
                    tokio::time::sleep(time).await;
                }
                self.process.step().await;
                if !is_recent && self.fails() {
                    return Err(ReadError::Engine(trouble()));
                }
            }
            if self.is_closed() {
                return Err(ReadError::Closed);
            }
            self.read(cursor, limit)
        })
    }

    fn unsettled(&self) -> BoxFuture<'_, Result<Vec<Arc<Call>>, ReadError>> {
        let is_open = |call: &&Arc<Call>| self.open_call(call.id);
        let unsettled = self.open_before.iter().filter(is_open).cloned().collect();
        Box::pin(std::future::ready(Ok(unsettled)))
    }

    fn health(&self) -> Health {
        Health::Ready
    }
}

impl Engine {
    fn read(&self, cursor: Sequence, limit: ReadLimit) -> Result<Vec<Arc<Entry>>, ReadError> {
        let disk = lock(&self.disk);
        let (mut read, mut bytes) = (Vec::new(), 0);
        for (sequence, entry) in disk.entries.range((Bound::Excluded(cursor), Bound::Unbounded)) {
            if disk.corrupt.contains(sequence) {
                if read.is_empty() {
                    let what = "its checksum does not fit (simulated)".to_owned();
                    return Err(ReadError::Corrupt { sequence: *sequence, what });
                }
                break;
            }
            let size = payload_bytes(&entry.record);
            let is_full = read.len() >= limit.entries_max || bytes + size > limit.bytes_max;
            if is_full && !read.is_empty() {
                break;
            }
            bytes += size;
            read.push(Arc::clone(entry));
            if is_full {
                break;
            }
        }
        Ok(read)
    }
}

fn payload_bytes(record: &Record) -> usize {
    match record {
        Record::Sealed(exchange) => exchange.request.bytes.len() + exchange.response.bytes.len(),
        Record::Admitted(_) | Record::Captured(_) | Record::Noted(_) => 0,
    }
}
