//! JSON as JavaScript writes it: the bytes of `JSON.stringify(JSON.parse(text))` (ECMA-262,
//! sections 25.5.1 and 25.5.2, "`JSON.parse`" and "`JSON.stringify`").
//!
//! Receivers in JavaScript check a signature over the body that they parsed and wrote again, so a
//! body for them must be what their own engine writes. Texts come from outside: what is no JSON is
//! refused, and nothing else is decided about it.
//!
//! Invariant: one pass over its own output changes nothing, and memory is bounded by the text's
//! length.

use std::ops::Range;

/// How deep lists and objects may stand in each other. It bounds the stack; engines stop at some
/// thousands.
pub const DEPTH_MAX: usize = 128;

/// The largest index of an array (ECMA-262, 6.1.7): names up to it come first, in order of number.
const INDEX_MAX: u32 = u32::MAX - 1;

/// Digits that an integer may have for an `f64` to hold it surely.
const EXACT_DIGITS: usize = 15;

/// Objects of up to this many members are searched for names that stand twice without sorting.
const FEW_MEMBERS: usize = 8;

/// Why a text could not be written as JavaScript does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StringifyError {
    /// `JSON.parse` would throw here.
    #[error("text is not JSON at byte {at}")]
    Syntax {
        /// Where the first byte stands that does not fit.
        at: usize,
    },
    /// It is nested deeper than [`DEPTH_MAX`].
    #[error("JSON is nested deeper than {DEPTH_MAX}")]
    TooDeep,
}

/// Writes a JSON text as JavaScript would after reading it: no spaces, numbers in their shortest
/// form, names that are array indices first, of equal names the last value at the first place.
pub fn stringify(json: &[u8]) -> Result<Vec<u8>, StringifyError> {
    if let Err(error) = std::str::from_utf8(json) {
        return Err(StringifyError::Syntax { at: error.valid_up_to() });
    }
    let mut pass = Pass { json, at: 0, out: Vec::with_capacity(json.len()), members: Vec::new() };
    pass.value(0)?;
    pass.skip_space();
    if pass.at < json.len() { Err(pass.misfit()) } else { Ok(pass.out) }
}

/// A number as JavaScript writes it in JSON: `null` if it is not finite, `0` for -0.
pub fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !value.is_finite() {
        return "null".to_owned();
    }
    ryu_js::Buffer::new().format_finite(value).to_owned()
}

/// One way through a text: bytes are read at `at` and written to the end of `out`.
struct Pass<'a> {
    /// Valid UTF-8.
    json: &'a [u8],
    at: usize,
    out: Vec<u8>,
    /// The members of all objects that are open, those of the innermost last.
    members: Vec<Member>,
}

/// Where a member stands in the output: `"name":` and the value after it.
struct Member {
    name: Range<usize>,
    value: Range<usize>,
}

