//! The load: callers who ask again at once (closed), or at their own pace (open).

use std::{
    cell::RefCell,
    net::SocketAddr,
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
};

use crate::{
    samples::Samples,
    wire::{self, Chunk, Chunks, Framing},
};

/// Connections that an open load uses at most; past that, calls wait, and the wait counts.
const CONNECTIONS_MAX: usize = 512;
/// What a call may take before it counts as an error.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// How calls arrive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pattern {
    /// So many callers, each with one call at a time and no pause.
    Closed(usize),
    /// So many calls a second, whatever becomes of the earlier ones. Latency counts from when a
    /// call should have started.
    Open(f64),
}

/// Where calls go, and what they are.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) request: Rc<[u8]>,
    pub(crate) counts_events: bool,
}

/// Puts a load on a target. To be run in a `LocalSet`.
pub(crate) async fn run(target: &Target, pattern: Pattern, length: Duration) -> Result<Samples> {
    match pattern {
        Pattern::Closed(callers) => closed(target, callers, length).await,
        Pattern::Open(rate) => open(target, rate, length).await,
    }
}

async fn closed(target: &Target, callers: usize, length: Duration) -> Result<Samples> {
    let mut connections = Vec::new();
    for _ in 0..callers {
        connections.push(Caller::connect(target).await?);
    }
    let end = Instant::now() + length;
    let mut running = JoinSet::new();
    for mut caller in connections {
        running.spawn_local(async move {
            let mut samples = Samples::default();
            while Instant::now() < end {
                caller.call(Instant::now(), &mut samples).await;
            }
            samples
        });
    }
    let mut all = Samples::default();
    while let Some(samples) = running.join_next().await {
        all.merge(samples.context("a caller panicked")?);
    }
    Ok(all)
}

async fn open(target: &Target, rate: f64, length: Duration) -> Result<Samples> {
    ensure!(rate > 0.0, "an open load needs a rate");
    let mut due = pace(rate, length);
    let idle = Rc::new(RefCell::new(Vec::new()));
    let samples = Rc::new(RefCell::new(Samples::default()));
    let mut running = JoinSet::new();
    while let Some(start) = due.recv().await {
        let reused = idle.borrow_mut().pop();
        let mut caller = match reused {
            Some(caller) => caller,
            None if running.len() < CONNECTIONS_MAX => Caller::connect(target).await?,
            None => {
                running.join_next().await;
                match idle.borrow_mut().pop() {
                    Some(caller) => caller,
                    None => continue,
                }
            }
        };
        let (idle, samples) = (idle.clone(), samples.clone());
        running.spawn_local(async move {
            let mut seen = Samples::default();
            caller.call(start, &mut seen).await;
            samples.borrow_mut().merge(seen);
            idle.borrow_mut().push(caller);
        });
        while running.try_join_next().is_some() {}
    }
    while running.join_next().await.is_some() {}
    Ok(samples.take())
}

/// Tells each start when it is due. A thread of its own, as a runtime's timers count whole
/// milliseconds.
fn pace(rate: f64, length: Duration) -> mpsc::UnboundedReceiver<Instant> {
    let (tell, due) = mpsc::unbounded_channel();
    thread::spawn(move || {
        let start = Instant::now();
        let count = (rate * length.as_secs_f64()) as u32;
        for number in 0..count {
            let at = start + Duration::from_secs_f64(f64::from(number) / rate);
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if tell.send(at).is_err() {
                return;
            }
        }
    });
    due
}

/// A keep-alive connection.
struct Caller {
    target: Target,
    stream: TcpStream,
    bytes: Vec<u8>,
    body: Vec<u8>,
}

/// What one call saw, besides what it adds to the samples.
struct Seen {
    first: Instant,
    head_end: usize,
}

impl Caller {
    async fn connect(target: &Target) -> Result<Self> {
        let stream = connect(target.address).await?;
        let (bytes, body) = (Vec::with_capacity(16 << 10), Vec::with_capacity(16 << 10));
        Ok(Self { target: target.clone(), stream, bytes, body })
    }

