//! The journal's housekeeping, on a thread of its own so that no commit waits for it: checkpoints,
//! closing periods that ended, preparing the next one, deleting what is past retention.

use std::{
    fs::File,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{
    id::DestinationName,
    record::Sequence,
    time::{Clock, Timestamp},
};
use rusqlite::{Connection, OptionalExtension, named_params};

use crate::{
    journal::ReadError,
    lanes::LanesError,
    sqlite::{
        catalog::Period,
        codec::{self, Kind},
        files, live,
        period_reader::PeriodReader,
        queue::Queue,
        shared::Shared,
    },
};

/// How often the keeper looks for periods to delete.
const SWEEP: Duration = Duration::from_mins(1);
/// How long a checkpoint waits for the writer between two commits.
const BUSY_TIMEOUT: Duration = Duration::from_millis(100);

/// What the writer leaves to the keeper.
#[derive(Debug)]
pub(super) enum Task {
    /// Move what was committed from the write-ahead log into the database.
    Checkpoint { first: Sequence, data: Arc<File> },
    /// Close the files of a period that is no longer the live one.
    End { first: Sequence, db: Connection, data: Arc<File> },
}

/// Where the cursors come from: retention says what it deletes undelivered.
pub(super) type Cursors =
    Box<dyn Fn() -> Result<Vec<(DestinationName, Sequence)>, LanesError> + Send>;

/// The keeper's state. It lives on its own thread.
pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    pub(super) tasks: Arc<Queue<Task>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) cursors: Cursors,
}

impl Keeper {
    /// Works until the queue is closed and empty.
    pub(super) fn run(self) {
        let mut tasks = Vec::new();
        let mut swept = None::<Instant>;
        self.prepare();
        while self.tasks.take(&mut tasks, SWEEP) {
            for task in tasks.drain(..) {
                self.perform(task);
            }
            if swept.is_none_or(|at| at.elapsed() >= SWEEP) {
                swept = Some(Instant::now());
                self.sweep();
            }
        }
    }

    fn perform(&self, task: Task) {
        let (first, done) = match task {
            Task::Checkpoint { first, data } => (first, self.checkpoint(first, &data)),
            Task::End { first, db, data } => (first, end(db, &data)),
        };
        if let Err(error) = done {
            // Nothing is lost: the log stays, and the next checkpoint moves it.
            let path = self.shared.catalog.database(first);
            tracing::warn!(
                path = %path.display(), error = %error,
                "A file of the journal could not be checkpointed.",
            );
        }
        self.prepare();
    }

    /// The bulk is moved beside the writer; then the little that came meanwhile is moved while the
    /// writer waits, so that the log begins anew instead of growing.
    fn checkpoint(&self, first: Sequence, data: &File) -> Result<(), ReadError> {
        // Before the rows are safe from a loss of power, their bytes are.
        data.sync_data()?;
        let db = files::database(&self.shared.catalog.database(first))?;
        db.busy_timeout(BUSY_TIMEOUT)?;
        checkpoint(&db, "PASSIVE")?;
        checkpoint(&db, "FULL")?;
        Ok(())
    }

    /// Makes the next period's database, so that beginning it costs the writer a rename.
    fn prepare(&self) {
        if let Err(error) = live::prepare(&self.shared.catalog) {
            tracing::warn!(
                error = %error.into_cause(),
                "The journal's next file could not be prepared.",
            );
        }
    }

    /// Deletes periods whose newest entry is past retention, oldest first.
    fn sweep(&self) {
        let horizon = self.clock.now().minus(self.shared.config.retention);
        while let Some(period) = self.shared.catalog.oldest_ended() {
            let reader = PeriodReader::open(&self.shared.catalog, period.first);
            let path = self.shared.catalog.database(period.first);
            let expired = reader.as_ref().map_or(Ok(false), |reader| {
                newest_at(reader).map(|at| at.is_none_or(|at| at < horizon))
            });
            match (reader, expired) {
                (Ok(_), Ok(false)) => return,
                (Ok(reader), Ok(true)) => self.delete(period, reader, &path),
                (Err(error), _) | (_, Err(error)) => {
                    tracing::error!(
                        path = %path.display(), error = %error,
                        "A file of the journal cannot be read; it stays.",
                    );
                    return;
                }
            }
            if self.shared.catalog.oldest_ended() == Some(period) {
                return;
            }
        }
    }

