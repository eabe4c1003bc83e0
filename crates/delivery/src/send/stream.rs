//! A connection to a receiver, with a bound on what it may answer.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use hyper_rustls::MaybeHttpsStream;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
};

use super::trace::Trace;

/// The most that is read of one answer, with provisional ones before it: far more than a head and
/// the start of a body.
pub(super) const RECEIVED_BYTES_MAX: usize = 256 << 10;

/// A receiver sent more than anybody can mean as an answer.
#[derive(Debug, thiserror::Error)]
#[error("receiver sent more than {} KiB in answer to one request", RECEIVED_BYTES_MAX >> 10)]
pub(super) struct TooMuch;

/// A connection that knows by which attempt it was made, and what it received since the last write.
#[derive(Debug)]
pub(super) struct Stream {
    io: TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>,
    origin: Origin,
    /// Its place among all connections.
    _place: OwnedSemaphorePermit,
}

/// What the client hands on of a connection.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// The attempt that made it.
    pub(super) made_by: Arc<Trace>,
    /// Bytes received since the last write. On HTTP/1.1, all of them answer the running request.
    pub(super) received: Arc<AtomicUsize>,
}

impl Stream {
    pub(super) fn new(
        io: MaybeHttpsStream<TokioIo<TcpStream>>,
        made_by: Arc<Trace>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            io: TokioIo::new(io),
            origin: Origin { made_by, received: Arc::default() },
            _place: place,
        }
    }

    fn begins_anew(&self, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(_))) {
            self.origin.received.store(0, Ordering::Relaxed);
        }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.io.inner().connected().extra(self.origin.clone())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.remaining();
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        let bytes = room - buffer.remaining();
        let before = self.origin.received.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > RECEIVED_BYTES_MAX {
            return Poll::Ready(Err(io::Error::other(TooMuch)));
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.begins_anew(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.begins_anew(&written);
        written
    }
}
