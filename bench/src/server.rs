//! A server cheap enough to be left out of the account: one thread, no parsing beyond the frame.

use std::{
    net::{SocketAddr, TcpListener as StdListener},
    rc::Rc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::wire::{self, Framing};

/// What is written, piece by piece, with a pause between two.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) pieces: Rc<[Vec<u8>]>,
    pub(crate) pause: Duration,
}

impl Answer {
    /// One piece.
    pub(crate) fn whole(bytes: Vec<u8>) -> Self {
        Self { pieces: Rc::new([bytes]), pause: Duration::ZERO }
    }
}

/// Serves on a thread of its own for as long as the program runs. `make` is called there, once,
/// and makes what answers a head and a body.
pub(crate) fn start<H>(make: impl FnOnce() -> H + Send + 'static) -> Result<SocketAddr>
where
    H: Fn(&[u8], &[u8]) -> Answer + 'static,
{
    let listener = StdListener::bind("127.0.0.1:0").context("could not listen on loopback")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::spawn(move || {
        let handler = Rc::new(make());
        tokio::task::LocalSet::new().block_on(&runtime, serve(listener, handler));
    });
    Ok(address)
}

async fn serve<H: Fn(&[u8], &[u8]) -> Answer + 'static>(listener: StdListener, handler: Rc<H>) {
    let listener = TcpListener::from_std(listener).expect("a nonblocking listener in a runtime");
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn_local(answer_all(stream, handler.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Answers until the peer closes, or sends what we cannot read.
async fn answer_all<H: Fn(&[u8], &[u8]) -> Answer>(mut stream: TcpStream, handler: Rc<H>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut bytes = Vec::with_capacity(64 << 10);
    loop {
        let (head, length) = loop {
            if let Some(head) = wire::head_end(&bytes) {
                let Framing::Length(length) = wire::framing(&bytes[..head]) else { return };
                if bytes.len() >= head + length {
                    break (head, length);
                }
                bytes.reserve(head + length - bytes.len());
            }
            if !stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                return;
            }
        };
        let answer = handler(&bytes[..head], &bytes[head..head + length]);
        bytes.drain(..head + length);
        for (index, piece) in answer.pieces.iter().enumerate() {
            if index > 0 {
                tokio::time::sleep(answer.pause).await;
            }
            if stream.write_all(piece).await.is_err() {
                return;
            }
        }
    }
}
