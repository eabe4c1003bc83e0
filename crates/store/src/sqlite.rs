//! The embedded engine: both traits on `SQLite` files in one directory.
//!
//! `journal/` holds the journal, a pair of files for each period (see `catalog`); `state.db` the
//! lanes' state; `lock` keeps a second process out; `ballast` sets room aside. Each database has
//! one writing thread, whose jobs make groups by themselves.
//!
//! Invariant: whatever instant the process ends at, the next one finds all that was acknowledged.

mod ballast;
mod catalog;
mod codec;
mod destinations;
mod files;
mod journal;
mod keeper;
mod keyring;
mod lanes;
mod live;
mod migrate;
mod open_calls;
mod period_reader;
mod queue;
mod reader;
mod recover;
mod shared;
mod spending;
mod tail;
mod writer;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use domain::{
    secret::Secret,
    time::{Clock, SystemClock},
};

use crate::{
    journal::{BoxError, Journal},
    lanes::Lanes,
    sqlite::{
        ballast::Ballast,
        catalog::Catalog,
        destinations::SqliteDestinations,
        files::engine,
        journal::SqliteJournal,
        keeper::{Keeper, Task},
        lanes::{LanesThread, Setup, SqliteLanes},
        queue::Queue,
        reader::Reader,
        recover::Recovered,
        shared::Shared,
        writer::{GivenUp, Scratch, Writer},
    },
    state::{Destinations, Spending, StoredDestination, Switches},
    vault::Vault,
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
    /// What stored secrets are sealed under: 32 bytes in base64, or any text of 16 characters or
    /// more. `None` is the key in `secrets.key`, which the first start makes.
    pub encryption_key: Option<Secret>,
    /// What secrets may be sealed under from before. They are sealed anew when the store opens; once
    /// they are, it is not looked at.
    pub previous_key: Option<PreviousKey>,
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
            encryption_key: None,
            previous_key: None,
        }
    }
}

/// The key that stored secrets were sealed under before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreviousKey {
    /// The one in `secrets.key`.
    KeyFile,
    /// One that was configured.
    Text(Secret),
}

/// What a committed record survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, `kill -9` included.
    Process,
    /// Loss of power too, at the cost of an fsync for each group of records.
    Power,
}

/// Both engines, and the threads under them. Dropping it is closing it.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    tasks: Arc<Queue<Task>>,
    lanes: SqliteLanes,
    vault: Arc<Vault>,
    /// In the order in which they end.
    writer: Option<JoinHandle<()>>,
    keeper: Option<JoinHandle<()>>,
    reader: Option<JoinHandle<()>>,
    lanes_thread: Option<LanesThread>,
    /// Held until everything else is gone.
    _lock: File,
}

impl Store {
    /// Opens or makes the store. On a full disk it opens and refuses calls, see `Journal::health`.
    pub fn open(config: Config, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        files::make_dir(&config.data_dir)?;
        let lock = files::lock(&config.data_dir)?;
        let journal_dir = config.data_dir.join("journal");
        files::make_dir(&journal_dir)?;
        let ballast = Ballast::new(&config.data_dir, config.ballast_bytes);

        let state_path = config.data_dir.join("state.db");
        let open_files = || {
            let (mut state, furthest) = lanes::open(&state_path, config.durability)?;
            let vault = keyring::open_vault(&config, &mut state)?;
            let catalog = Catalog::read(&journal_dir).map_err(engine(&journal_dir))?;
            let recovered = recover::recover(&catalog, furthest, clock.now(), config.durability)?;
            Ok((state, Arc::new(vault), catalog, recovered))
        };
        let (state, vault, catalog, recovered) = match open_files() {
            // On a full disk even opening needs room.
            Err(OpenError::Engine { .. }) if ballast.release().is_ok_and(|held| held) => {
                open_files()?
            }
            opened => opened?,
        };
        let Recovered { live, head, open } = recovered;
        let interrupted = open.in_order().into_values().map(|call| (call.id, call)).collect();
        let shared = Arc::new(Shared::new(catalog, head, config, interrupted));
        if let Err(error) = ballast.restore() {
            tracing::error!(%error, "There is no room for the ballast.");
            shared.meet_full_disk(&ballast);
        }
        let setup = Setup {
            attempts_max: shared.config.attempts_max,
            retention: Some(shared.config.retention),
            clock: Arc::clone(&clock),
            on_full: on_full(&shared, &ballast),
        };
        let (lanes, lanes_thread) =
            lanes::start(state, &state_path, setup).map_err(engine(&state_path))?;
        let mut store = Self {
            shared: Arc::clone(&shared),
            tasks: Arc::new(Queue::new()),
            lanes,
            vault,
            writer: None,
            keeper: None,
            reader: None,
            lanes_thread: Some(lanes_thread),
            _lock: lock,
        };
        let writer = Writer {
            shared,
            keeper: Arc::clone(&store.tasks),
            clock: Arc::clone(&clock),
            live,
            head,
            open,
            ballast,
            trouble: None,
            given_up: GivenUp::default(),
            scratch: Scratch::default(),
        };
        store.start(writer, clock).map_err(engine(&state_path))?;
        Ok(store)
    }

