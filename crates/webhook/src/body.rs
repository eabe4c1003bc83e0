//! A body in pieces: large items are sent from where they were rendered, not copied together.

use std::sync::Arc;

use bytes::Bytes;

/// An item of at least this size is a piece of its own: writing it from its place costs less than
/// copying it.
const PIECE_BYTES_MIN: usize = 16 << 10;

/// The bytes of one delivery, in order. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    pieces: Arc<[Bytes]>,
    length: usize,
}

impl Body {
    /// Its pieces, in order. None is empty.
    pub fn pieces(&self) -> &Arc<[Bytes]> {
        &self.pieces
    }

    /// All bytes, counted.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// All bytes in one piece.
    pub fn to_bytes(&self) -> Bytes {
        match &self.pieces[..] {
            [only] => only.clone(),
            pieces => pieces.concat().into(),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        let mut body = Builder::default();
        body.push(&bytes);
        body.finish()
    }
}

/// Puts a body together.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    pieces: Vec<Bytes>,
    gathered: Vec<u8>,
    length: usize,
}

impl Builder {
    /// Adds an item.
    pub(crate) fn push(&mut self, item: &Bytes) {
        if item.len() < PIECE_BYTES_MIN {
            return self.push_slice(item);
        }
        self.end_piece();
        self.length += item.len();
        self.pieces.push(item.clone());
    }

    /// Adds a few bytes.
    pub(crate) fn push_slice(&mut self, bytes: &[u8]) {
        self.length += bytes.len();
        self.gathered.extend_from_slice(bytes);
    }

    /// The body.
    pub(crate) fn finish(mut self) -> Body {
        self.end_piece();
        Body { pieces: self.pieces.into(), length: self.length }
    }

    fn end_piece(&mut self) {
        if !self.gathered.is_empty() {
            self.pieces.push(std::mem::take(&mut self.gathered).into());
        }
    }
}
