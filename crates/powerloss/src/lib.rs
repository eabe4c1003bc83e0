//! A file layer that drops what was not synced, for tests of what survives a loss of power.
//!
//! A test binary that uses this crate gets its versions of the C library's `write`, `fsync` and the
//! like (`calls`), for Rust's files and for SQLite's. They do what is asked, and while a recording
//! runs they remember it (`record`). A `Recording` then tells what a disk may hold if the power fails
//! after any of its steps: everything that was synced, and of the rest whatever the disk had got to
//! (`disk`).
//!
//! It works on 64-bit Linux with glibc, and is empty elsewhere.
//!
//! Invariant: what a file's `fsync`, and its directory's, has covered is on every such disk.

#![cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]

mod calls;

mod disk;

mod record;

pub use record::{Recording, mark, start, stop};
