//! Server-sent events out of a byte stream (WHATWG HTML, "Server-sent events").
//!
//! A *frame* is the raw bytes of one event, its blank line included; [`Splitter`] cuts a stream
//! into runs of whole frames without copying more than the frame that a read cut in two.
//! [`SseEvent`] is what a frame says. `id` and `retry` are not read: nobody reconnects to a
//! provider.
//!
//! Invariant: the events do not depend on how the stream was cut into reads.

use std::{borrow::Cow, ops::Range};

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// Text that says a stream in `OpenAI`'s dialect is over.
pub const DONE: &[u8] = b"[DONE]";

const BOM: &[u8] = b"\xef\xbb\xbf";

/// What one event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseEvent<'a> {
    /// Its `event` field, if it has one.
    pub name: Option<Cow<'a, str>>,
    /// Its data lines, joined by line feeds.
    pub data: Cow<'a, [u8]>,
}

impl<'a> SseEvent<'a> {
    /// Reads a frame; `None` if it has no data, as a comment has none.
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        let mut name = None;
        let mut data: Option<Cow<'a, [u8]>> = None;
        for line in lines(frame.strip_prefix(BOM).unwrap_or(frame)) {
            if let Some(value) = field(line, b"data") {
                match &mut data {
                    None => data = Some(Cow::Borrowed(value)),
                    Some(data) => {
                        let data = data.to_mut();
                        data.push(b'\n');
                        data.extend_from_slice(value);
                    }
                }
            } else if let Some(value) = field(line, b"event") {
                name = Some(String::from_utf8_lossy(value));
            }
        }
        data.map(|data| Self { name, data })
    }
}

/// All events of a recorded stream, and what of its end can be read: see [`whole_tail`].
pub fn events(bytes: &[u8]) -> impl Iterator<Item = SseEvent<'_>> {
    let end = frames(bytes).last().map_or(0, |frame| frame.end);
    let tail = whole_tail(&bytes[end..]);
    frames(bytes).filter_map(|frame| SseEvent::parse(&bytes[frame])).chain(tail)
}

/// The whole frames in these bytes, in order, by their ranges.
pub fn frames(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut boundary = Boundary::default();
    let mut start = 0;
    std::iter::from_fn(move || {
        // No more bytes will come that a frame could wait for.
        let end = boundary
            .find_end(bytes, start)
            .or_else(|| (boundary.is_end_due() && start < bytes.len()).then_some(bytes.len()))?;
        Some(std::mem::replace(&mut start, end)..end)
    })
}

/// The event in what follows the last whole frame, if it lacks only its last line feed, or if its
/// data is whole JSON or `[DONE]`: some servers end without the blank line, and the standard would
/// drop their last event.
pub fn whole_tail(bytes: &[u8]) -> Option<SseEvent<'_>> {
    let event = SseEvent::parse(bytes)?;
    let data = event.data.trim_ascii();
    // Where line ends are mixed, a line feed of the frame before may be left over.
    let left_over = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let frame = &bytes[left_over..];
    let is_whole = data == DONE
        || crate::json::is_object(data)
        || frames(frame).next() == Some(0..frame.len());
    is_whole.then_some(event)
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
    /// The stream does not begin as server-sent events do.
    #[error("the stream does not hold server-sent events")]
    NotEvents,
}

/// Cuts a byte stream into runs of whole frames, however the bytes arrive.
#[derive(Debug)]
pub struct Splitter {
    boundary: Boundary,
    held: BytesMut,
    event_bytes_max: usize,
    has_begun: bool,
}

impl Splitter {
    /// A splitter whose frames may have at most `event_bytes_max` bytes each.
    pub fn new(event_bytes_max: usize) -> Self {
        Self {
            boundary: Boundary::default(),
            held: BytesMut::new(),
            event_bytes_max,
            has_begun: false,
        }
    }

    /// Takes bytes and gives the whole frames that are there now: first the one that earlier bytes
    /// began, then the others as a part of `bytes`. Either may be empty.
    pub fn push(&mut self, bytes: &Bytes) -> Result<[Bytes; 2], SseError> {
        self.check_begin(bytes)?;
        let mut joined = Bytes::new();
        let mut from = 0;
        let mut start = 0;
        while let Some(end) = self.boundary.find_end(bytes, from) {
            self.check_size(self.held.len() + end - from)?;
            if !self.held.is_empty() {
                self.held.extend_from_slice(&bytes[..end]);
                joined = self.held.split().freeze();
                start = end;
            }
            from = end;
        }
        self.check_size(self.held.len() + bytes.len() - from)?;
        self.held.extend_from_slice(&bytes[from..]);
        Ok([joined, bytes.slice(start..from)])
    }

    /// What came after the last whole frame; called once the stream has ended.
    pub fn take_tail(&mut self) -> Bytes {
        self.held.split().freeze()
    }

