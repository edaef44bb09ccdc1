//! The tokens of JSON.

use std::str;

const EACH: u64 = u64::MAX / 0xFF;
/// The bits of eight bytes that are set in none of ASCII.
const HIGH: u64 = EACH * 0x80;
const BLANKS: u64 = EACH * 0x20;

/// The maximum nesting of lists and objects, that of `serde_json`.
pub(crate) const MAX_DEPTH: u8 = 127;

/// The kind of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    False,
    True,
    Number,
    Text,
    /// A text with escapes.
    EscapedText,
    List,
    EmptyList,
    Object,
    EmptyObject,
}

/// The text is not JSON, or incomplete.
#[derive(Debug)]
pub(crate) struct Malformed;

pub(crate) type Lexed<T = ()> = Result<T, Malformed>;

pub(crate) struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The number of bytes that have been read.
    pub(crate) const fn position(&self) -> usize {
        self.at
    }

    /// Reads the next byte that is not white space.
    #[inline]
    pub(crate) fn next(&mut self) -> Lexed<u8> {
        loop {
            match self.byte()? {
                b' ' | b'\n' | b'\r' | b'\t' => self.skip_blanks(),
                byte => return Ok(byte),
            }
        }
    }

    /// Reads what follows an item of a list or object that ends with `close`: that, or the first byte of the next item.
    #[inline]
    pub(crate) fn after_item(&mut self, close: u8) -> Lexed<u8> {
        match self.next()? {
            b',' => match self.next()? {
                byte if byte == close => Err(Malformed),
                byte => Ok(byte),
            },
            byte if byte == close => Ok(byte),
            _ => Err(Malformed),
        }
    }

    /// Makes sure that only white space is left.
    pub(crate) fn end(&mut self) -> Lexed {
        match self.next() {
            Ok(_) => Err(Malformed),
            Err(Malformed) => Ok(()),
        }
    }

    /// Steps back one byte.
    #[inline]
    pub(crate) const fn back(&mut self) {
        self.at -= 1;
    }

    /// Reads the rest of a string, without its quotes.
    pub(crate) fn string(&mut self) -> Lexed<(Kind, &'a [u8])> {
        let start = self.at;
        let (mut kind, mut high) = (Kind::Text, 0);
        loop {
            while let Some(word) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) {
                let word = u64::from_le_bytes(*word);
                let stops = stops(word);
                if stops != 0 {
                    let before = stops.trailing_zeros() & !7;
                    high |= word & !(u64::MAX << before);
                    self.at += (before / 8) as usize;
                    break;
                }
                high |= word;
                self.at += 8;
            }
            match self.byte()? {
                b'"' => break,
                b'\\' => {
                    kind = Kind::EscapedText;
                    self.escape()?;
                }
                0..0x20 => return Err(Malformed),
                byte => high |= u64::from(byte),
            }
        }
        let text = &self.bytes[start..self.at - 1];
        if high & HIGH != 0 && str::from_utf8(text).is_err() {
            return Err(Malformed);
        }
        Ok((kind, text))
    }

    /// Reads what follows a backslash.
    fn escape(&mut self) -> Lexed {
        match self.byte()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => match self.hex()? {
                0xDC00..0xE000 => Err(Malformed),
                0xD800..0xDC00 => match (self.byte()?, self.byte()?, self.hex()?) {
                    (b'\\', b'u', 0xDC00..0xE000) => Ok(()),
                    _ => Err(Malformed),
                },
                _ => Ok(()),
            },
            _ => Err(Malformed),
        }
    }

    fn hex(&mut self) -> Lexed<u32> {
        let mut number = 0;
        for _ in 0..4 {
            let digit = char::from(self.byte()?).to_digit(16).ok_or(Malformed)?;
            number = number << 4 | digit;
        }
        Ok(number)
    }

    /// Reads the rest of a number after its first byte.
    pub(crate) fn number(&mut self, first: u8) -> Lexed<&'a [u8]> {
        let start = self.at - 1;
        let first = if first == b'-' { self.byte()? } else { first };
        match first {
            b'0' => {}
            b'1'..=b'9' => self.skip_digits(),
            _ => return Err(Malformed),
        }
        let mut has_exponent = false;
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
            has_exponent = true;
        }
        let number = &self.bytes[start..self.at];
        // serde_json refuses numbers beyond the largest float.
        let is_finite = || {
            let number = str::from_utf8(number).ok().and_then(|number| number.parse::<f64>().ok());
            number.is_some_and(f64::is_finite)
        };
        if (!has_exponent && number.len() < 300) || is_finite() {
            return Ok(number);
        }
        Err(Malformed)
    }

    /// Reads the rest of a literal.
    pub(crate) fn literal(&mut self, rest: &[u8]) -> Lexed<&'a [u8]> {
        if !self.bytes[self.at..].starts_with(rest) {
            return Err(Malformed);
        }
        self.at += rest.len();
        Ok(&[])
    }

    /// Reads at least one digit.
    fn digits(&mut self) -> Lexed {
        let start = self.at;
        self.skip_digits();
        if self.at == start { Err(Malformed) } else { Ok(()) }
    }

    fn skip_digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }

    /// Skips up to eight of the blanks that follow.
    #[inline]
    fn skip_blanks(&mut self) {
        if let Some(word) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) {
            self.at += blanks(u64::from_le_bytes(*word));
        }
    }

    #[inline]
    fn byte(&mut self) -> Lexed<u8> {
        let byte = self.peek().ok_or(Malformed)?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
}

/// Marks the bytes among eight at which a string may end. The lowest mark is right, those above it may not be.
/// Uses the classic test for a zero byte (H. S. Warren, "Hacker's Delight", 6-1).
const fn stops(word: u64) -> u64 {
    const fn zeros(word: u64) -> u64 {
        word.wrapping_sub(EACH) & !word
    }
    let controls = word.wrapping_sub(EACH * 0x20) & !word;
    let quotes = zeros(word ^ (EACH * b'"' as u64));
    let backslashes = zeros(word ^ (EACH * b'\\' as u64));
    (controls | quotes | backslashes) & HIGH
}

/// The number of blanks that eight bytes start with.
const fn blanks(word: u64) -> usize {
    ((word ^ BLANKS).trailing_zeros() / 8) as usize
}
