//! What a disk may hold after a loss of power.
//!
//! Writes of a file that no sync covers may have come through or not, each by itself and in parts of
//! a sector. New names, renames and removals in a directory that no sync of it covers come through in
//! their order, up to some point. Directories themselves are taken to be there.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use crate::record::{FileId, Recording, Step};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// One file's bytes.
#[derive(Debug, Default, Clone)]
struct Contents {
    durable: Vec<u8>,
    /// What no sync covers yet.
    pending: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Resize { length: u64 },
}

/// A change to a directory.
#[derive(Debug, Clone)]
enum Naming {
    Put(PathBuf, FileId),
    Move(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl Recording {
    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether nothing was done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Lays down in `to` what the disk may hold if the power fails after the first `steps` steps. The
    /// dice decide what came through beyond what was synced.
    pub fn lay_down(&self, steps: usize, dice: &mut fastrand::Rng, to: &Path) -> io::Result<()> {
        let mut files: BTreeMap<FileId, Contents> = BTreeMap::new();
        let mut names: BTreeMap<PathBuf, FileId> = BTreeMap::new();
        let mut pending: Vec<Naming> = Vec::new();
        for step in &self.steps[..steps] {
            match step {
                Step::Create { path, file } => pending.push(Naming::Put(path.clone(), *file)),
                Step::Rename { from, to } => pending.push(Naming::Move(from.clone(), to.clone())),
                Step::Unlink { path } => pending.push(Naming::Remove(path.clone())),
                Step::Write { file, offset, bytes } => files
                    .entry(*file)
                    .or_default()
                    .pending
                    .push(Change::Write { offset: *offset, bytes: bytes.clone() }),
                Step::Resize { file, length } => {
                    files
                        .entry(*file)
                        .or_default()
                        .pending
                        .push(Change::Resize { length: *length });
                }
                Step::Sync { file } => files.entry(*file).or_default().sync(),
                Step::SyncDir { dir } => {
                    let (of_it, others) =
                        pending.into_iter().partition(|naming| naming.directory() == Some(dir));
                    pending = others;
                    apply(&mut names, of_it);
                }
            }
        }
        pending.truncate(dice.usize(..=pending.len()));
        apply(&mut names, pending);
        // What comes through is a matter of load: little of it, most of it, or anything between.
        let share = [0.0, 0.5, 1.0][dice.usize(..3)];
        for (path, file) in names {
            let mut contents = files.get(&file).cloned().unwrap_or_default();
            contents.lose(share, dice);
            let path = to.join(path.strip_prefix(&self.root).expect("only such are recorded"));
            fs::create_dir_all(path.parent().expect("it is under the root"))?;
            fs::write(path, contents.durable)?;
        }
        Ok(())
    }
}

impl Contents {
    fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            self.apply(&change);
        }
    }

    /// Lets a share of what is pending come through.
    fn lose(&mut self, share: f64, dice: &mut fastrand::Rng) {
        for mut change in std::mem::take(&mut self.pending) {
            if dice.f64() >= share {
                continue;
            }
            if let Change::Write { offset, bytes } = &mut change
                && dice.u8(..8) == 0
            {
                // Torn at the end of a sector.
                let first = SECTOR - *offset as usize % SECTOR;
                let sectors = bytes.len().saturating_sub(first) / SECTOR;
                bytes.truncate(first + SECTOR * dice.usize(..=sectors));
            }
            self.apply(&change);
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { offset, bytes } => {
                let (start, end) = (*offset as usize, *offset as usize + bytes.len());
                if self.durable.len() < end {
                    self.durable.resize(end, 0);
                }
                self.durable[start..end].copy_from_slice(bytes);
            }
            Change::Resize { length } => self.durable.resize(*length as usize, 0),
        }
    }
}

impl Naming {
    fn directory(&self) -> Option<&Path> {
        match self {
            Self::Put(path, _) | Self::Move(_, path) | Self::Remove(path) => path.parent(),
        }
    }
}

fn apply(names: &mut BTreeMap<PathBuf, FileId>, namings: Vec<Naming>) {
    for naming in namings {
        match naming {
            Naming::Put(path, file) => drop(names.insert(path, file)),
            Naming::Remove(path) => drop(names.remove(&path)),
            Naming::Move(from, to) => {
                if let Some(file) = names.remove(&from) {
                    names.insert(to, file);
                }
            }
        }
    }
}
