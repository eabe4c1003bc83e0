//! HTTP/1.1 by hand, for both sides: enough to talk to well-behaved peers, and to misbehave.

use std::io;

use bytes::Bytes;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// What a peer's head may take; more is an error, so that a test cannot eat the memory.
const HEAD_BYTES_MAX: usize = 4 << 20;

/// Headers as they came, names in lower case.
pub(crate) type Headers = Vec<(String, String)>;

/// The first value of a header, by its lower-case name.
pub(crate) fn header<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

/// A head as bytes, with the empty line that ends it.
pub(crate) fn render_head(first_line: &str, headers: &[(String, String)]) -> Vec<u8> {
    let mut head = first_line.to_owned();
    for (name, value) in headers {
        head.extend(["\r\n", name, ": ", value]);
    }
    head.push_str("\r\n\r\n");
    head.into_bytes()
}

/// One connection, either side of it.
#[derive(Debug)]
pub(crate) struct Connection {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

/// The first line of a message and its headers.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) first_line: String,
    pub(crate) headers: Headers,
}

/// How much of a body is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    Bytes(usize),
    Chunks,
    UntilClose,
}

impl Rest {
    /// How a message's body is framed, by its headers; `without` is for a message with neither.
    pub(crate) fn of(headers: &[(String, String)], without: Self) -> Self {
        if header(headers, "transfer-encoding").is_some_and(|v| v.contains("chunked")) {
            return Self::Chunks;
        }
        let length = header(headers, "content-length").and_then(|v| v.trim().parse().ok());
        length.map_or(without, Self::Bytes)
    }
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Self {
        // Only slower without it.
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        Self { reader: BufReader::new(reader), writer }
    }

    /// Reads a head; `None` if the peer closed before its first byte.
    pub(crate) async fn read_head(&mut self) -> io::Result<Option<Head>> {
        let Some(first_line) = self.read_line().await? else { return Ok(None) };
        let mut headers = Headers::new();
        let mut bytes = first_line.len();
        loop {
            let line = self.read_line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if line.is_empty() {
                return Ok(Some(Head { first_line, headers }));
            }
            bytes += line.len();
            if bytes > HEAD_BYTES_MAX {
                return Err(io::Error::other("head is too large"));
            }
            let (name, value) = line.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Reads the next piece of a body as it comes; `None` at its end. An end that comes too early
    /// is an `UnexpectedEof`.
    pub(crate) async fn read_piece(&mut self, rest: &mut Rest) -> io::Result<Option<Bytes>> {
        match *rest {
            Rest::Bytes(0) => Ok(None),
            Rest::Bytes(left) => {
                let available = self.reader.fill_buf().await?;
                if available.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let taken = available.len().min(left);
                let piece = Bytes::copy_from_slice(&available[..taken]);
                self.reader.consume(taken);
                *rest = Rest::Bytes(left - taken);
                Ok(Some(piece))
            }
            Rest::Chunks => self.read_chunk(rest).await,
            Rest::UntilClose => {
                let available = self.reader.fill_buf().await?;
                let piece = Bytes::copy_from_slice(available);
                self.reader.consume(piece.len());
                Ok((!piece.is_empty()).then_some(piece))
            }
        }
    }

    /// Reads a whole body.
    pub(crate) async fn read_body(&mut self, mut rest: Rest) -> io::Result<Bytes> {
        let mut body = Vec::new();
        while let Some(piece) = self.read_piece(&mut rest).await? {
            body.extend_from_slice(&piece);
        }
        Ok(body.into())
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes).await
    }

    /// Writes one chunk of a chunked body.
    pub(crate) async fn write_chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut framed = format!("{:x}\r\n", bytes.len()).into_bytes();
        framed.extend_from_slice(bytes);
        framed.extend_from_slice(b"\r\n");
        self.write(&framed).await
    }

    /// Returns when the peer has closed or reset the connection. Bytes that it sends meanwhile stay
    /// unread; from then on nothing can be noticed.
    pub(crate) async fn peer_gone(&mut self) {
        match self.reader.fill_buf().await {
            Ok(pipelined) if !pipelined.is_empty() => std::future::pending().await,
            _ => {}
        }
    }

    /// Ends the connection with a reset instead of a close.
    pub(crate) fn reset(self) -> io::Result<()> {
        self.writer.as_ref().set_zero_linger()?;
        // Else dropping it would shut the connection down in good order first.
        self.writer.forget();
        Ok(())
    }

    async fn read_line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        (&mut self.reader).take(HEAD_BYTES_MAX as u64).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Ok(None);
        }
        if line.pop() != Some(b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Some(String::from_utf8_lossy(&line).into_owned()))
    }

    async fn read_chunk(&mut self, rest: &mut Rest) -> io::Result<Option<Bytes>> {
        let size = self.read_line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
        let mut chunk = vec![0; size];
        self.reader.read_exact(&mut chunk).await?;
        let end = self.read_line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if !end.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if size == 0 {
            *rest = Rest::Bytes(0);
            return Ok(None);
        }
        Ok(Some(chunk.into()))
    }
}
