//! What was done to the files under a directory, in order.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Whether a recording runs: asked on each write, also of those to the terminal.
static RUNNING: AtomicBool = AtomicBool::new(false);
static RECORDER: Mutex<Option<Recorder>> = Mutex::new(None);

/// A file, whatever its name is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FileId(usize);

/// One step.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Create { path: PathBuf, file: FileId },
    Write { file: FileId, offset: u64, bytes: Vec<u8> },
    Resize { file: FileId, length: u64 },
    Sync { file: FileId },
    SyncDir { dir: PathBuf },
    Rename { from: PathBuf, to: PathBuf },
    Unlink { path: PathBuf },
}

/// Device and inode, by which a descriptor names its file.
pub(crate) type Inode = (u64, u64);

pub(crate) struct Recorder {
    root: PathBuf,
    pub(crate) steps: Vec<Step>,
    files: HashMap<Inode, FileId>,
    dirs: HashMap<Inode, PathBuf>,
    files_made: usize,
}

/// What was done to the files under a directory.
#[derive(Debug, Default)]
pub struct Recording {
    pub(crate) root: PathBuf,
    pub(crate) steps: Vec<Step>,
}

/// Begins to record what is done to files under `root`, an absolute path to an empty directory. One
/// recording runs at a time.
pub fn start(root: &Path) {
    let mut recorder = lock();
    assert!(recorder.is_none(), "one recording at a time");
    *recorder = Some(Recorder {
        root: root.to_owned(),
        steps: Vec::new(),
        files: HashMap::new(),
        dirs: HashMap::new(),
        files_made: 0,
    });
    RUNNING.store(true, Ordering::SeqCst);
}

/// How many steps were done so far.
pub fn mark() -> usize {
    lock().as_ref().map_or(0, |recorder| recorder.steps.len())
}

/// Ends the recording.
pub fn stop() -> Recording {
    RUNNING.store(false, Ordering::SeqCst);
    let recorder = lock().take().expect("a recording runs");
    Recording { root: recorder.root, steps: recorder.steps }
}

/// Does something to files, and records it in the same order as it is done.
pub(crate) fn recorded<T>(act: impl FnOnce(Option<&mut Recorder>) -> T) -> T {
    if !RUNNING.load(Ordering::SeqCst) {
        return act(None);
    }
    act(lock().as_mut())
}

fn lock() -> MutexGuard<'static, Option<Recorder>> {
    RECORDER.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    /// Whether a file is recorded. What `SQLite` shares between processes is rebuilt by each.
    pub(crate) fn is_ours(&self, path: &Path) -> bool {
        path.starts_with(&self.root) && !path.to_string_lossy().ends_with("-shm")
    }

    /// A path was opened that names this inode now.
    pub(crate) fn opened(&mut self, path: &Path, inode: Inode, is_new: bool, is_cut: bool) {
        if is_new || !self.files.contains_key(&inode) {
            let file = FileId(self.files_made);
            self.files_made += 1;
            self.files.insert(inode, file);
            self.steps.push(Step::Create { path: path.to_owned(), file });
        } else if is_cut {
            self.resized(inode, 0);
        }
    }

    pub(crate) fn opened_dir(&mut self, path: &Path, inode: Inode) {
        self.dirs.insert(inode, path.to_owned());
    }

    pub(crate) fn wrote(&mut self, inode: Inode, offset: u64, bytes: &[u8]) {
        if let Some(&file) = self.files.get(&inode) {
            self.steps.push(Step::Write { file, offset, bytes: bytes.to_vec() });
        }
    }

    pub(crate) fn resized(&mut self, inode: Inode, length: u64) {
        if let Some(&file) = self.files.get(&inode) {
            self.steps.push(Step::Resize { file, length });
        }
    }

    pub(crate) fn synced(&mut self, inode: Inode) {
        if let Some(&file) = self.files.get(&inode) {
            self.steps.push(Step::Sync { file });
        } else if let Some(dir) = self.dirs.get(&inode) {
            self.steps.push(Step::SyncDir { dir: dir.clone() });
        }
    }

    pub(crate) fn renamed(&mut self, from: &Path, to: &Path) {
        if self.is_ours(from) {
            self.steps.push(Step::Rename { from: from.to_owned(), to: to.to_owned() });
        }
    }

    pub(crate) fn unlinked(&mut self, path: &Path) {
        if self.is_ours(path) {
            self.steps.push(Step::Unlink { path: path.to_owned() });
        }
    }
}
