//! A caller of the gateway, close to the wire: it sees cut bodies, and leaves in the middle.

use std::{io, net::SocketAddr};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{
    DEADLINE,
    wire::{self, Connection, Rest},
};

/// A caller. Each call opens a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    address: SocketAddr,
    headers: Vec<(String, String)>,
}

/// What a caller saw of a call, however it went.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The status, if a head came at all.
    pub status: Option<u16>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// As much of the body as came.
    pub body: Vec<u8>,
    /// Whether the body came to its announced end.
    pub is_whole: bool,
}

impl Seen {
    /// The status; 0 if no head came.
    pub fn code(&self) -> u16 {
        self.status.unwrap_or_default()
    }

    /// The first value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        wire::header(&self.headers, name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The `data:` of each event of a stream, in order, `[DONE]` included.
    pub fn data(&self) -> Vec<String> {
        let text = self.text();
        text.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
    }

    /// The contents of a stream's deltas or of a plain answer's message, joined.
    pub fn content(&self) -> String {
        let content = |chunk: &Value| {
            let choice = &chunk["choices"][0];
            let text = choice["delta"]["content"].as_str();
            text.or(choice["message"]["content"].as_str()).unwrap_or_default().to_owned()
        };
        if self.header("content-type").is_some_and(|v| v.starts_with("text/event-stream")) {
            let chunks = self.data().into_iter();
            return chunks
                .filter_map(|data| serde_json::from_str::<Value>(&data).ok())
                .map(|chunk| content(&chunk))
                .collect();
        }
        content(&self.json())
    }
}

/// An answer being read. Dropping it is leaving.
#[derive(Debug)]
pub struct Open {
    /// The status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    connection: Connection,
    rest: Rest,
}

impl Open {
    /// The next bytes of the body as they come; `None` at its end.
    pub async fn next_piece(&mut self) -> io::Result<Option<Bytes>> {
        within(self.connection.read_piece(&mut self.rest)).await
    }

    /// Reads on until what came holds `text`, and returns what came; what comes with it in one
    /// piece is part of it.
    pub async fn read_until(&mut self, text: &str) -> io::Result<String> {
        let mut seen = Vec::new();
        loop {
            let piece = self.next_piece().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            seen.extend_from_slice(&piece);
            let so_far = String::from_utf8_lossy(&seen);
            if so_far.contains(text) {
                return Ok(so_far.into_owned());
            }
        }
    }

    /// Reads the rest.
    pub async fn finish(mut self) -> Seen {
        let mut seen =
            Seen { status: Some(self.status), headers: self.headers.clone(), ..Seen::default() };
        loop {
            match self.next_piece().await {
                Ok(Some(piece)) => seen.body.extend_from_slice(&piece),
                Ok(None) => return Seen { is_whole: true, ..seen },
                Err(_) => return seen,
            }
        }
    }

    /// Leaves by a reset instead of a close.
    pub fn reset(self) -> io::Result<()> {
        self.connection.reset()
    }
}

impl Client {
    /// A caller without a key.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, headers: Vec::new() }
    }

    /// The same caller with a key (`Authorization: Bearer`).
    #[must_use]
    pub fn with_key(self, key: &str) -> Self {
        self.with_header("authorization", &format!("Bearer {key}"))
    }

    /// The same caller with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Seen {
        self.request("GET", path, b"").await
    }

    /// `POST path` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Seen {
        self.request("POST", path, body.to_string().as_bytes()).await
    }

    /// `POST /v1/chat/completions` with one user message.
    pub async fn chat(&self, model: &str, text: &str) -> Seen {
        self.post("/v1/chat/completions", &chat_body(model, text)).await
    }

    /// The same, streamed, read to its end.
    pub async fn chat_stream(&self, model: &str, text: &str) -> Seen {
        match self.open_stream(model, text).await {
            Ok(open) => open.finish().await,
            Err(_) => Seen::default(),
        }
    }

    /// The same, streamed; returns when the head has come.
    pub async fn open_stream(&self, model: &str, text: &str) -> io::Result<Open> {
        let mut body = chat_body(model, text);
        body["stream"] = true.into();
        self.open("POST", "/v1/chat/completions", body.to_string().as_bytes()).await
    }

    /// Sends any request and reads what comes. Never fails: what went wrong shows in what was seen.
    pub async fn request(&self, method: &str, path: &str, body: &[u8]) -> Seen {
        match self.open(method, path, body).await {
            Ok(open) => open.finish().await,
            Err(_) => Seen::default(),
        }
    }

    /// Sends any request; returns when the head has come.
    pub async fn open(&self, method: &str, path: &str, body: &[u8]) -> io::Result<Open> {
        let mut headers: Vec<_> = [
            ("host", self.address.to_string()),
            ("content-type", "application/json".to_owned()),
            ("content-length", body.len().to_string()),
            ("connection", "close".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        headers.extend_from_slice(&self.headers);
        let mut message = wire::render_head(&format!("{method} {path} HTTP/1.1"), &headers);
        message.extend_from_slice(body);
        self.open_raw(&message).await
    }

    /// Sends these bytes, whatever they are; returns when the head of an answer has come.
    pub async fn open_raw(&self, message: &[u8]) -> io::Result<Open> {
        within(async {
            let mut connection = Connection::new(TcpStream::connect(self.address).await?);
            // A server may answer and close before it has read all; the answer still counts.
            let written = connection.write(message).await;
            let head = match connection.read_head().await {
                Ok(Some(head)) => head,
                Ok(None) => {
                    return Err(written.err().unwrap_or(io::ErrorKind::UnexpectedEof.into()));
                }
                Err(error) => return Err(error),
            };
            let status = head.first_line.split(' ').nth(1).and_then(|code| code.parse().ok());
            let status = status.ok_or(io::ErrorKind::InvalidData)?;
            let rest = Rest::of(&head.headers, Rest::UntilClose);
            Ok(Open { status, headers: head.headers, connection, rest })
        })
        .await
    }
}

/// A chat request with one user message.
pub fn chat_body(model: &str, text: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": text}]})
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(DEADLINE, work).await.map_err(|_| io::ErrorKind::TimedOut)?
}
