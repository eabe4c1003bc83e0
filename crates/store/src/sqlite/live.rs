//! The live period: the one that blocks are appended to.
//!
//! A block's bytes are written once, into the data file; a row in the database makes them part of
//! the journal. Bytes that no row names do not exist, and the next block overwrites them.

use std::{
    collections::BTreeMap, fs::File, io, os::unix::fs::FileExt, path::Path, sync::Arc,
    time::Duration,
};

use domain::{
    call::Call,
    record::{Record, Sequence},
    time::Timestamp,
};
use rusqlite::{Connection, named_params};

use crate::{
    journal::BoxError,
    sqlite::{Durability, catalog::Catalog, codec, files, migrate},
};

/// With `Durability::Power`, blocks up to this size stand in the row: one fsync instead of two.
const INLINE_BYTES_MAX: usize = 64 << 10;
/// Rows are small, so a commit rewrites one page of this size, and a smaller page costs less.
const PAGE_BYTES: u32 = 4096;
/// How long a commit waits for a checkpoint that holds the write lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The live period, open for appending.
#[derive(Debug)]
pub(super) struct Live {
    db: Connection,
    data: Arc<File>,
    durability: Durability,
    /// Its first sequence, which names its files.
    pub(super) first: Sequence,
    /// When it became the live one.
    pub(super) begun_at: Timestamp,
    /// Where the next block's bytes go.
    pub(super) end: u64,
    /// Bytes of all its blocks.
    pub(super) bytes: u64,
}

/// Frames committed together, and what their row says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'a> {
    pub(super) first: Sequence,
    pub(super) last: Sequence,
    pub(super) sealed: u32,
    pub(super) bytes: &'a [u8],
}

/// Why blocks are not in the journal.
#[derive(Debug)]
pub(super) enum WriteError {
    /// There is no room for them.
    Full(BoxError),
    /// Anything else.
    Broken(BoxError),
}