impl Pass<'_> {
    fn misfit(&self) -> StringifyError {
        StringifyError::Syntax { at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.json.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes a byte if it is the next one.
    fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Result<(), StringifyError> {
        if self.takes(byte) { Ok(()) } else { Err(self.misfit()) }
    }

    fn value(&mut self, depth: usize) -> Result<(), StringifyError> {
        self.skip_space();
        match self.peek() {
            Some(b'{' | b'[') if depth == DEPTH_MAX => Err(StringifyError::TooDeep),
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.list(depth + 1),
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            _ => Err(self.misfit()),
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), StringifyError> {
        word.iter().try_for_each(|byte| self.expect(*byte))?;
        self.out.extend_from_slice(word);
        Ok(())
    }

    fn list(&mut self, depth: usize) -> Result<(), StringifyError> {
        self.at += 1;
        self.out.push(b'[');
        self.skip_space();
        if !self.takes(b']') {
            loop {
                self.value(depth)?;
                self.skip_space();
                if self.takes(b']') {
                    break;
                }
                self.expect(b',')?;
                self.out.push(b',');
            }
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<(), StringifyError> {
        self.at += 1;
        self.out.push(b'{');
        let first = self.members.len();
        self.skip_space();
        if !self.takes(b'}') {
            loop {
                self.member(depth)?;
                self.skip_space();
                if self.takes(b'}') {
                    break;
                }
                self.expect(b',')?;
                self.out.push(b',');
            }
        }
        if self.is_out_of_order(first) {
            self.put_in_order(first);
        }
        self.members.truncate(first);
        self.out.push(b'}');
        Ok(())
    }

    fn member(&mut self, depth: usize) -> Result<(), StringifyError> {
        self.skip_space();
        if self.peek() != Some(b'"') {
            return Err(self.misfit());
        }
        let start = self.out.len();
        self.string()?;
        self.skip_space();
        self.expect(b':')?;
        self.out.push(b':');
        let middle = self.out.len();
        self.value(depth)?;
        self.members.push(Member { name: start..middle, value: middle..self.out.len() });
        Ok(())
    }

    /// The name of a member as it was written, with its quotes and its colon. Equal names are
    /// written alike, whatever escapes they came with.
    fn name(&self, member: &Member) -> &[u8] {
        &self.out[member.name.clone()]
    }

    fn is_out_of_order(&self, first: usize) -> bool {
        let members = &self.members[first..];
        if members.iter().any(|member| index(self.name(member)).is_some()) {
            return true;
        }
        if members.len() <= FEW_MEMBERS {
            let mut before = members.iter().enumerate();
            return before.any(|(position, member)| {
                members[..position].iter().any(|other| self.name(other) == self.name(member))
            });
        }
        let mut names: Vec<&[u8]> = members.iter().map(|member| self.name(member)).collect();
        names.sort_unstable();
        names.windows(2).any(|pair| pair[0] == pair[1])
    }

    /// Writes the members of the innermost object anew, in JavaScript's order.
    fn put_in_order(&mut self, first: usize) {
        let members: Vec<Member> = self.members.drain(first..).collect();
        let Some(start) = members.first().map(|member| member.name.start) else { return };
        let mut by_name: Vec<usize> = (0..members.len()).collect();
        by_name.sort_by_key(|position| self.name(&members[*position]));
        // Of members of one name, those that are left: the first's place, the last's value.
        let mut left: Vec<(Option<u32>, usize, usize)> = by_name
            .chunk_by(|one, other| self.name(&members[*one]) == self.name(&members[*other]))
            .filter_map(|same| {
                let (place, value) = (*same.first()?, *same.last()?);
                Some((index(self.name(&members[place])), place, value))
            })
            .collect();
        left.sort_unstable_by_key(|(index, place, _)| (index.is_none(), *index, *place));
        let written = self.out.split_off(start);
        let of = |range: &Range<usize>| &written[range.start - start..range.end - start];
        for (position, (_, place, value)) in left.into_iter().enumerate() {
            if position > 0 {
                self.out.push(b',');
            }
            self.out.extend_from_slice(of(&members[place].name));
            self.out.extend_from_slice(of(&members[value].value));
        }
    }

    fn string(&mut self) -> Result<(), StringifyError> {
        self.at += 1;
        self.out.push(b'"');
        loop {
            let rest = &self.json[self.at..];
            let plain = rest.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | ..0x20));
            let length = plain.count();
            self.out.extend_from_slice(&rest[..length]);
            self.at += length;
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                _ => return Err(self.misfit()),
            }
        }
        self.at += 1;
        self.out.push(b'"');
        Ok(())
    }

    fn escape(&mut self) -> Result<(), StringifyError> {
        self.at += 1;
        let kind = self.peek().ok_or_else(|| self.misfit())?;
        let unit = match kind {
            b'"' | b'\\' | b'/' => u16::from(kind),
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => 0x0a,
            b'r' => 0x0d,
            b't' => 0x09,
            b'u' => {
                self.at += 1;
                let first = self.unit()?;
                return self.code_unit(first);
            }
            _ => return Err(self.misfit()),
        };
        self.at += 1;
        self.character(char::from(unit as u8));
        Ok(())
    }

    /// Writes what `\uXXXX` stands for. A surrogate whose other half follows is a character with
    /// it; alone it stays an escape ("well-formed JSON.stringify").
    fn code_unit(&mut self, first: u16) -> Result<(), StringifyError> {
        let mut both = [first, 0];
        let mut length = 1;
        let after = self.at;
        if is_high(first) && self.json[self.at..].starts_with(b"\\u") {
            self.at += 2;
            both[1] = self.unit()?;
            length = 2;
        }
        if let Some(Ok(character)) = char::decode_utf16(both[..length].iter().copied()).next() {
            self.character(character);
        } else {
            // What follows stands for itself.
            self.at = after;
            self.escaped(first);
        }
        Ok(())
    }

    /// Reads four hexadecimal digits.
    fn unit(&mut self) -> Result<u16, StringifyError> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            unit = unit << 4 | digit.ok_or_else(|| self.misfit())? as u16;
            self.at += 1;
        }
        Ok(unit)
    }

    fn character(&mut self, character: char) {
        let short = match character {
            '"' | '\\' => character as u8,
            '\u{8}' => b'b',
            '\u{c}' => b'f',
            '\n' => b'n',
            '\r' => b'r',
            '\t' => b't',
            '\0'..' ' => return self.escaped(character as u16),
            _ => {
                let mut utf8 = [0; 4];
                self.out.extend_from_slice(character.encode_utf8(&mut utf8).as_bytes());
                return;
            }
        };
        self.out.extend_from_slice(&[b'\\', short]);
    }

    fn escaped(&mut self, unit: u16) {
        self.out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
    }

    fn number(&mut self) -> Result<(), StringifyError> {
        let start = self.at;
        self.takes(b'-');
        let digits = self.at;
        if !self.takes(b'0') {
            self.digits()?;
        }
        let integer_end = self.at;
        if self.takes(b'.') {
            self.digits()?;
        }
        if self.takes(b'e') || self.takes(b'E') {
            if !self.takes(b'-') {
                self.takes(b'+');
            }
            self.digits()?;
        }
        let text = &self.json[start..self.at];
        if self.at == integer_end && self.at - digits <= EXACT_DIGITS && text != b"-0" {
            self.out.extend_from_slice(text);
            return Ok(());
        }
        let text = std::str::from_utf8(text).expect("the whole text is UTF-8");
        let value = text.parse().expect("JSON's numbers are among Rust's");
        self.out.extend_from_slice(number(value).as_bytes());
        Ok(())
    }

    /// Takes one digit or more.
    fn digits(&mut self) -> Result<(), StringifyError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if start < self.at { Ok(()) } else { Err(self.misfit()) }
    }
}

fn is_high(unit: u16) -> bool {
    (0xd800..0xdc00).contains(&unit)
}

/// The array index that a written name (`"12":`) is, if it is one.
fn index(name: &[u8]) -> Option<u32> {
    let digits = name.strip_prefix(b"\"")?.strip_suffix(b"\":")?;
    let is_canonical = digits == b"0" || digits.first().is_some_and(|first| *first != b'0');
    if !is_canonical || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (number <= INDEX_MAX).then_some(number)
}

#[cfg(test)]
mod tests;
