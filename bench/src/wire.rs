//! As much of HTTP/1.1 as peers need that are known to speak it well.

use std::ops::Range;

use memchr::memmem;

/// Where the head ends, with the empty line after it, once all of it is there.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

/// The value of a header; the name may be written in any case.
pub(crate) fn header<'h>(head: &'h [u8], name: &str) -> Option<&'h [u8]> {
    let lines = head.split(|byte| *byte == b'\n');
    lines.into_iter().find_map(|line| {
        let (found, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        found.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
    })
}

/// The status of an answer, or 0.
pub(crate) fn status(head: &[u8]) -> u16 {
    head.get(9..12).and_then(decimal).unwrap_or_default() as u16
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(usize),
    Chunked,
}

/// How the body after this head ends.
pub(crate) fn framing(head: &[u8]) -> Framing {
    match header(head, "content-length").and_then(decimal) {
        Some(length) => Framing::Length(length),
        None if header(head, "transfer-encoding").is_some() => Framing::Chunked,
        None => Framing::Length(0),
    }
}

fn decimal(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Finds the chunks of a chunked body as it grows.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    /// What has been looked at.
    at: usize,
}

/// What [`Chunks::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// The bytes of a chunk.
    Data(Range<usize>),
    /// The last, empty chunk: the body ends here.
    End(usize),
    /// Not all of the next chunk is there yet.
    Incomplete,
    /// These are no chunks.
    Broken,
}

impl Chunks {
    /// Starts at the first byte after the head.
    pub(crate) fn after(head_end: usize) -> Self {
        Self { at: head_end }
    }

    /// The next chunk in what has come so far.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Chunk {
        let Some(line) = bytes.get(self.at..).and_then(|rest| memmem::find(rest, b"\r\n")) else {
            return Chunk::Incomplete;
        };
        let size = std::str::from_utf8(&bytes[self.at..self.at + line]).ok();
        let Some(size) = size.and_then(|size| usize::from_str_radix(size, 16).ok()) else {
            return Chunk::Broken;
        };
        let start = self.at + line + 2;
        let end = start + size;
        if bytes.len() < end + 2 {
            return Chunk::Incomplete;
        }
        self.at = end + 2;
        if size == 0 { Chunk::End(self.at) } else { Chunk::Data(start..end) }
    }
}

/// The 32 hexadecimal digits of an id that starts here, with or without hyphens.
pub(crate) fn hex_id(text: &[u8]) -> Option<u128> {
    let digits = text.iter().filter(|byte| **byte != b'-').take(32);
    let (id, count) = digits
        .map_while(|byte| (*byte as char).to_digit(16))
        .fold((0_u128, 0), |(id, count), digit| (id << 4 | u128::from(digit), count + 1));
    (count == 32).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_whatever_the_case_of_its_headers() {
        let answer = b"HTTP/1.1 429 Too Many\r\nServer: x\r\nCONTENT-length: 12\r\n\r\nbody";
        let end = head_end(answer).expect("the head is whole");
        assert_eq!(&answer[end..], b"body");
        assert_eq!(status(&answer[..end]), 429);
        assert_eq!(framing(&answer[..end]), Framing::Length(12));
        assert_eq!(header(&answer[..end], "server"), Some(&b"x"[..]));
        assert_eq!(header(&answer[..end], "serve"), None);
    }

    #[test]
    fn chunks_are_found_as_they_grow() {
        let body = b"head5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n";
        let mut chunks = Chunks::after(4);
        let mut found = Vec::new();
        for end in 0..=body.len() {
            loop {
                match chunks.next(&body[..end]) {
                    Chunk::Incomplete => break,
                    Chunk::Data(range) => found.push(&body[range]),
                    Chunk::End(at) => {
                        assert_eq!((at, end), (body.len(), body.len()));
                        break;
                    }
                    Chunk::Broken => unreachable!("well-formed"),
                }
            }
        }
        assert_eq!(found, [&b"hello"[..], b"0123456789"]);
        assert_eq!(Chunks::default().next(b"zz\r\n"), Chunk::Broken);
    }

    #[test]
    fn an_id_reads_the_same_with_and_without_hyphens() {
        let plain = hex_id(b"0198f00dcafe7abc8def0123456789ab_completion");
        assert_eq!(plain, Some(0x0198_f00d_cafe_7abc_8def_0123_4567_89ab));
        assert_eq!(hex_id(b"0198f00d-cafe-7abc-8def-0123456789ab\""), plain);
        assert_eq!(hex_id(b"0198f00d-cafe"), None);
    }
}
