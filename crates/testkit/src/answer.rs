//! What a fake provider answers, as data.

use bytes::Bytes;
use serde_json::Value;

use crate::{canned, gate::Gate, upstream::Received, wire};

/// One scripted answer. Made by one of the constructors, then bent by the methods.
#[derive(Debug, Clone)]
pub struct Answer {
    content: Content,
    /// Added to those that the content brings.
    headers: Vec<(String, String)>,
    acts: Vec<(Point, Act)>,
    /// Splits the body into chunks of at most so many bytes.
    chunk_bytes_max: Option<usize>,
}

#[derive(Debug, Clone)]
enum Content {
    /// As the provider of the request's path would answer; the text, or the caller's own.
    Provider { text: Option<String> },
    /// Exactly this.
    Fixed { status: u16, content_type: String, chunks: Vec<Bytes>, framing: Framing },
    /// Bytes that need not be HTTP.
    Raw(Bytes),
}

/// How a body's end is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length,
    Chunked,
}

/// Where in an answer something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// Before the status line.
    Head,
    /// Before the chunk with this index; past the last one: before the end of the body.
    Chunk(usize),
    /// After the whole answer.
    End,
}

/// What happens there.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Pause(Gate),
    /// Says nothing more, for as long as the caller stays.
    Stall,
    /// Closes the connection.
    Close,
    /// Resets the connection.
    Reset,
}

/// An answer made ready for one request.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) head: Vec<u8>,
    pub(crate) chunks: Vec<Bytes>,
    pub(crate) framing: Framing,
    pub(crate) acts: Vec<(Point, Act)>,
}

impl Answer {
    /// Answers as the provider that the path belongs to, streamed if the request asks for it, with
    /// `text` as the model's.
    pub fn text(text: &str) -> Self {
        Self::new(Content::Provider { text: Some(text.to_owned()) })
    }

    /// The same, with the text of the caller's last message as the model's: so an answer can be
    /// told from any other.
    pub fn echo() -> Self {
        Self::new(Content::Provider { text: None })
    }

