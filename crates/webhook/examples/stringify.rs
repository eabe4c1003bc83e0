//! Answers texts with what `JSON.stringify(JSON.parse(text))` gives, for comparison with a real
//! engine: `tests/clients/stringify.mjs`.
//!
//! Reads frames from standard input until it ends: four bytes of length, big-endian, and a text.
//! Answers each with a frame: the length of what follows, `1` and the bytes written, or `0` and the
//! reason why the text was refused.

use std::io::{self, BufReader, BufWriter, ErrorKind, Read as _, Write as _};

fn main() -> io::Result<()> {
    let (mut input, mut output) = (BufReader::new(io::stdin()), BufWriter::new(io::stdout()));
    let mut length = [0; 4];
    loop {
        match input.read_exact(&mut length) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return output.flush(),
            read => read?,
        }
        let mut text = vec![0; u32::from_be_bytes(length) as usize];
        input.read_exact(&mut text)?;
        let (mark, answer) = match webhook::javascript::stringify(&text) {
            Ok(written) => (b'1', written),
            Err(refused) => (b'0', refused.to_string().into_bytes()),
        };
        let length = u32::try_from(1 + answer.len()).map_err(io::Error::other)?;
        output.write_all(&length.to_be_bytes())?;
        output.write_all(&[mark])?;
        output.write_all(&answer)?;
    }
}
