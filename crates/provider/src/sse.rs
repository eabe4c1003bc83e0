//! Server-sent events out of a byte stream.

/// One complete event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseEvent {
    /// Its `event` field, if it has one.
    pub name: Option<String>,
    /// Its data lines, joined by line feeds.
    pub data: Vec<u8>,
}

/// Why a byte stream cannot be split any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// One event is larger than allowed.
    #[error("a server-sent event is larger than {bytes_max} bytes")]
    TooLarge {
        /// The bound.
        bytes_max: usize,
    },
}

/// Cuts a byte stream into events, however the bytes arrive.
#[derive(Debug)]
pub struct Splitter {}

impl Splitter {
    /// A splitter whose events may have at most `event_bytes_max` bytes each.
    pub fn new(event_bytes_max: usize) -> Self {
        let _ = event_bytes_max;
        unimplemented!()
    }

    /// Takes bytes and gives the events that they complete, in order.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<SseEvent>, SseError> {
        let _ = bytes;
        unimplemented!()
    }
}

/// All complete events of a recorded stream.
pub fn events(bytes: &[u8]) -> impl Iterator<Item = SseEvent> + '_ {
    let _ = bytes;
    std::iter::empty()
}