    /// A JSON body with a status.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::body(status, "application/json", body.to_string())
    }

    /// Any body with a status.
    pub fn body(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        let (content_type, chunks) = (content_type.to_owned(), vec![body.into()]);
        Self::new(Content::Fixed { status, content_type, chunks, framing: Framing::Length })
    }

    /// A status and an error body of `OpenAI`'s shape.
    pub fn error(status: u16, message: &str) -> Self {
        Self::json(status, &canned::openai_error(status, message))
    }

    /// An event stream of these pieces, one chunk each. They are sent as they stand.
    pub fn sse<P: Into<Bytes>>(pieces: impl IntoIterator<Item = P>) -> Self {
        let chunks = pieces.into_iter().map(Into::into).collect();
        let content_type = "text/event-stream".to_owned();
        Self::new(Content::Fixed { status: 200, content_type, chunks, framing: Framing::Chunked })
    }

    /// Bytes instead of an HTTP message; the connection closes after them.
    pub fn garbage(bytes: impl Into<Bytes>) -> Self {
        Self::new(Content::Raw(bytes.into())).act(Point::End, Act::Close)
    }

    /// No answer at all: the connection closes when the request has been read.
    pub fn close() -> Self {
        Self::text("").act(Point::Head, Act::Close)
    }

    /// No answer at all: the connection is reset when the request has been read.
    pub fn reset() -> Self {
        Self::text("").act(Point::Head, Act::Reset)
    }

    /// No answer at all, for as long as the caller stays.
    pub fn stall() -> Self {
        Self::text("").act(Point::Head, Act::Stall)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends the body in chunks of at most `bytes`.
    #[must_use]
    pub fn in_chunks_of(mut self, bytes: usize) -> Self {
        assert!(bytes > 0, "a chunk holds at least a byte");
        self.chunk_bytes_max = Some(bytes);
        self
    }

    /// Waits at the gate before the status line.
    #[must_use]
    pub fn pause_before_head(self, gate: &Gate) -> Self {
        self.act(Point::Head, Act::Pause(gate.clone()))
    }

    /// Waits at the gate once `chunks` have been sent.
    #[must_use]
    pub fn pause_after(self, chunks: usize, gate: &Gate) -> Self {
        self.act(Point::Chunk(chunks), Act::Pause(gate.clone()))
    }

    /// Says nothing more once `chunks` have been sent, but stays connected.
    #[must_use]
    pub fn stall_after(self, chunks: usize) -> Self {
        self.act(Point::Chunk(chunks), Act::Stall)
    }

    /// Closes the connection in the middle of the body, once `chunks` have been sent.
    #[must_use]
    pub fn cut_after(self, chunks: usize) -> Self {
        self.act(Point::Chunk(chunks), Act::Close)
    }

    /// Resets the connection in the middle of the body, once `chunks` have been sent.
    #[must_use]
    pub fn reset_after(self, chunks: usize) -> Self {
        self.act(Point::Chunk(chunks), Act::Reset)
    }

    /// Closes the connection after the whole answer without having announced it: what a pool may
    /// still take for a living connection.
    #[must_use]
    pub fn then_close(self) -> Self {
        self.act(Point::End, Act::Close)
    }

    fn new(content: Content) -> Self {
        Self { content, headers: Vec::new(), acts: Vec::new(), chunk_bytes_max: None }
    }

    fn act(mut self, point: Point, act: Act) -> Self {
        self.acts.push((point, act));
        self
    }

    pub(crate) fn plan(self, request: &Received) -> Plan {
        let (status, content_type, mut chunks, framing) = match self.content {
            Content::Provider { text } => canned_answer(request, text.as_deref()),
            Content::Fixed { status, content_type, chunks, framing } => {
                (status, content_type, chunks, framing)
            }
            Content::Raw(bytes) => {
                let (head, chunks) = (bytes.to_vec(), Vec::new());
                return Plan { head, chunks, framing: Framing::Length, acts: self.acts };
            }
        };
        if let Some(bytes) = self.chunk_bytes_max {
            chunks = chunks.iter().flat_map(|chunk| split(chunk, bytes)).collect();
        }
        let framed = match framing {
            Framing::Chunked => ("transfer-encoding", "chunked".to_owned()),
            Framing::Length => {
                ("content-length", chunks.iter().map(Bytes::len).sum::<usize>().to_string())
            }
        };
        let brought = [("content-type", content_type), framed];
        let mut headers: Vec<_> = brought.map(|(name, value)| (name.to_owned(), value)).into();
        headers.extend(self.headers);
        let head = wire::render_head(&format!("HTTP/1.1 {status} Status"), &headers);
        Plan { head, chunks, framing, acts: self.acts }
    }
}

fn canned_answer(request: &Received, text: Option<&str>) -> (u16, String, Vec<Bytes>, Framing) {
    let body = request.json();
    let text = text.map_or_else(|| canned::last_text(&body), str::to_owned);
    let is_anthropic = request.path.contains("/messages");
    if body["stream"] == true {
        let pieces = if is_anthropic {
            canned::anthropic_stream(&body, &text)
        } else {
            canned::openai_stream(&body, &text)
        };
        let chunks = pieces.into_iter().map(Bytes::from).collect();
        return (200, "text/event-stream".to_owned(), chunks, Framing::Chunked);
    }
    let answer = if is_anthropic {
        canned::anthropic_message(&body, &text)
    } else {
        canned::openai_completion(&body, &text)
    };
    let chunks = vec![Bytes::from(answer.to_string())];
    (200, "application/json".to_owned(), chunks, Framing::Length)
}

fn split(chunk: &Bytes, bytes_max: usize) -> Vec<Bytes> {
    (0..chunk.len())
        .step_by(bytes_max)
        .map(|start| chunk.slice(start..chunk.len().min(start + bytes_max)))
        .collect()
}
