//! Server-sent events: however a stream is cut into reads, its frames are the same, and no byte is
//! lost or made up.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use provider::sse::{Splitter, events};

/// More than any input has.
const EVENT_BYTES_MAX: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    // The first byte says how long the reads are.
    let Some((&step, stream)) = data.split_first() else { return };
    let all = Bytes::copy_from_slice(stream);
    let mut whole = Splitter::new(EVENT_BYTES_MAX);
    let mut pieces = Splitter::new(EVENT_BYTES_MAX);
    let at_once = push(&mut whole, std::iter::once(all.clone()));
    let cut = all.chunks(usize::from(step).max(1)).map(Bytes::copy_from_slice);
    let bit_by_bit = push(&mut pieces, cut);
    if let (Some(at_once), Some(bit_by_bit)) = (at_once, bit_by_bit) {
        assert_eq!(at_once, bit_by_bit, "the cuts changed the stream");
        assert_eq!(at_once, stream, "bytes were lost or made up");
    }
    events(stream).for_each(drop);
});

/// All that the splitter gives, its tail included; `None` if it refuses the stream.
fn push(splitter: &mut Splitter, reads: impl Iterator<Item = Bytes>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for read in reads {
        for run in splitter.push(&read).ok()? {
            out.extend_from_slice(&run);
        }
    }
    out.extend_from_slice(&splitter.take_tail());
    Some(out)
}
