//! Room on the disk that is set aside, to be given back when the disk is full.
//!
//! Invariant: while the ballast is there, the outcomes of all admitted calls find room.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use rustix::fs::FallocateFlags;

use crate::sqlite::files;

/// The file that takes room. Whoever meets the full disk first releases it.
#[derive(Debug, Clone)]
pub(super) struct Ballast {
    path: PathBuf,
    bytes: u64,
}

impl Ballast {
    /// The ballast in a data directory. `restore` takes the room.
    pub(super) fn new(data_dir: &Path, bytes: u64) -> Self {
        Self { path: data_dir.join("ballast"), bytes }
    }

    /// Gives the room back. Returns whether there was any.
    pub(super) fn release(&self) -> io::Result<bool> {
        match std::fs::remove_file(&self.path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes the room unless it is taken, and checks that some is left beside it, so that a
    /// gateway on a full disk does not admit and refuse in turns.
    pub(super) fn restore(&self) -> io::Result<()> {
        let taken = self.take();
        if taken.is_err() {
            files::remove(&self.path)?;
        }
        taken
    }

    fn take(&self) -> io::Result<()> {
        let file = files::private(&self.path)?;
        if file.metadata()?.len() != self.bytes {
            // A file of another size may be sparse: begin anew.
            file.set_len(0)?;
            match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, self.bytes) {
                Err(rustix::io::Errno::OPNOTSUPP) => fill(&file, self.bytes)?,
                allocated => allocated?,
            }
        }
        let spare = self.bytes / 4;
        if files::free_bytes(&self.path)? < spare {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }
}

/// Writes bytes that a compressing file system cannot shrink.
fn fill(mut file: &std::fs::File, bytes: u64) -> io::Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut chunk = vec![0; 64 << 10];
    let mut left = bytes;
    while left > 0 {
        for word in chunk.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        let length = left.min(chunk.len() as u64);
        file.write_all(&chunk[..length as usize])?;
        left -= length;
    }
    file.sync_data()
}
