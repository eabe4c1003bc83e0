//! Reads the blocks of one period.

use std::{fs::File, os::unix::fs::FileExt, sync::Arc, time::Duration};

use bytes::Bytes;
use domain::record::{Entry, Sequence};
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use crate::{
    journal::ReadError,
    sqlite::{
        catalog::Catalog,
        codec::{self, Flaw, Place},
        files,
        tail::Taken,
    },
};

/// How long a read waits for another connection that opens or closes the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A period, open for reading.
#[derive(Debug)]
pub(super) struct PeriodReader {
    first: Sequence,
    pub(super) db: Connection,
    data: File,
}

/// A block's row, and its bytes if they could be read.
#[derive(Debug)]
pub(super) struct StoredBlock {
    pub(super) first: Sequence,
    pub(super) last: Sequence,
    /// `None` if the data file ends before the block does.
    pub(super) bytes: Option<Bytes>,
}

impl PeriodReader {
    pub(super) fn open(catalog: &Catalog, first: Sequence) -> Result<Self, ReadError> {
        let db = files::database(&catalog.database(first))?;
        db.busy_timeout(BUSY_TIMEOUT)?;
        // A writable connection cleans up the files beside the database; this keeps it to that.
        db.pragma_update(None, "query_only", true)?;
        Ok(Self { first, db, data: File::open(catalog.data(first))? })
    }

    /// Gathers entries after `cursor`. Returns false if the limit ended it. A flaw ends it with an
    /// error, and what was gathered before it stays; from the flawed sequence on, it is passed.
    pub(super) fn read_after(
        &self,
        cursor: Sequence,
        taken: &mut Taken,
    ) -> Result<bool, ReadError> {
        let mut expected = self.first.max(cursor.next());
        self.each_block_from(expected, |block| {
            if block.first > expected {
                return Err(corrupt(expected, format!("the next one is {}", block.first)));
            }
            expected = block.last.next();
            let bytes = block.bytes.unwrap_or_default();
            for place in codec::places(&bytes, block.first, block.last) {
                if place.last <= cursor {
                    continue;
                }
                let Place { first, last, frame } = place;
                match frame.and_then(|frame| codec::decode(&frame, &bytes)) {
                    Ok(record) => {
                        if !taken.push(&Arc::new(Entry { sequence: first, record })) {
                            return Ok(false);
                        }
                    }
                    Err(flaw) if first > cursor => return Err(lost(first, last, flaw)),
                    // The read before was told of these.
                    Err(_) => {
                        let (from, to) = (cursor.next().0, last.0);
                        tracing::warn!(from, to, "Records that cannot be read are passed.");
                    }
                }
            }
            Ok(true)
        })
    }

    /// Calls `visit` with the block that holds `sequence` and those after it, until it says false.
    /// Returns false if it did.
    pub(super) fn each_block_from(
        &self,
        sequence: Sequence,
        mut visit: impl FnMut(StoredBlock) -> Result<bool, ReadError>,
    ) -> Result<bool, ReadError> {
        let mut statement = self.db.prepare_cached(include_str!("sql/read_from.sql"))?;
        let mut rows = statement.query(named_params! {":sequence": sequence.0.cast_signed()})?;
        while let Some(row) = rows.next()? {
            let block = self.stored_block(row)?;
            if block.last >= sequence && !visit(block)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The last sequence stored here.
    pub(super) fn last(&self) -> Result<Option<Sequence>, ReadError> {
        let newest = "SELECT last FROM blocks ORDER BY first DESC LIMIT 1";
        let last = self.db.query_row(newest, [], |row| row.get::<_, i64>(0)).optional()?;
        Ok(last.map(|last| Sequence(last.cast_unsigned())))
    }

    /// Where the journal ended when this period began.
    pub(super) fn head_before(&self) -> Result<Sequence, ReadError> {
        let head: i64 = self.db.query_row("SELECT head FROM period", [], |row| row.get(0))?;
        Ok(Sequence(head.cast_unsigned()))
    }

    fn stored_block(&self, row: &Row<'_>) -> Result<StoredBlock, ReadError> {
        let first: i64 = row.get("first")?;
        let last: i64 = row.get("last")?;
        let inline: Option<Vec<u8>> = row.get("data")?;
        let bytes = match inline {
            Some(bytes) => Some(bytes.into()),
            None => self.bytes_at(row.get("position")?, row.get("length")?)?,
        };
        Ok(StoredBlock {
            first: Sequence(first.cast_unsigned()),
            last: Sequence(last.cast_unsigned()),
            bytes,
        })
    }

    fn bytes_at(&self, position: i64, length: i64) -> Result<Option<Bytes>, ReadError> {
        let (position, length) = (position.cast_unsigned(), length.cast_unsigned());
        // Checked before the allocation: a damaged length must not become one.
        if position.saturating_add(length) > self.data.metadata()?.len() {
            return Ok(None);
        }
        let mut bytes = vec![0; length as usize];
        self.data.read_exact_at(&mut bytes, position)?;
        Ok(Some(bytes.into()))
    }
}

/// The flaw at `first`, which takes along what is behind it up to `last`.
fn lost(first: Sequence, last: Sequence, Flaw(what): Flaw) -> ReadError {
    if first == last {
        return corrupt(first, what);
    }
    corrupt(first, format!("{what}, and the records up to {last} are lost with it"))
}

pub(super) fn corrupt(sequence: Sequence, what: impl Into<String>) -> ReadError {
    ReadError::Corrupt { sequence, what: what.into() }
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Engine(error.into())
    }
}

impl From<std::io::Error> for ReadError {
    fn from(error: std::io::Error) -> Self {
        Self::Engine(error.into())
    }
}
