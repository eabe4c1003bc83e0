//! Records as bytes, and back.
//!
//! A block is frames one after another, for consecutive sequences. A frame is, all numbers little
//! endian: the length of what follows the checksum (`u64`), its CRC-32 (`u32`), the kind and the
//! version of the payload (a byte each), the call's id (16 bytes, zero for a note), the payload. The
//! payload of an admission, of a piece or of a note is JSON; that of an outcome is its facts as JSON, the request and the
//! response, each after its length (`u64`), the bodies also after a byte that says whether they
//! are cut. Bodies are never escaped, so that they cost a copy and no more.
//!
//! Invariant: what decodes is what was encoded; anything else is a `Flaw`, never a guess.

use std::sync::Arc;

use bytes::Bytes;
use domain::{
    exchange::{Exchange, Payload},
    id::CallId,
    record::{Record, Sequence},
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
    Noted = 4,
}

impl Kind {
    pub(super) const fn of(record: &Record) -> Self {
        match record {
            Record::Admitted(_) => Self::Admitted,
            Record::Captured(_) => Self::Captured,
            Record::Sealed(_) => Self::Sealed,
            Record::Noted(_) => Self::Noted,
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
    let call = record.call_id().map_or([0; 16], |id| *id.as_bytes());
    block.extend_from_slice(&call);
    match record {
        Record::Admitted(call) => encode_json(&**call, block),
        Record::Captured(captured) => encode_json(&**captured, block),
        Record::Noted(note) => encode_json(&**note, block),
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

/// What stands at a place of a block: a frame, or what is wrong there.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) first: Sequence,
    /// `first` again, unless a flaw takes the records behind it along.
    pub(super) last: Sequence,
    pub(super) frame: Result<Frame<'a>, Flaw>,
}

/// The frames of a block, which holds the records `first..=last`, each checked. A flaw leaves the frames around it: lengths say where the next one begins, if they lead to the
/// block's end with the right count. If not, what follows begins at the first whole frame from
/// which they do lead there, and its distance from the end is its sequence.
pub(super) fn places(
    block: &[u8],
    first: Sequence,
    last: Sequence,
) -> impl Iterator<Item = Place<'_>> {
    let mut rest = block;
    let mut next = first;
    std::iter::from_fn(move || {
        if next > last {
            return None;
        }
        let at = next;
        let mut behind = rest;
        let frame = split_frame(&mut behind);
        let mut more = 0;
        if frame.is_err() {
            (behind, more) = resume(rest, behind, last.0 - at.0);
        }
        rest = behind;
        let end = Sequence(at.0 + more);
        next = end.next();
        Some(Place { first: at, last: end, frame })
    })
}

/// Where reading goes on after the flawed frame at the beginning of `rest`, and how many records
/// after it are lost too. `behind` is what its length leads to; `wanted` records follow it.
fn resume<'a>(rest: &'a [u8], behind: &'a [u8], wanted: u64) -> (&'a [u8], u64) {
    if behind.len() < rest.len() && lengths_to_end(behind, wanted) == Some(wanted) {
        return (behind, 0);
    }
    (1..rest.len())
        .map(|at| &rest[at..])
        .filter(|from| has_head(from))
        .find_map(|mut from| {
            let begin = from;
            let count = lengths_to_end(from, wanted)?;
            split_frame(&mut from).ok()?;
            Some((begin, wanted - count))
        })
        .unwrap_or((&[], wanted))
}

/// Whether a kind and a version stand where those of a frame would.
fn has_head(bytes: &[u8]) -> bool {
    bytes.get(PREFIX..PREFIX + 2).is_some_and(|head| {
        (Kind::Admitted as u8..=Kind::Noted as u8).contains(&head[0]) && head[1] == VERSION
    })
}

/// How many frames there are by their lengths, if those lead right to the end in `most` at most.
fn lengths_to_end(bytes: &[u8], most: u64) -> Option<u64> {
    let mut rest = Cursor(bytes);
    let mut count = 0;
    while !rest.0.is_empty() {
        if count == most {
            return None;
        }
        let length = rest.length().ok()?;
        rest.take(PREFIX - 8).ok()?;
        rest.take(length).ok()?;
        count += 1;
    }
    Some(count)
}

fn split_frame<'a>(rest: &mut &'a [u8]) -> Result<Frame<'a>, Flaw> {
    if rest.is_empty() {
        return Err(Flaw("its bytes are missing".to_owned()));
    }
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
        4 => Kind::Noted,
        other => return Err(Flaw(format!("its kind {other} is unknown"))),
    };
    if version != VERSION {
        return Err(Flaw(format!("its version is {version}, and {VERSION} is the only one known")));
    }
    Ok(Frame { kind, call, payload: head.0 })
}

/// The record in a frame of `block`. Large bodies share the block's memory, so a kept entry keeps at
/// most `SHARE_OF_BLOCK` times its own size.
pub(super) fn decode(frame: &Frame<'_>, block: &Bytes) -> Result<Record, Flaw> {
    Ok(match frame.kind {
        Kind::Admitted => Record::Admitted(Arc::new(decode_json(frame.payload)?)),
        Kind::Captured => Record::Captured(Arc::new(decode_json(frame.payload)?)),
        Kind::Noted => Record::Noted(Arc::new(decode_json(frame.payload)?)),
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