    /// Starts the journal's threads. If one does not start, dropping `self` ends the others.
    fn start(&mut self, writer: Writer, clock: Arc<dyn Clock>) -> io::Result<()> {
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        let reader = Reader::new(Arc::clone(&self.shared));
        let lanes = self.lanes.another();
        let keeper = Keeper {
            shared: Arc::clone(&self.shared),
            tasks: Arc::clone(&self.tasks),
            clock,
            cursors: Box::new(move || lanes.cursors_blocking()),
        };
        self.reader = Some(named("store-reader").spawn(move || reader.run())?);
        self.keeper = Some(named("store-keeper").spawn(move || keeper.run())?);
        self.writer = Some(named("store-writer").spawn(move || writer.run())?);
        Ok(())
    }

    /// The journal.
    pub fn journal(&self) -> Arc<dyn Journal> {
        Arc::new(SqliteJournal(Arc::clone(&self.shared)))
    }

    /// The lanes' state.
    pub fn lanes(&self) -> Arc<dyn Lanes> {
        Arc::new(self.lanes.another())
    }

    /// Destinations that doors made.
    pub fn destinations(&self) -> Arc<dyn Destinations> {
        let (lanes, vault) = (self.lanes.another(), Arc::clone(&self.vault));
        Arc::new(SqliteDestinations { lanes, vault })
    }

    /// Which destinations are paused.
    pub fn switches(&self) -> Arc<dyn Switches> {
        Arc::new(self.lanes.another())
    }

    /// What was spent.
    pub fn spending(&self) -> Arc<dyn Spending> {
        Arc::new(self.lanes.another())
    }

    /// Commits what is queued, stops the threads and releases the directory. Blocks until done.
    /// What is asked of the journal and of the lanes afterwards finds them closed.
    pub fn close(self) {
        drop(self);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shared.appends.close();
        join(self.writer.take(), "writer");
        // The writer left its files to the keeper, and the keeper asks the lanes' thread.
        self.tasks.close();
        join(self.keeper.take(), "keeper");
        self.shared.reads.close();
        join(self.reader.take(), "reader");
        drop(self.lanes_thread.take());
    }
}

fn join(thread: Option<JoinHandle<()>>, name: &str) {
    if thread.is_some_and(|thread| thread.join().is_err()) {
        tracing::error!("The store's {name} panicked.");
    }
}

fn on_full(shared: &Arc<Shared>, ballast: &Ballast) -> Box<dyn Fn() + Send> {
    let (shared, ballast) = (Arc::clone(shared), ballast.clone());
    Box::new(move || shared.meet_full_disk(&ballast))
}

/// What a command sees of a data directory, beside a gateway that may be running on it.
pub struct Beside {
    /// The lanes' state.
    pub lanes: Arc<dyn Lanes>,
    /// What doors made, without secrets: those need a key.
    pub destinations: Vec<StoredDestination>,
}

/// Opens the state of a data directory, and not its journal. The machine's clock says when what is
/// revived is due.
pub fn open_beside(data_dir: &Path) -> Result<Beside, OpenError> {
    let path = data_dir.join("state.db");
    if !path.exists() {
        return Err(OpenError::Missing { path: data_dir.to_owned() });
    }
    let (db, _) = lanes::open(&path, Durability::Process)?;
    let destinations = destinations::destinations(&db).map_err(engine(&path))?;
    let setup = Setup {
        attempts_max: u64::MAX,
        retention: None,
        clock: Arc::new(SystemClock),
        on_full: Box::new(|| {}),
    };
    let (lanes, thread) = lanes::start(db, &path, setup).map_err(engine(&path))?;
    Ok(Beside { lanes: Arc::new(lanes.owning(thread)), destinations })
}

/// Why the store could not be opened. Nothing that it holds was lost.
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
    /// The configured encryption key is too short to be one.
    #[error("the encryption key is too short: it needs {chars_min} characters or more")]
    WeakKey {
        /// How many it needs.
        chars_min: usize,
    },
    /// Secrets are stored, and nothing is there to open them.
    #[error(
        "secrets are stored, but there is neither `{}` nor an encryption key: put that file back, or \
         set the encryption key that they were sealed under", path.display()
    )]
    NoKey {
        /// Where the key file would be.
        path: PathBuf,
    },
    /// Secrets were sealed under another key.
    #[error(
        "the secrets of destination `{destination}` do not open with {with}: start with the \
         encryption key that they were sealed under, or without one if that was the file \
         `secrets.key`; to change it, name that one in HOOKGATE_ENCRYPTION_KEY_PREVIOUS as well \
         (`secrets.key` for the file)"
    )]
    WrongKey {
        /// The first destination whose secrets do not open.
        destination: String,
        /// Which key was tried, in words.
        with: String,
    },
    /// The previous key does not open what the key in force does not open either.
    #[error(
        "the secrets of destination `{destination}` open neither with {with} nor with {previous}: \
         name the key that they were sealed under in HOOKGATE_ENCRYPTION_KEY_PREVIOUS \
         (`secrets.key` for the file of that name in the data directory)"
    )]
    WrongPreviousKey {
        /// The first destination whose secrets do not open.
        destination: String,
        /// Which key is in force, in words.
        with: String,
        /// Which other key was tried, in words.
        previous: String,
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
