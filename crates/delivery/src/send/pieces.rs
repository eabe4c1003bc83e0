//! A body in pieces as the HTTP client wants it.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use webhook::body::Body;

/// The most that is given at once, so that it shows how much the receiver has taken.
const FRAME_BYTES_MAX: usize = 64 << 10;

/// Gives a body's pieces one after another.
#[derive(Debug)]
pub(super) struct Pieces {
    all: Arc<[Bytes]>,
    next: usize,
    /// How far the next piece is given.
    at: usize,
    left: usize,
    taken: Arc<AtomicBool>,
}

impl Pieces {
    pub(super) fn new(body: &Body) -> Self {
        let taken = Arc::new(AtomicBool::new(body.is_empty()));
        Self { all: Arc::clone(body.pieces()), next: 0, at: 0, left: body.len(), taken }
    }

    /// Becomes true once the client has taken all of it.
    pub(super) fn taken(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.taken)
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(piece) = self.all.get(self.next) else { return Poll::Ready(None) };
        let rest = piece.slice(self.at..);
        let frame = rest.slice(..rest.len().min(FRAME_BYTES_MAX));
        if frame.len() == rest.len() {
            self.next += 1;
            self.at = 0;
        } else {
            self.at += frame.len();
        }
        self.left -= frame.len();
        if self.left == 0 {
            self.taken.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.next == self.all.len()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}
