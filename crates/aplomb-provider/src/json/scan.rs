//! Steps over JSON, and notes what stands under the names that mean something.

use std::str;

use smallvec::SmallVec;

use super::key::Key;
use super::text::unescaped;
use super::words::{HIGH, blanks, stops};

/// How deep lists and objects may stand in each other: as deep as `serde_json` goes.
const MAX_DEPTH: u8 = 127;

/// So many values take no memory of their own: an answer has less than that of what means something.
pub(crate) type Nodes<'a> = SmallVec<[Node<'a>; 64]>;

/// A value that was noted. What is in it follows it in the list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'a> {
    pub(super) key: Key,
    pub(super) kind: Kind,
    /// How many nodes it takes, itself included.
    pub(super) len: usize,
    /// A text between its quotes, or a number, as it is written.
    pub(super) raw: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    False,
    True,
    Number,
    Text,
    /// A text with escapes in it.
    EscapedText,
    List,
    EmptyList,
    Object,
    EmptyObject,
}

/// It is not JSON, or ends before its end.
#[derive(Debug)]
pub(super) struct Unreadable;

type Scanned<T = ()> = Result<T, Unreadable>;

pub(super) struct Scanner<'a, 'n> {
    bytes: &'a [u8],
    at: usize,
    depth: u8,
    nodes: &'n mut Nodes<'a>,
    counts: bool,
}

impl<'a, 'n> Scanner<'a, 'n> {
    pub(super) const fn new(bytes: &'a [u8], nodes: &'n mut Nodes<'a>) -> Self {
        Self { bytes, at: 0, depth: 0, nodes, counts: false }
    }

    /// How many bytes were gone through.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// Whether some name was that of a count.
    pub(super) const fn counts(&self) -> bool {
        self.counts
    }

    /// Reads a value, and notes it where it is to be kept.
    pub(super) fn value(&mut self, key: Key, is_kept: bool) -> Scanned {
        let (kind, raw) = match self.next()? {
            b'"' => self.text()?,
            b'{' => return self.nested(key, is_kept, Self::object),
            b'[' => return self.nested(key, is_kept, Self::list),
            b't' => (Kind::True, self.word(b"rue")?),
            b'f' => (Kind::False, self.word(b"alse")?),
            b'n' => (Kind::Null, self.word(b"ull")?),
            byte => (Kind::Number, self.number(byte)?),
        };
        if is_kept {
            self.nodes.push(Node { key, kind, len: 1, raw });
        }
        Ok(())
    }

    #[inline]
    fn nested(
        &mut self,
        key: Key,
        is_kept: bool,
        read: impl FnOnce(&mut Self, Key, bool) -> Scanned<Kind>,
    ) -> Scanned {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Unreadable);
        }
        let at = self.nodes.len();
        if is_kept {
            // What it takes up shows when what is in it has been noted after it.
            self.nodes.push(Node { key, kind: Kind::Null, len: 1, raw: &[] });
        }
        let kind = read(self, key, is_kept && key != Key::Other)?;
        self.depth -= 1;
        let end = self.nodes.len();
        if let (true, Some(node)) = (is_kept, self.nodes.get_mut(at)) {
            node.kind = kind;
            node.len = end - at;
        }
        Ok(())
    }

    #[inline]
    fn object(&mut self, key: Key, keeps_known: bool) -> Scanned<Kind> {
        let mut byte = self.next()?;
        if byte == b'}' {
            return Ok(Kind::EmptyObject);
        }
        let keeps_others = keeps_known && key.has_others();
        loop {
            if byte != b'"' {
                return Err(Unreadable);
            }
            let (kind, name) = self.text()?;
            if self.next()? != b':' {
                return Err(Unreadable);
            }
            let key = match kind {
                _ if !keeps_known => Key::Other,
                Kind::EscapedText => Key::of(unescaped(name).as_bytes()),
                _ => Key::of(name),
            };
            self.counts |= key.counts();
            self.value(key, keeps_others || key != Key::Other)?;
            match self.next()? {
                b',' => byte = self.next()?,
                b'}' => return Ok(Kind::Object),
                _ => return Err(Unreadable),
            }
        }
    }

    #[inline]
    fn list(&mut self, _: Key, is_kept: bool) -> Scanned<Kind> {
        if self.next()? == b']' {
            return Ok(Kind::EmptyList);
        }
        self.at -= 1;
        loop {
            self.value(Key::Item, is_kept)?;
            match self.next()? {
                b',' => {}
                b']' => return Ok(Kind::List),
                _ => return Err(Unreadable),
            }
        }
    }

    /// The rest of a text that has begun, without its quotes.
    fn text(&mut self) -> Scanned<(Kind, &'a [u8])> {
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
                0..0x20 => return Err(Unreadable),
                byte => high |= u64::from(byte),
            }
        }
        let text = &self.bytes[start..self.at - 1];
        if high & HIGH != 0 && str::from_utf8(text).is_err() {
            return Err(Unreadable);
        }
        Ok((kind, text))
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Scanned {
        match self.byte()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => match self.hex()? {
                0xDC00..0xE000 => Err(Unreadable),
                0xD800..0xDC00 => match (self.byte()?, self.byte()?, self.hex()?) {
                    (b'\\', b'u', 0xDC00..0xE000) => Ok(()),
                    _ => Err(Unreadable),
                },
                _ => Ok(()),
            },
            _ => Err(Unreadable),
        }
    }

    fn hex(&mut self) -> Scanned<u32> {
        let mut number = 0;
        for _ in 0..4 {
            let digit = char::from(self.byte()?).to_digit(16).ok_or(Unreadable)?;
            number = number << 4 | digit;
        }
        Ok(number)
    }

    /// A number, of which the first byte is behind.
    fn number(&mut self, first: u8) -> Scanned<&'a [u8]> {
        let start = self.at - 1;
        let first = if first == b'-' { self.byte()? } else { first };
        match first {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return Err(Unreadable),
        }
        let mut is_small = true;
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.some_digits()?;
            is_small = false;
        }
        let number = &self.bytes[start..self.at];
        // What is larger than the largest number can not be read, and does not come up.
        let is_finite = || {
            let number = str::from_utf8(number).ok().and_then(|number| number.parse::<f64>().ok());
            number.is_some_and(f64::is_finite)
        };
        if (is_small && number.len() < 300) || is_finite() {
            return Ok(number);
        }
        Err(Unreadable)
    }

    fn some_digits(&mut self) -> Scanned {
        let start = self.at;
        self.digits();
        if self.at == start { Err(Unreadable) } else { Ok(()) }
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }

    /// The rest of a word.
    fn word(&mut self, rest: &[u8]) -> Scanned<&'a [u8]> {
        if !self.bytes[self.at..].starts_with(rest) {
            return Err(Unreadable);
        }
        self.at += rest.len();
        Ok(&[])
    }

    /// The next byte that is no space.
    #[inline]
    fn next(&mut self) -> Scanned<u8> {
        loop {
            match self.byte()? {
                b' ' | b'\n' | b'\r' | b'\t' => self.indent(),
                byte => return Ok(byte),
            }
        }
    }

    /// Steps over some of the blanks that follow.
    #[inline]
    fn indent(&mut self) {
        if let Some(word) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) {
            self.at += blanks(u64::from_le_bytes(*word));
        }
    }

    #[inline]
    fn byte(&mut self) -> Scanned<u8> {
        let byte = self.peek().ok_or(Unreadable)?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
}