impl Live {
    /// Opens a period that began earlier, to go on after its last block.
    pub(super) fn open(
        catalog: &Catalog,
        first: Sequence,
        durability: Durability,
    ) -> Result<Self, WriteError> {
        let db = open_database(&catalog.database(first), durability)?;
        let data = files::private(&catalog.data(first))?;
        let begun_at = db.query_row("SELECT begun_at FROM period", [], |row| row.get(0))?;
        let (end, bytes): (i64, i64) = db.query_row(
            "SELECT ifnull(max(iif(data IS NULL, position + length, 0)), 0), \
             ifnull(sum(length), 0) FROM blocks",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok(Self {
            db,
            data: Arc::new(data),
            durability,
            first,
            begun_at: Timestamp::from_nanos(begun_at),
            end: end.cast_unsigned(),
            bytes: bytes.cast_unsigned(),
        })
    }

    /// Begins a period at `first`, where the journal ends at `head`: takes the prepared database,
    /// or makes one, and carries the open calls over.
    pub(super) fn begin(
        catalog: &Catalog,
        (head, first): (Sequence, Sequence),
        now: Timestamp,
        open: &BTreeMap<Sequence, Arc<Call>>,
        durability: Durability,
    ) -> Result<Self, WriteError> {
        let begun = Self::try_begin(catalog, (head, first), now, open, durability);
        if begun.is_err() {
            // A period that never began must not stand between others at the next start.
            catalog.remove_files(first)?;
        }
        begun
    }

    fn try_begin(
        catalog: &Catalog,
        (head, first): (Sequence, Sequence),
        now: Timestamp,
        open: &BTreeMap<Sequence, Arc<Call>>,
        durability: Durability,
    ) -> Result<Self, WriteError> {
        let path = catalog.database(first);
        match std::fs::rename(catalog.prepared(), &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_database(&path)?,
            renamed => renamed?,
        }
        let data = files::private(&catalog.data(first))?;
        if durability == Durability::Power {
            files::sync_dir(catalog.dir())?;
        }
        let mut db = open_database(&path, durability)?;
        let tx = db.transaction()?;
        {
            let mut carry = tx.prepare(include_str!("sql/carry_open_call.sql"))?;
            for (sequence, call) in open {
                let mut frame = Vec::new();
                codec::encode(&Record::Admitted(Arc::clone(call)), &mut frame);
                carry.execute(
                    named_params! {":sequence": sequence.0.cast_signed(), ":frame": frame},
                )?;
            }
        }
        tx.execute(
            include_str!("sql/begin_period.sql"),
            named_params! {":head": head.0.cast_signed(), ":begun_at": now.as_nanos()},
        )?;
        tx.commit()?;
        Ok(Self { db, data: Arc::new(data), durability, first, begun_at: now, end: 0, bytes: 0 })
    }

    /// Appends blocks: all of them, or none.
    pub(super) fn append(
        &mut self,
        blocks: &[Block<'_>],
        now: Timestamp,
    ) -> Result<(), WriteError> {
        let mut positions = Vec::with_capacity(blocks.len());
        let mut end = self.end;
        for block in blocks {
            positions.push(end);
            if !self.is_inline(block) {
                self.data.write_all_at(block.bytes, end)?;
                end += block.bytes.len() as u64;
            }
        }
        if self.durability == Durability::Power && end != self.end {
            self.data.sync_data()?;
        }
        if let ([block], [position]) = (blocks, &positions[..]) {
            // One statement is a transaction of its own, and the cheapest.
            self.insert(block, *position, now)?;
        } else {
            let tx = self.db.unchecked_transaction()?;
            for (block, position) in blocks.iter().zip(&positions) {
                self.insert(block, *position, now)?;
            }
            tx.commit()?;
        }
        self.end = end;
        self.bytes += blocks.iter().map(|block| block.bytes.len() as u64).sum::<u64>();
        Ok(())
    }

    fn insert(&self, block: &Block<'_>, position: u64, now: Timestamp) -> rusqlite::Result<()> {
        let inline = self.is_inline(block).then_some(block.bytes);
        self.db.prepare_cached(include_str!("sql/append.sql"))?.execute(named_params! {
            ":first": block.first.0.cast_signed(),
            ":last": block.last.0.cast_signed(),
            ":sealed": block.sealed,
            ":committed_at": now.as_nanos(),
            ":position": position.cast_signed(),
            ":length": block.bytes.len().cast_signed(),
            ":data": inline,
        })?;
        Ok(())
    }

    fn is_inline(&self, block: &Block<'_>) -> bool {
        self.durability == Durability::Power && block.bytes.len() <= INLINE_BYTES_MAX
    }

    /// Removes blocks after `head`: a commit that failed may have reached the disk all the same.
    pub(super) fn cut_after(&self, head: Sequence) -> Result<(), WriteError> {
        self.db.execute("DELETE FROM blocks WHERE first > ?1", [head.0.cast_signed()])?;
        Ok(())
    }

    /// Writes without changing anything, to see whether writing works.
    pub(super) fn probe(&self) -> Result<(), WriteError> {
        self.db.execute("UPDATE period SET begun_at = begun_at", [])?;
        Ok(())
    }

    /// The data file, to be synced by another thread.
    pub(super) fn data(&self) -> Arc<File> {
        Arc::clone(&self.data)
    }

    /// Gives up the connection, to be closed by another thread: closing checkpoints.
    pub(super) fn into_parts(self) -> (Connection, Arc<File>) {
        (self.db, self.data)
    }
}

/// Makes the database of the period after the live one, unless it is there.
pub(super) fn prepare(catalog: &Catalog) -> Result<(), WriteError> {
    if catalog.prepared().exists() {
        return Ok(());
    }
    let path = catalog.unfinished();
    Catalog::remove_database(&path)?;
    make_database(&path)?;
    // The writer takes whatever stands under the prepared name, so only a whole one gets it.
    Ok(std::fs::rename(path, catalog.prepared())?)
}

/// Makes an empty database, closed and without files beside it, so that it can be renamed.
fn make_database(path: &Path) -> Result<(), WriteError> {
    files::private(path)?;
    let mut db = files::database(path)?;
    db.pragma_update(None, "page_size", PAGE_BYTES)?;
    db.pragma_update(None, "journal_mode", "wal")?;
    migrate::migrate(&mut db, path, migrate::PERIOD)
        .map_err(|error| WriteError::Broken(error.into()))?;
    db.close().map_err(|(_, error)| error)?;
    Ok(())
}

fn open_database(path: &Path, durability: Durability) -> Result<Connection, WriteError> {
    let mut db = files::database(path)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    let synchronous = match durability {
        Durability::Process => "NORMAL",
        Durability::Power => "FULL",
    };
    db.pragma_update(None, "synchronous", synchronous)?;
    // The keeper checkpoints, so that no commit has to.
    db.pragma_update(None, "wal_autocheckpoint", 0)?;
    migrate::migrate(&mut db, path, migrate::PERIOD)
        .map_err(|error| WriteError::Broken(error.into()))?;
    Ok(db)
}

impl WriteError {
    /// The cause.
    pub(super) fn into_cause(self) -> BoxError {
        match self {
            Self::Full(cause) | Self::Broken(cause) => cause,
        }
    }
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(error.into()),
            _ => Self::Broken(error.into()),
        }
    }
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        if files::is_full(&error) { Self::Full(error.into()) } else { Self::Broken(error.into()) }
    }
}
