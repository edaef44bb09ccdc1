//! Scans JSON and records the values under known names.

use smallvec::SmallVec;

use super::key::Key;
use super::lexer::{Kind, Lexed, Lexer, MAX_DEPTH, Malformed};
use super::text::unescaped;

/// The recorded values. So many need no allocation, which is more than an answer has.
pub(crate) type Nodes<'a> = SmallVec<[Node<'a>; 64]>;

/// A recorded value. Its members or items follow it in the list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'a> {
    pub(super) key: Key,
    pub(super) kind: Kind,
    /// The number of nodes of this value, itself included.
    pub(super) len: usize,
    /// A string without its quotes, or a number, as in JSON.
    pub(super) raw: &'a [u8],
}

pub(super) struct Scanner<'a, 'n> {
    lexer: Lexer<'a>,
    depth: u8,
    nodes: &'n mut Nodes<'a>,
    has_counts: bool,
}

impl<'a, 'n> Scanner<'a, 'n> {
    pub(super) const fn new(bytes: &'a [u8], nodes: &'n mut Nodes<'a>) -> Self {
        Self { lexer: Lexer::new(bytes), depth: 0, nodes, has_counts: false }
    }

    /// The number of bytes that have been scanned.
    pub(super) const fn position(&self) -> usize {
        self.lexer.position()
    }

    /// Returns whether any name was that of a token count.
    pub(super) const fn has_counts(&self) -> bool {
        self.has_counts
    }

    /// Scans a value, and records it if it is to be kept.
    pub(super) fn value(&mut self, key: Key, is_kept: bool) -> Lexed {
        let (kind, raw) = match self.lexer.next()? {
            b'"' => self.lexer.string()?,
            b'{' => return self.nested(key, is_kept, Self::object),
            b'[' => return self.nested(key, is_kept, Self::list),
            b't' => (Kind::True, self.lexer.literal(b"rue")?),
            b'f' => (Kind::False, self.lexer.literal(b"alse")?),
            b'n' => (Kind::Null, self.lexer.literal(b"ull")?),
            byte => (Kind::Number, self.lexer.number(byte)?),
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
        scan: impl FnOnce(&mut Self, Key, bool) -> Lexed<Kind>,
    ) -> Lexed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Malformed);
        }
        let at = self.nodes.len();
        if is_kept {
            // Its kind and length are known once its members have been recorded.
            self.nodes.push(Node { key, kind: Kind::Null, len: 1, raw: &[] });
        }
        let kind = scan(self, key, is_kept && key != Key::Other)?;
        self.depth -= 1;
        let end = self.nodes.len();
        if let (true, Some(node)) = (is_kept, self.nodes.get_mut(at)) {
            node.kind = kind;
            node.len = end - at;
        }
        Ok(())
    }

    #[inline]
    fn object(&mut self, key: Key, keeps_known: bool) -> Lexed<Kind> {
        let mut byte = self.lexer.next()?;
        if byte == b'}' {
            return Ok(Kind::EmptyObject);
        }
        let keeps_others = keeps_known && key.keeps_others();
        loop {
            if byte != b'"' {
                return Err(Malformed);
            }
            let (kind, name) = self.lexer.string()?;
            if self.lexer.next()? != b':' {
                return Err(Malformed);
            }
            let key = match kind {
                _ if !keeps_known => Key::Other,
                Kind::EscapedText => Key::of(unescaped(name).as_bytes()),
                _ => Key::of(name),
            };
            self.has_counts |= key.is_count();
            self.value(key, keeps_others || key != Key::Other)?;
            match self.lexer.next()? {
                b',' => byte = self.lexer.next()?,
                b'}' => return Ok(Kind::Object),
                _ => return Err(Malformed),
            }
        }
    }

    #[inline]
    fn list(&mut self, _: Key, is_kept: bool) -> Lexed<Kind> {
        if self.lexer.next()? == b']' {
            return Ok(Kind::EmptyList);
        }
        self.lexer.back();
        loop {
            self.value(Key::Item, is_kept)?;
            match self.lexer.next()? {
                b',' => {}
                b']' => return Ok(Kind::List),
                _ => return Err(Malformed),
            }
        }
    }
}
