//! The data directory: who may use it, and how its files are made.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rusqlite::{
    Connection, OpenFlags,
    ffi::{SQLITE_FULL, SQLITE_IOERR_SHMSIZE},
};

use crate::{journal::BoxError, sqlite::OpenError};

/// Makes the directory, readable by its owner alone, if it is missing.
pub(super) fn make_dir(path: &Path) -> Result<(), OpenError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(engine(path))
}

/// Takes the directory for this process, until the file is dropped or the process ends.
pub(super) fn lock(data_dir: &Path) -> Result<File, OpenError> {
    let path = data_dir.join("lock");
    let file = private(&path).map_err(engine(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: data_dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(engine(&path)(error)),
    }
}

/// Opens or makes a file that only its owner may read.
pub(super) fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Opens a database, which must exist. The files that `SQLite` puts beside it take its mode.
pub(super) fn database(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

/// Makes names of new files in a directory survive a loss of power.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Removes a file that may already be gone.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The file that `SQLite` keeps beside a database under this suffix.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Bytes that the file system still gives to us.
pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Whether an error says that there is no room. Memory that processes share is a file, too.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    code.is_some_and(|code| code & 0xff == SQLITE_FULL || code == SQLITE_IOERR_SHMSIZE)
}

/// Wraps a cause with the file or directory that it concerns.
pub(super) fn engine<E: Into<BoxError>>(path: &Path) -> impl FnOnce(E) -> OpenError + use<E> {
    let path = path.to_owned();
    move |cause| OpenError::Engine { path, cause: cause.into() }
}
