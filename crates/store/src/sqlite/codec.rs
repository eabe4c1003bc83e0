//! Records as bytes, and back.
//!
//! A block is frames one after another, for consecutive sequences. A frame is, all numbers little
//! endian: the length of what follows the checksum (`u64`), its CRC-32 (`u32`), the kind and the
//! version of the payload (a byte each), the call's id (16 bytes), the payload. The payload of an
//! admission or of a piece is JSON; that of an outcome is its facts as JSON, the request and the
//! response, each after its length (`u64`), the bodies also after a byte that says whether they
//! are cut. Bodies are never escaped, so that they cost a copy and no more.
//!
//! Invariant: what decodes is what was encoded; anything else is a `Flaw`, never a guess.

use std::sync::Arc;

use bytes::Bytes;
use domain::{
    exchange::{Exchange, Payload},
    id::CallId,
    record::{Entry, Record, Sequence},
};

/// Bytes of a frame before its checksummed part.
const PREFIX: usize = 12;
const VERSION: u8 = 1;
/// A body that takes at least this share of its block is not copied out of it.
const SHARE_OF_BLOCK: usize = 4;

/// What kind of record a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Admitted = 1,
    Captured = 2,
    Sealed = 3,
}

impl Kind {
    pub(super) const fn of(record: &Record) -> Self {
        match record {
            Record::Admitted(_) => Self::Admitted,
            Record::Captured(_) => Self::Captured,
            Record::Sealed(_) => Self::Sealed,
        }
    }
}

/// A frame whose checksum is right, not yet decoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) kind: Kind,
    pub(super) call: CallId,
    pub(super) payload: &'a [u8],
}

/// Stored bytes that are not what was written, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Flaw(pub(super) String);

/// Appends the record's frame to `block`.
pub(super) fn encode(record: &Record, block: &mut Vec<u8>) {
    let start = block.len();
    block.extend_from_slice(&[0; PREFIX]);
    block.extend_from_slice(&[Kind::of(record) as u8, VERSION]);
    block.extend_from_slice(record.call_id().as_bytes());
    match record {
        Record::Admitted(call) => encode_json(&**call, block),
        Record::Captured(captured) => encode_json(&**captured, block),
        Record::Sealed(exchange) => {
            encode_sized(block, |block| encode_json(&exchange.facts, block));
            for body in [&exchange.request, &exchange.response] {
                block.push(u8::from(body.truncated));
                block.extend_from_slice(&(body.bytes.len() as u64).to_le_bytes());
                block.extend_from_slice(&body.bytes);
            }
        }
    }
    let length = (block.len() - start - PREFIX) as u64;
    let crc = crc32fast::hash(&block[start + PREFIX..]);
    block[start..start + 8].copy_from_slice(&length.to_le_bytes());
    block[start + 8..start + PREFIX].copy_from_slice(&crc.to_le_bytes());
}

fn encode_json<T: serde::Serialize>(value: &T, block: &mut Vec<u8>) {
    serde_json::to_writer(block, value).expect("records are plain data, and memory does not fail");
}

fn encode_sized(block: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = block.len();
    block.extend_from_slice(&[0; 8]);
    write(block);
    let length = (block.len() - start - 8) as u64;
    block[start..start + 8].copy_from_slice(&length.to_le_bytes());
}

/// The frames of a block, each checked; the first flaw ends them.
pub(super) fn frames(block: &[u8]) -> impl Iterator<Item = Result<Frame<'_>, Flaw>> {
    let mut rest = block;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let frame = split_frame(&mut rest);
        if frame.is_err() {
            rest = &[];
        }
        Some(frame)
    })
}

fn split_frame<'a>(rest: &mut &'a [u8]) -> Result<Frame<'a>, Flaw> {
    let mut prefix = Cursor(rest);
    let length = prefix.length()?;
    let crc = u32::from_le_bytes(prefix.array()?);
    let body = prefix.take(length)?;
    *rest = prefix.0;
    if crc32fast::hash(body) != crc {
        return Err(Flaw("its checksum does not fit".to_owned()));
    }
    let mut head = Cursor(body);
    let [kind, version] = head.array()?;
    let call = CallId::from_bytes(head.array()?);
    let kind = match kind {
        1 => Kind::Admitted,
        2 => Kind::Captured,
        3 => Kind::Sealed,
        other => return Err(Flaw(format!("its kind {other} is unknown"))),
    };
    if version != VERSION {
        return Err(Flaw(format!("its version is {version}, and {VERSION} is the only one known")));
    }
    Ok(Frame { kind, call, payload: head.0 })
}

/// The entries of a block that begins at `first`. Large bodies share the block's memory, so a
/// kept entry keeps at most `SHARE_OF_BLOCK` times its own size.
pub(super) fn decode_block(
    first: Sequence,
    block: &Bytes,
) -> Result<Vec<Arc<Entry>>, (Sequence, Flaw)> {
    let mut sequence = first;
    let mut entries = Vec::new();
    for frame in frames(block) {
        let record =
            frame.and_then(|frame| decode(&frame, block)).map_err(|flaw| (sequence, flaw))?;
        entries.push(Arc::new(Entry { sequence, record }));
        sequence = sequence.next();
    }
    Ok(entries)
}

/// The record in a frame of `block`.
pub(super) fn decode(frame: &Frame<'_>, block: &Bytes) -> Result<Record, Flaw> {
    Ok(match frame.kind {
        Kind::Admitted => Record::Admitted(Arc::new(decode_json(frame.payload)?)),
        Kind::Captured => Record::Captured(Arc::new(decode_json(frame.payload)?)),
        Kind::Sealed => {
            let mut cursor = Cursor(frame.payload);
            let length = cursor.length()?;
            let facts = decode_json(cursor.take(length)?)?;
            let request = decode_body(&mut cursor, block)?;
            let response = decode_body(&mut cursor, block)?;
            Record::Sealed(Arc::new(Exchange { facts, request, response }))
        }
    })
}

pub(super) fn decode_json<'a, T: serde::Deserialize<'a>>(json: &'a [u8]) -> Result<T, Flaw> {
    serde_json::from_slice(json).map_err(|error| Flaw(format!("its JSON does not fit: {error}")))
}

fn decode_body(cursor: &mut Cursor<'_>, block: &Bytes) -> Result<Payload, Flaw> {
    let [truncated] = cursor.array()?;
    let length = cursor.length()?;
    let slice = cursor.take(length)?;
    let bytes = if slice.len() >= block.len() / SHARE_OF_BLOCK {
        block.slice_ref(slice)
    } else {
        Bytes::copy_from_slice(slice)
    };
    Ok(Payload { bytes, truncated: truncated != 0 })
}

/// Takes bytes off the front of a slice.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Flaw> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(Self::short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(Self::short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn length(&mut self) -> Result<usize, Flaw> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| Self::short())
    }

    fn short() -> Flaw {
        Flaw("it ends too early".to_owned())
    }
}
