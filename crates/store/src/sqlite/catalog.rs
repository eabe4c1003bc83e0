//! Which files the journal has.
//!
//! A period is two files: `<first sequence>.db`, which says what is in the journal, and
//! `<first sequence>.data`, which holds the bytes of blocks. A period ends where the next begins.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use domain::record::Sequence;

use crate::sqlite::files;

/// The periods that exist, oldest first. Never empty once the store is open.
#[derive(Debug)]
pub(super) struct Catalog {
    dir: PathBuf,
    firsts: RwLock<Vec<Sequence>>,
}

/// A period, and where it ends: `None` for the live one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) first: Sequence,
    pub(super) next: Option<Sequence>,
}

impl Catalog {
    /// Lists the periods of a directory, and removes what a crash left of others.
    pub(super) fn read(dir: &Path) -> io::Result<Self> {
        let mut firsts = Vec::new();
        let mut others = Vec::new();
        for file in fs::read_dir(dir)? {
            let path = file?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let suffix = path.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default();
            match stem.parse().map(Sequence) {
                Ok(first) if suffix == "db" => firsts.push(first),
                Ok(first) => others.push(first),
                Err(_) => {}
            }
        }
        firsts.sort_unstable();
        others.sort_unstable();
        others.dedup();
        let catalog = Self { dir: dir.to_owned(), firsts: RwLock::new(firsts) };
        others.retain(|first| catalog.lock().binary_search(first).is_err());
        for first in others {
            catalog.remove_files(first)?;
        }
        Self::remove_database(&catalog.prepared())?;
        Self::remove_database(&catalog.unfinished())?;
        Ok(catalog)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn database(&self, first: Sequence) -> PathBuf {
        self.dir.join(format!("{:020}.db", first.0))
    }

    pub(super) fn data(&self, first: Sequence) -> PathBuf {
        self.dir.join(format!("{:020}.data", first.0))
    }

    /// Where the next period's database is made before its first sequence is known.
    pub(super) fn prepared(&self) -> PathBuf {
        self.dir.join("next.db")
    }

    /// Where that database is made.
    pub(super) fn unfinished(&self) -> PathBuf {
        self.dir.join("unfinished.db")
    }

    pub(super) fn oldest(&self) -> Option<Sequence> {
        self.lock().first().copied()
    }

    pub(super) fn newest(&self) -> Option<Sequence> {
        self.lock().last().copied()
    }

    /// The period that holds a sequence, or the first one after it.
    pub(super) fn holding(&self, sequence: Sequence) -> Option<Period> {
        let firsts = self.lock();
        let after = firsts.partition_point(|first| *first <= sequence);
        let at = after.saturating_sub(1);
        Some(Period { first: *firsts.get(at)?, next: firsts.get(at + 1).copied() })
    }

    /// The oldest period, unless it is the live one.
    pub(super) fn oldest_ended(&self) -> Option<Period> {
        match self.lock()[..] {
            [first, next, ..] => Some(Period { first, next: Some(next) }),
            _ => None,
        }
    }

    pub(super) fn add(&self, first: Sequence) {
        self.lock_mut().push(first);
    }

    pub(super) fn remove(&self, first: Sequence) {
        self.lock_mut().retain(|known| *known != first);
    }

    /// Deletes a period's files, the database first: data without it are swept at the next start.
    pub(super) fn remove_files(&self, first: Sequence) -> io::Result<()> {
        Self::remove_database(&self.database(first))?;
        files::remove(&self.data(first))
    }

    /// Deletes a database and what `SQLite` keeps beside it.
    pub(super) fn remove_database(path: &Path) -> io::Result<()> {
        files::remove(path)?;
        ["-wal", "-shm", "-journal"]
            .into_iter()
            .try_for_each(|suffix| files::remove(&files::beside(path, suffix)))
    }

    fn lock(&self) -> RwLockReadGuard<'_, Vec<Sequence>> {
        self.firsts.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn lock_mut(&self) -> RwLockWriteGuard<'_, Vec<Sequence>> {
        self.firsts.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
