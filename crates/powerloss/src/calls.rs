//! Stand-ins for the C library's functions that change files: a program's own symbols win over those
//! of shared libraries. Each asks the kernel for what the caller wanted (rustix does so directly, and
//! never through these), tells the recorder, and answers as the C library would.
//!
//! The signatures are those of POSIX on 64-bit Linux, where `off_t` and `off64_t` are one.

use std::{
    ffi::{CStr, OsStr, c_char, c_int, c_uint, c_void},
    os::{fd::BorrowedFd, unix::ffi::OsStrExt},
    path::Path,
};

use rustix::{
    fs::{FileType, Mode, OFlags},
    io::Errno,
};

use crate::record::{Inode, Recorder, recorded};

unsafe extern "C" {
    fn __errno_location() -> *mut c_int;
}

/// A result as C functions give it: the value, or -1 with `errno` set.
fn answer<T: Into<i64>>(result: Result<T, Errno>) -> i64 {
    match result {
        Ok(value) => value.into(),
        Err(error) => {
            // SAFETY: glibc returns a pointer to this thread's own `errno`, always valid.
            unsafe { *__errno_location() = error.raw_os_error() };
            -1
        }
    }
}

/// # Safety
/// `path` must be a C string that lives as long as the result is used.
unsafe fn as_path<'a>(path: *const c_char) -> &'a Path {
    // SAFETY: the caller passes what C code passed as a path.
    let text = unsafe { CStr::from_ptr(path) };
    Path::new(OsStr::from_bytes(text.to_bytes()))
}

/// # Safety
/// `fd` must be open, or at least not -1, while the result is used.
unsafe fn as_fd<'a>(fd: c_int) -> Result<BorrowedFd<'a>, Errno> {
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: it is not -1; a closed one makes the kernel answer EBADF.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

fn inode(fd: BorrowedFd<'_>) -> Option<Inode> {
    rustix::fs::fstat(fd).ok().map(|stat| (stat.st_dev, stat.st_ino))
}

/// Does something to an open file; `note` tells the recorder what, with the file's inode.
///
/// # Safety
/// As for `as_fd`.
unsafe fn on_fd<T: Into<i64> + Copy>(
    fd: c_int,
    act: impl FnOnce(BorrowedFd<'_>) -> Result<T, Errno>,
    note: impl FnOnce(&mut Recorder, Inode, T),
) -> i64 {
    answer(recorded(|recorder| {
        // SAFETY: passed on to the caller.
        let fd = unsafe { as_fd(fd) }?;
        let done = act(fd)?;
        if let (Some(recorder), Some(inode)) = (recorder, inode(fd)) {
            note(recorder, inode, done);
        }
        Ok(done)
    }))
}

/// # Safety
/// As for `as_path`.
unsafe fn open_recorded(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    use std::os::fd::IntoRawFd;
    // SAFETY: passed on to the caller.
    let path = unsafe { as_path(path) };
    let opened = recorded(|recorder| {
        let flags = OFlags::from_bits_retain(flags as c_uint);
        let existed = rustix::fs::stat(path).is_ok();
        let fd = rustix::fs::open(path, flags, Mode::from_raw_mode(mode))?;
        if let Some(recorder) = recorder.filter(|recorder| recorder.is_ours(path)) {
            let stat = rustix::fs::fstat(&fd)?;
            let inode = (stat.st_dev, stat.st_ino);
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => recorder.opened_dir(path, inode),
                _ => recorder.opened(path, inode, !existed, flags.contains(OFlags::TRUNC)),
            }
        }
        Ok(fd.into_raw_fd())
    });
    answer(opened) as c_int
}

/// # Safety
/// As for the C library's `open` with a mode.
#[unsafe(no_mangle)]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    // SAFETY: passed on to the caller.
    unsafe { open_recorded(path, flags, mode) }
}

/// # Safety
/// As for the C library's `open64` with a mode.
#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    // SAFETY: passed on to the caller.
    unsafe { open_recorded(path, flags, mode) }
}

/// # Safety
/// As for the C library's `write`.
#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, buf: *const c_void, count: usize) -> isize {
    // SAFETY: the caller passes that many readable bytes.
    let bytes = unsafe { bytes(buf, count) };
    let act = |fd: BorrowedFd<'_>| rustix::io::write(fd, bytes).map(|count| count as i64);
    let note = |recorder: &mut Recorder, inode, count: i64| {
        // SAFETY: `act` used it before.
        if let Ok(end) = unsafe { as_fd(fd) }.and_then(rustix::fs::tell) {
            recorder.wrote(inode, end - count as u64, &bytes[..count as usize]);
        }
    };
    // SAFETY: passed on to the caller.
    unsafe { on_fd(fd, act, note) as isize }
}

/// # Safety
/// As for the C library's `pwrite64`.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(fd: c_int, buf: *const c_void, count: usize, offset: i64) -> isize {
    // SAFETY: the caller passes that many readable bytes.
    let bytes = unsafe { bytes(buf, count) };
    let offset = offset as u64;
    let act = |fd: BorrowedFd<'_>| rustix::io::pwrite(fd, bytes, offset).map(|count| count as i64);
    let note = |recorder: &mut Recorder, inode, count: i64| {
        recorder.wrote(inode, offset, &bytes[..count as usize]);
    };
    // SAFETY: passed on to the caller.
    unsafe { on_fd(fd, act, note) as isize }
}

/// # Safety
/// `buf` must hold `count` readable bytes.
unsafe fn bytes<'a>(buf: *const c_void, count: usize) -> &'a [u8] {
    if count == 0 {
        return &[];
    }
    // SAFETY: the caller says so, and C code does not change them during the call.
    unsafe { std::slice::from_raw_parts(buf.cast(), count) }
}

/// # Safety
/// As for the C library's `ftruncate64`.
#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate64(fd: c_int, length: i64) -> c_int {
    let length = length as u64;
    let act = |fd: BorrowedFd<'_>| rustix::fs::ftruncate(fd, length).map(|()| 0_i64);
    let note = |recorder: &mut Recorder, inode, _| recorder.resized(inode, length);
    // SAFETY: passed on to the caller.
    unsafe { on_fd(fd, act, note) as c_int }
}

/// # Safety
/// As for the C library's `fsync`.
#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    // SAFETY: passed on to the caller.
    unsafe { sync(fd) }
}

/// # Safety
/// As for the C library's `fdatasync`.
#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    // SAFETY: passed on to the caller.
    unsafe { sync(fd) }
}

/// Nothing reaches a disk here: what it would hold is worked out from the recording.
///
/// # Safety
/// As for `as_fd`.
unsafe fn sync(fd: c_int) -> c_int {
    let act = |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).map(|_| 0_i64);
    let note = |recorder: &mut Recorder, inode, _| recorder.synced(inode);
    // SAFETY: passed on to the caller.
    unsafe { on_fd(fd, act, note) as c_int }
}

/// # Safety
/// As for the C library's `rename`.
#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: passed on to the caller.
    let (from, to) = unsafe { (as_path(from), as_path(to)) };
    answer(recorded(|recorder| {
        rustix::fs::rename(from, to)?;
        if let Some(recorder) = recorder {
            recorder.renamed(from, to);
        }
        Ok(0)
    })) as c_int
}

/// # Safety
/// As for the C library's `unlink`.
#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: passed on to the caller.
    let path = unsafe { as_path(path) };
    answer(recorded(|recorder| {
        rustix::fs::unlink(path)?;
        if let Some(recorder) = recorder {
            recorder.unlinked(path);
        }
        Ok(0)
    })) as c_int
}