    fn check_size(&self, bytes: usize) -> Result<(), SseError> {
        let bytes_max = self.event_bytes_max;
        if bytes > bytes_max { Err(SseError::TooLarge { bytes_max }) } else { Ok(()) }
    }

    /// Looks at the stream's first bytes, so that a page of HTML is not taken for a quiet stream.
    fn check_begin(&mut self, bytes: &[u8]) -> Result<(), SseError> {
        if self.has_begun {
            return Ok(());
        }
        let longest = BOM.len() + 64;
        let mut begin = self.held.to_vec();
        begin.extend_from_slice(&bytes[..bytes.len().min(longest)]);
        match begins_as_events(&begin) {
            Some(false) => Err(SseError::NotEvents),
            Some(true) => {
                self.has_begun = true;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// Whether a stream that begins so holds events; `None` if it is too short to say.
fn begins_as_events(bytes: &[u8]) -> Option<bool> {
    if BOM.starts_with(bytes) {
        return None;
    }
    let bytes = bytes.strip_prefix(BOM).unwrap_or(bytes).trim_ascii_start();
    let known: [&[u8]; 5] = [b":", b"data", b"event", b"id", b"retry"];
    if known.iter().any(|field| bytes.starts_with(field)) {
        return Some(true);
    }
    if known.iter().any(|field| field.starts_with(bytes)) { None } else { Some(false) }
}

/// Finds the blank lines that end frames, also where reads cut a line's end in two.
#[derive(Debug)]
struct Boundary {
    is_line_empty: bool,
    /// The last line ended with both: a line feed will follow the next carriage return, too.
    in_pairs: bool,
    last: Last,
}

/// What the bytes so far ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Anything but a carriage return.
    Other,
    /// A carriage return: a line feed that follows belongs to it.
    Return,
    /// The carriage return of a blank line that lacks only its line feed. Without that the frame
    /// would be whole to a reader, but not byte for byte what the provider sent.
    Due,
}

impl Default for Boundary {
    fn default() -> Self {
        Self { is_line_empty: true, in_pairs: false, last: Last::Other }
    }
}

impl Boundary {
    /// The end of the first frame that ends at or after `from`.
    fn find_end(&mut self, bytes: &[u8], from: usize) -> Option<usize> {
        let mut at = from;
        while at < bytes.len() {
            let last = std::mem::replace(&mut self.last, Last::Other);
            if last != Last::Other {
                self.in_pairs = bytes[at] == b'\n';
                at += usize::from(self.in_pairs);
                if last == Last::Due {
                    return Some(at);
                }
                continue;
            }
            let Some(offset) = memchr2(b'\n', b'\r', &bytes[at..]) else {
                self.is_line_empty = false;
                return None;
            };
            let is_blank = std::mem::replace(&mut self.is_line_empty, true) && offset == 0;
            at += offset + 1;
            if bytes[at - 1] == b'\n' {
                self.in_pairs = false;
            } else if let Some(next) = bytes.get(at) {
                self.in_pairs = *next == b'\n';
                at += usize::from(self.in_pairs);
            } else if is_blank && self.in_pairs {
                self.last = Last::Due;
                return None;
            } else {
                self.last = Last::Return;
            }
            if is_blank {
                return Some(at);
            }
        }
        None
    }

    /// Whether a frame lacks only its last line feed.
    fn is_end_due(&self) -> bool {
        self.last == Last::Due
    }
}

fn lines(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let end = memchr2(b'\n', b'\r', bytes).unwrap_or(bytes.len());
        let line = &bytes[..end];
        // A `\r\n` counts as two ends: the empty line between says nothing inside a frame.
        bytes = bytes.get(end + 1..).unwrap_or_default();
        Some(line)
    })
}

/// The value of a line, if it is of that field.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(name)?;
    match rest.strip_prefix(b":") {
        Some(value) => Some(value.strip_prefix(b" ").unwrap_or(value)),
        None => rest.is_empty().then_some(rest),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The events of a stream that arrives in these reads, as `name|data`.
    fn split(reads: &[&[u8]], event_bytes_max: usize) -> Result<Vec<String>, SseError> {
        let mut splitter = Splitter::new(event_bytes_max);
        let mut found = Vec::new();
        for read in reads {
            for run in splitter.push(&Bytes::copy_from_slice(read))? {
                let frames = frames(&run).filter_map(|frame| SseEvent::parse(&run[frame]));
                found.extend(frames.map(|event| shown(&event)));
            }
        }
        found.extend(whole_tail(&splitter.take_tail()).map(|event| shown(&event)));
        Ok(found)
    }

    fn shown(event: &SseEvent<'_>) -> String {
        let name = event.name.as_deref().unwrap_or_default();
        format!("{name}|{}", String::from_utf8_lossy(&event.data))
    }

    #[test]
    fn a_frame_keeps_both_bytes_of_its_last_line_s_end() {
        let frames = ["data: a\r\n\r\n", "data: b\n\n", "data: c\r\r", "data: d\r\n\r\n"];
        let mut splitter = Splitter::new(64);
        let mut found = Vec::new();
        for byte in frames.concat().into_bytes() {
            let [joined, rest] = splitter.push(&Bytes::from(vec![byte])).unwrap();
            found.extend([joined, rest].into_iter().filter(|run| !run.is_empty()));
        }
        assert_eq!(found, frames);
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        let cases: &[(&str, &[&str])] = &[
            ("data: a\n\n", &["|a"]),
            ("data:a\r\n\r\ndata: b\r\rdata:  c\n\n", &["|a", "|b", "| c"]),
            ("event: ping\ndata: {}\nid: 7\nretry: 10\n\n", &["ping|{}"]),
            ("data: a\ndata\ndata:b\n\n", &["|a\n\nb"]),
            (": comment\n\n:\n\ndata: a\n\n", &["|a"]),
            ("\u{feff}data: a\n\n", &["|a"]),
            ("\n\n\ndata: a\n\n\n\n", &["|a"]),
            ("event: only a name\n\n", &[]),
            ("database: x\ndata: a\n\n", &["|a"]),
            ("data: a\n\ndata: {\"cut\":", &["|a"]),
            ("data: a\n\ndata: {\"whole\":1}", &["|a", "|{\"whole\":1}"]),
            ("data: a\n\ndata: [DONE]\n", &["|a", "|[DONE]"]),
            ("", &[]),
        ];
        for (stream, expected) in cases {
            assert_eq!(split(&[stream.as_bytes()], 1000).unwrap(), *expected, "{stream:?}");
            let recorded: Vec<_> = events(stream.as_bytes()).map(|event| shown(&event)).collect();
            assert_eq!(recorded, *expected, "{stream:?}");
        }
    }

    #[test]
    fn whole_frames_of_a_read_are_not_copied() {
        let mut splitter = Splitter::new(1000);
        let bytes = Bytes::from_static(b"data: a\n\ndata: b\n\ndata: c");
        let [joined, run] = splitter.push(&bytes).unwrap();
        assert!(joined.is_empty());
        assert_eq!((run.as_ptr(), run.len()), (bytes.as_ptr(), 18));
        let bytes = Bytes::from_static(b"d\n\ndata: e\n\n");
        let [joined, run] = splitter.push(&bytes).unwrap();
        assert_eq!(&joined[..], b"data: cd\n\n");
        assert_eq!((run.as_ptr(), run.len()), (bytes[3..].as_ptr(), 9));
    }

    #[test]
    fn an_event_over_its_bound_is_an_error_whether_it_ends_or_not() {
        let too_large = Err(SseError::TooLarge { bytes_max: 16 });
        assert_eq!(split(&[b"data: 12345678\n\n"], 16).unwrap(), ["|12345678"]);
        assert_eq!(split(&[b"data: 123456789\n\n"], 16), too_large);
        assert_eq!(split(&[b"data: 123", b"45678901234"], 16), too_large);
        assert_eq!(split(&[b"data: 12345", b"6789\n\n"], 16), too_large);
    }

    #[test]
    fn a_stream_that_is_none_is_told_from_a_quiet_one() {
        let no: [&[&[u8]]; 4] =
            [&[b"<!doctype html>"], &[b"{\"a\":1}"], &[b"da", b"y"], &[b"\n\n<"]];
        for reads in no {
            assert_eq!(split(reads, 100), Err(SseError::NotEvents));
        }
        for reads in [&[&b"da"[..], b"ta: a\n\n"], &[b"\xef\xbb", b"\xbfdata: a\n\n"]] {
            assert_eq!(split(reads, 100).unwrap(), ["|a"]);
        }
    }

    fn stream() -> impl Strategy<Value = String> {
        let line = prop::sample::select(vec![
            "data: {\"a\":1}",
            "data:b",
            "data",
            "event: x",
            ": hi",
            "id: 1",
            "",
            "",
            "é",
            "data: é",
        ]);
        let end = prop::sample::select(vec!["\n", "\r\n", "\r"]);
        prop::collection::vec((line, end), 0..20).prop_map(|lines| {
            let lines: String = lines.iter().flat_map(|(line, end)| [*line, *end]).collect();
            format!(":\n{lines}")
        })
    }

    proptest! {
        #[test]
        fn law_cut_anywhere_a_stream_gives_the_same_events(
            stream in stream(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let bytes = stream.as_bytes();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let reads: Vec<_> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            let whole = split(&[bytes], 1000).unwrap();
            prop_assert_eq!(split(&reads, 1000).unwrap(), whole.clone());
            let recorded: Vec<_> = events(bytes).map(|event| shown(&event)).collect();
            prop_assert_eq!(recorded, whole);
        }
    }
}
