//! Stand-ins for the C library's functions that change files: a program's own symbols win over those
//! of shared libraries. Each asks the kernel for what the caller wanted, tells the recorder, and answers
//! as the C library would. The kernel is asked by `syscall` alone: whatever else is called here may be
//! one of these very functions.
//!
//! The signatures are those of POSIX on 64-bit Linux, where `off_t` and `off64_t` are one.

use std::{
    ffi::{CStr, OsStr, c_char, c_int, c_long, c_uint, c_void},
    mem::MaybeUninit,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use crate::record::{Inode, Recorder, recorded};

/// Device, inode and type of an open file.
struct Stat {
    inode: Inode,
    is_dir: bool,
}

fn stat(fd: c_int) -> Option<Stat> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: there is room for the answer, and only a complete one is read.
    let stat = unsafe {
        if libc::fstat(fd, stat.as_mut_ptr()) != 0 {
            return None;
        }
        stat.assume_init()
    };
    let is_dir = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
    Some(Stat { inode: (stat.st_dev, stat.st_ino), is_dir })
}

/// # Safety
/// `path` must be a C string that lives as long as the result is used.
unsafe fn as_path<'a>(path: *const c_char) -> &'a Path {
    // SAFETY: the caller passes what C code passed as a path.
    let text = unsafe { CStr::from_ptr(path) };
    Path::new(OsStr::from_bytes(text.to_bytes()))
}

/// Does something to an open file; `note` tells the recorder what, with the file's inode, unless it
/// failed.
fn on_fd(
    fd: c_int,
    act: impl FnOnce() -> c_long,
    note: impl FnOnce(&mut Recorder, Inode, c_long),
) -> c_long {
    recorded(|recorder| {
        let done = act();
        if let Some(recorder) = recorder
            && done >= 0
            && let Some(stat) = stat(fd)
        {
            note(recorder, stat.inode, done);
        }
        done
    })
}

/// # Safety
/// As for `as_path`.
unsafe fn open_recorded(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    recorded(|recorder| {
        // SAFETY: passed on to the caller.
        let name = unsafe { as_path(path) };
        // SAFETY: passed on to the caller.
        let existed = unsafe { libc::access(path, libc::F_OK) } == 0;
        // SAFETY: the arguments that `openat` has.
        let fd = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) };
        let fd = fd as c_int;
        if let Some(recorder) = recorder.filter(|recorder| recorder.is_ours(name))
            && fd >= 0
            && let Some(Stat { inode, is_dir }) = stat(fd)
        {
            if is_dir {
                recorder.opened_dir(name, inode);
            } else {
                recorder.opened(name, inode, !existed, flags & libc::O_TRUNC != 0);
            }
        }
        fd
    })
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
    // SAFETY: passed on to the caller.
    let act = || unsafe { libc::syscall(libc::SYS_write, fd, buf, count) };
    let note = |recorder: &mut Recorder, inode, written: c_long| {
        // SAFETY: it changes nothing.
        let end = unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) };
        if end >= written {
            // SAFETY: the caller passes that many readable bytes.
            let bytes = unsafe { bytes(buf, written as usize) };
            recorder.wrote(inode, (end - written) as u64, bytes);
        }
    };
    on_fd(fd, act, note) as isize
}

/// # Safety
/// As for the C library's `pwrite64`.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(fd: c_int, buf: *const c_void, count: usize, offset: i64) -> isize {
    // SAFETY: passed on to the caller.
    let act = || unsafe { libc::syscall(libc::SYS_pwrite64, fd, buf, count, offset) };
    let note = |recorder: &mut Recorder, inode, written: c_long| {
        // SAFETY: the caller passes that many readable bytes.
        let bytes = unsafe { bytes(buf, written as usize) };
        recorder.wrote(inode, offset as u64, bytes);
    };
    on_fd(fd, act, note) as isize
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
    // SAFETY: a wrong descriptor or length is the kernel's to refuse.
    let act = || unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) };
    let note = |recorder: &mut Recorder, inode, _| recorder.resized(inode, length as u64);
    on_fd(fd, act, note) as c_int
}

/// # Safety
/// As for the C library's `fsync`.
#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    sync(fd)
}

/// # Safety
/// As for the C library's `fdatasync`.
#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(fd)
}

/// Nothing reaches a disk here: what it would hold is worked out from the recording.
fn sync(fd: c_int) -> c_int {
    // SAFETY: it changes nothing, and sets `errno` where the descriptor is wrong.
    let act = || c_long::from(unsafe { libc::fcntl(fd, libc::F_GETFD) }.min(0));
    on_fd(fd, act, |recorder, inode, _| recorder.synced(inode)) as c_int
}

/// # Safety
/// As for the C library's `rename`.
#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let cwd = libc::AT_FDCWD;
    recorded(|recorder| {
        // SAFETY: the arguments that `renameat` has.
        let done = unsafe { libc::syscall(libc::SYS_renameat, cwd, from, cwd, to) };
        if let Some(recorder) = recorder
            && done == 0
        {
            // SAFETY: passed on to the caller.
            let (from, to) = unsafe { (as_path(from), as_path(to)) };
            recorder.renamed(from, to);
        }
        done
    }) as c_int
}

/// # Safety
/// As for the C library's `unlink`.
#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    recorded(|recorder| {
        // SAFETY: the arguments that `unlinkat` has.
        let done = unsafe { libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0) };
        if let Some(recorder) = recorder
            && done == 0
        {
            // SAFETY: passed on to the caller.
            let path = unsafe { as_path(path) };
            recorder.unlinked(path);
        }
        done
    }) as c_int
}
