//! Records of the journal looked up one by one, mostly near one another: read a block at a time, and
//! the last few blocks are kept.

use std::{collections::VecDeque, sync::Arc};

use domain::record::Entry;
use store::journal::ReadError;

use super::Reader;
use crate::service::Console;

/// Records of a block.
const BLOCK: u64 = 64;
/// Blocks that are kept.
const BLOCKS_MAX: usize = 8;

/// Records, looked up for one search.
pub(crate) struct Records<'a> {
    reader: Reader<'a>,
    /// The block's number and what is there of it; the newest last.
    blocks: VecDeque<(u64, Vec<Arc<Entry>>)>,
    /// How many records were looked at.
    pub(crate) scanned: u64,
    /// Bytes that were read.
    pub(crate) bytes: usize,
}

impl<'a> Records<'a> {
    pub(crate) fn new(console: &'a Console) -> Self {
        Self { reader: Reader { console }, blocks: VecDeque::new(), scanned: 0, bytes: 0 }
    }

    /// The record of a position, if it is still there.
    pub(crate) async fn at(&mut self, sequence: u64) -> Result<Option<Arc<Entry>>, ReadError> {
        let number = sequence / BLOCK;
        let is_kept = self.blocks.iter().any(|(kept, _)| *kept == number);
        if !is_kept {
            let range = (number * BLOCK).max(1)..=number * BLOCK + BLOCK - 1;
            let entries = self.reader.read(range, &mut self.bytes).await?;
            self.scanned += BLOCK;
            if self.blocks.len() == BLOCKS_MAX {
                self.blocks.pop_front();
            }
            self.blocks.push_back((number, entries));
            tokio::task::yield_now().await;
        }
        let block = self.blocks.iter().find(|(kept, _)| *kept == number);
        let mut entries = block.into_iter().flat_map(|(_, entries)| entries);
        Ok(entries.find(|entry| entry.sequence.0 == sequence).cloned())
    }
}