    fn delete(&self, period: Period, reader: PeriodReader, path: &Path) {
        let cursors = (self.cursors)().unwrap_or_else(|error| {
            tracing::warn!(
                path = %path.display(), error = %error,
                "Retention deletes outcomes, and cannot say which destinations did not come to them.",
            );
            Vec::new()
        });
        for (lane, cursor) in cursors {
            match undelivered(&reader, cursor) {
                Ok(0) => {}
                // Whether it wanted them is not known here.
                Ok(count) => tracing::warn!(
                    destination = %lane, outcomes = count, path = %path.display(),
                    "Retention deletes outcomes that {lane} has not come to.",
                ),
                Err(error) => tracing::warn!(
                    destination = %lane, error = %error,
                    "Retention could not count the outcomes that {lane} has not come to.",
                ),
            }
        }
        drop(reader);
        // Readers skip the period from here on.
        self.shared.catalog.remove(period.first);
        if let Err(error) = self.shared.catalog.remove_files(period.first) {
            tracing::error!(path = %path.display(), %error, "A file of the journal stays.");
        }
    }
}

fn checkpoint(db: &Connection, mode: &str) -> rusqlite::Result<()> {
    db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))
}

fn end(db: Connection, data: &File) -> Result<(), ReadError> {
    data.sync_data()?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    checkpoint(&db, "TRUNCATE")?;
    db.close().map_err(|(_, error)| error)?;
    Ok(())
}

fn newest_at(period: &PeriodReader) -> Result<Option<Timestamp>, ReadError> {
    let at =
        period.db.query_row(include_str!("sql/newest_at.sql"), [], |row| row.get(0)).optional()?;
    Ok(at.map(Timestamp::from_nanos))
}

/// Outcomes of a period after a cursor.
fn undelivered(period: &PeriodReader, cursor: Sequence) -> Result<u64, ReadError> {
    let whole: i64 = period.db.query_row(
        include_str!("sql/undelivered.sql"),
        named_params! {":cursor": cursor.0.cast_signed()},
        |row| row.get(0),
    )?;
    let mut count = whole.cast_unsigned();
    // The block that the cursor stands in is counted record by record.
    period.each_block_from(cursor.next(), |block| {
        if block.first <= cursor
            && let Some(bytes) = block.bytes
        {
            count += codec::places(&bytes, block.first, block.last)
                .filter(|place| place.first > cursor)
                .filter_map(|place| place.frame.ok())
                .filter(|frame| frame.kind == Kind::Sealed)
                .count() as u64;
        }
        Ok(false)
    })?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        conformance::sample::{MORNING, admitted, sealed},
        sqlite::{
            Durability,
            catalog::Catalog,
            live::{Block, Live},
        },
    };

    #[test]
    fn what_a_lane_was_not_sent_are_the_outcomes_after_its_cursor() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::read(dir.path()).unwrap();
        let none = BTreeMap::new();
        let start = (Sequence(0), Sequence(1));
        let mut live = Live::begin(&catalog, start, MORNING, &none, Durability::Process).unwrap();
        // Two blocks of admission, outcome, admission, outcome.
        for first in [1, 5] {
            let mut bytes = Vec::new();
            for number in [first, first + 1] {
                codec::encode(&admitted(number), &mut bytes);
                codec::encode(&sealed(number, 9), &mut bytes);
            }
            let first = u64::from(first);
            let block = Block {
                first: Sequence(first),
                last: Sequence(first + 3),
                sealed: 2,
                bytes: &bytes,
            };
            live.append(&[block], MORNING).unwrap();
        }
        let reader = PeriodReader::open(&catalog, Sequence(1)).unwrap();
        let counts: Vec<_> =
            (0..=9).map(|cursor| undelivered(&reader, Sequence(cursor)).unwrap()).collect();
        assert_eq!(counts, [4, 4, 3, 3, 2, 2, 1, 1, 0, 0]);
    }
}
