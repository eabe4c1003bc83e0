//! A store in a directory that a crash replaces by a copy of itself.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use store::{
    conformance::{Engine, HandClock, Opened, sample::MORNING},
    sqlite::{Config, Store},
};
use tempfile::TempDir;

/// A store in a directory that a crash replaces by a copy of itself.
pub(crate) struct SqliteEngine {
    pub(crate) config: Config,
    root: TempDir,
    crashes: usize,
    store: Option<Store>,
}

impl SqliteEngine {
    /// A fresh one.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// A fresh one with other settings.
    pub(crate) fn with(set: impl FnOnce(&mut Config)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut config = small_config(root.path().join("data"));
        set(&mut config);
        Self { config, root, crashes: 0, store: None }
    }

    /// Another store, with the files as they are at this instant.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::with(|config| {
            *config = Config { data_dir: config.data_dir.clone(), ..self.config.clone() }
        });
        copy_dir(&self.config.data_dir, &copy.config.data_dir);
        copy
    }

    /// Opens it at a time that stands.
    pub(crate) fn open_now(&mut self) -> Opened {
        self.open(Arc::new(HandClock::at(MORNING)))
    }

    /// The directory of the journal's files.
    pub(crate) fn journal_dir(&self) -> PathBuf {
        self.config.data_dir.join("journal")
    }

    /// The file of the journal's first period with this suffix.
    pub(crate) fn file(&self, suffix: &str) -> PathBuf {
        self.journal_dir().join(format!("{:020}{suffix}", 1))
    }

    /// The first sequences of the journal's periods.
    pub(crate) fn periods(&self) -> Vec<u64> {
        let files = fs::read_dir(self.journal_dir()).unwrap();
        let mut firsts: Vec<u64> = files
            .map(|file| file.unwrap().path())
            .filter(|path| path.extension().is_some_and(|suffix| suffix == "db"))
            .filter_map(|path| path.file_stem()?.to_str()?.parse().ok())
            .collect();
        firsts.sort_unstable();
        firsts
    }
}

/// Settings for tests, which need little of anything.
pub(crate) fn small_config(data_dir: PathBuf) -> Config {
    Config { ballast_bytes: 64 << 10, ..Config::with_defaults(data_dir) }
}

impl Engine for SqliteEngine {
    fn open(&mut self, clock: Arc<HandClock>) -> Opened {
        self.close();
        let store = Store::open(self.config.clone(), clock).unwrap();
        let opened = Opened {
            journal: store.journal(),
            lanes: store.lanes(),
            destinations: store.destinations(),
            switches: store.switches(),
            spending: store.spending(),
        };
        self.store = Some(store);
        opened
    }

    /// What the next process finds is what the files hold at this instant.
    fn crash(&mut self) {
        self.crashes += 1;
        let copy = self.root.path().join(format!("after crash {}", self.crashes));
        copy_dir(&self.config.data_dir, &copy);
        self.close();
        self.config.data_dir = copy;
    }

    fn close(&mut self) {
        drop(self.store.take());
    }
}

/// Copies the files as a process that ends now would leave them. The store's threads go on
/// meanwhile, so logs are copied before the databases that they belong to: a checkpoint in between
/// then shows in both, and none is missed.
fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    let files = fs::read_dir(from).unwrap().map(|file| file.unwrap().path());
    let (logs, others): (Vec<_>, Vec<_>) =
        files.partition(|path| path.to_string_lossy().ends_with("-wal"));
    for path in logs.into_iter().chain(others) {
        let name = path.file_name().unwrap();
        if path.is_dir() {
            copy_dir(&path, &to.join(name));
        } else if name != "ballast"
            && let Err(error) = fs::copy(&path, to.join(name))
        {
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{}", path.display());
        }
    }
}