    /// Makes one call that should have started at `start`.
    async fn call(&mut self, start: Instant, samples: &mut Samples) {
        let exchanged = tokio::time::timeout(CALL_TIMEOUT, self.exchange()).await;
        let end = Instant::now();
        let seen = exchanged.unwrap_or_else(|_| Err(anyhow!("no end after {CALL_TIMEOUT:?}")));
        let Ok(seen) = seen.inspect_err(|error| samples.first_error = Some(error.to_string()))
        else {
            samples.errors += 1;
            // Whatever is left of the old connection, it is of no use. If there is no new one,
            // the next call fails on the old and counts as an error, too.
            if let Ok(stream) = connect(self.target.address).await {
                self.stream = stream;
            }
            return;
        };
        samples.latencies.push(end - start);
        samples.firsts.push(seen.first - start);
        if self.target.counts_events {
            samples.events += memmem::find_iter(&self.body, b"data: ").count();
        }
        let head = &self.bytes[..seen.head_end];
        if let Some(id) = wire::header(head, "x-litellm-call-id").and_then(wire::hex_id) {
            samples.calls.push((id, start));
        }
    }

    /// Sends the request and reads the whole answer.
    async fn exchange(&mut self) -> Result<Seen> {
        self.bytes.clear();
        self.body.clear();
        self.stream.write_all(&self.target.request).await?;
        let head_end = loop {
            self.read().await?;
            if let Some(end) = wire::head_end(&self.bytes) {
                break end;
            }
        };
        let head = &self.bytes[..head_end];
        ensure!(wire::status(head) == 200, "{}", String::from_utf8_lossy(&self.bytes));
        match wire::framing(head) {
            Framing::Length(length) => {
                while self.bytes.len() == head_end && length > 0 {
                    self.read().await?;
                }
                let first = Instant::now();
                while self.bytes.len() < head_end + length {
                    self.read().await?;
                }
                if self.target.counts_events {
                    self.body.extend_from_slice(&self.bytes[head_end..]);
                }
                Ok(Seen { first, head_end })
            }
            Framing::Chunked => self.read_chunks(head_end).await,
        }
    }

    async fn read_chunks(&mut self, head_end: usize) -> Result<Seen> {
        let mut chunks = Chunks::after(head_end);
        let mut first = None;
        loop {
            match chunks.next(&self.bytes) {
                Chunk::Data(range) => {
                    first.get_or_insert_with(Instant::now);
                    self.body.extend_from_slice(&self.bytes[range]);
                }
                Chunk::Incomplete => self.read().await?,
                Chunk::End(_) => {
                    return Ok(Seen { first: first.unwrap_or_else(Instant::now), head_end });
                }
                Chunk::Broken => anyhow::bail!("broken chunks"),
            }
        }
    }

    async fn read(&mut self) -> Result<()> {
        let read = self.stream.read_buf(&mut self.bytes).await?;
        ensure!(read > 0, "closed in the middle of an answer");
        Ok(())
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await.context("could not connect")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{self, STREAM_EVENTS, Shape};

    /// Going direct: what the load counts is what the provider sent.
    #[tokio::test]
    async fn every_shape_is_read_to_its_end_by_both_patterns() {
        let address = upstream::start().expect("loopback has a free port");
        let length = Duration::from_millis(100);
        for shape in [Shape::Plain, Shape::Stream, Shape::Paced, Shape::Long] {
            let request = shape.request(address, "key").into();
            let target = Target { address, request, counts_events: shape.is_stream() };
            for pattern in [Pattern::Closed(3), Pattern::Open(200.0)] {
                let local = tokio::task::LocalSet::new();
                let samples = local.run_until(run(&target, pattern, length)).await.expect("runs");
                let calls = samples.latencies.len();
                assert_eq!(samples.errors, 0, "{shape:?} {pattern:?}");
                assert!(calls >= 3, "{shape:?} {pattern:?}: {calls} calls");
                let events = if shape.is_stream() { calls * STREAM_EVENTS } else { 0 };
                assert_eq!(samples.events, events, "{shape:?} {pattern:?}");
                if pattern == Pattern::Open(200.0) {
                    assert_eq!(calls, 20, "{shape:?}");
                }
            }
        }
    }
}
