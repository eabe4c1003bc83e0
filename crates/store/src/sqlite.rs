//! The embedded engine: both traits on SQLite files in one directory.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use domain::time::Clock;

use crate::{
    journal::{BoxError, Journal},
    lanes::Lanes,
};

/// Where the store keeps its files, and its bounds. Every value is final.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory; made if it is missing. One process at a time may use it.
    pub data_dir: PathBuf,
    /// What a committed record survives.
    pub durability: Durability,
    /// How long entries are kept, delivered or not.
    pub retention: Duration,
    /// Bytes of records after which the journal goes on in a new file. A start after a crash reads
    /// up to this much.
    pub period_bytes_max: u64,
    /// Bytes of recent entries kept in memory.
    pub tail_bytes_max: usize,
    /// Bytes of records waiting for a commit beyond which no call is admitted.
    pub queue_bytes_max: usize,
    /// Bytes of disk set aside, so that outcomes fit when the disk is full.
    pub ballast_bytes: u64,
    /// Attempts kept for people, over all lanes: the newest.
    pub attempts_max: u64,
}

impl Config {
    /// The values that the gateway uses where its configuration says nothing.
    pub fn with_defaults(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            durability: Durability::Process,
            retention: Duration::from_hours(168),
            period_bytes_max: 128 << 20,
            tail_bytes_max: 32 << 20,
            queue_bytes_max: 256 << 20,
            ballast_bytes: 64 << 20,
            attempts_max: 100_000,
        }
    }
}

/// What a committed record survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, `kill -9` included.
    Process,
    /// Loss of power too, at the cost of an fsync for each group of records.
    Power,
}

/// Both engines, and the threads under them.
#[derive(Debug)]
pub struct Store {}

impl Store {
    /// Opens or makes the store.
    pub fn open(config: Config, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let _ = (config, clock);
        unimplemented!()
    }

    /// The journal.
    pub fn journal(&self) -> Arc<dyn Journal> {
        unimplemented!()
    }

    /// The lanes' state.
    pub fn lanes(&self) -> Arc<dyn Lanes> {
        unimplemented!()
    }

    /// Commits what is queued, stops the threads and releases the directory. Blocks until done.
    pub fn close(self) {
        unimplemented!()
    }
}

/// Opens only the lanes' state, beside a gateway that may be running in the same directory.
pub fn open_lanes_only(data_dir: &Path) -> Result<Arc<dyn Lanes>, OpenError> {
    let _ = data_dir;
    unimplemented!()
}

/// Why the store could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "data directory `{}` is in use by another hookgate; stop that one, or choose another \
         directory with --data-dir", path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// There is no store there.
    #[error("there is no hookgate data in `{}`", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// A newer version wrote it.
    #[error(
        "`{}` has schema version {found}, and this hookgate knows up to {known}; use the version \
         that wrote it, or a newer one", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// A file does not hold what was written there.
    #[error("`{}` is damaged: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// The file system or the database refused.
    #[error("could not open `{}`", path.display())]
    Engine {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        cause: BoxError,
    },
}
