//! A value of a document.

use std::{iter, str};

use super::key::Key;
use super::lexer::Kind;
use super::scan::Node;
use super::text::{Text, unescaped};

/// A value, or nothing: a lookup in nothing finds nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    /// The value and its members or items.
    nodes: &'a [Node<'a>],
}

/// A set of names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names(u128);

impl Names {
    /// Returns whether any of `keys` is among them.
    #[inline]
    pub(crate) fn any(self, keys: &[Key]) -> bool {
        keys.iter().any(|key| self.0 & 1 << *key as u32 != 0)
    }
}

impl<'a> View<'a> {
    pub(super) const fn of(nodes: &'a [Node<'a>]) -> Self {
        Self { nodes }
    }

    /// Nothing.
    pub(crate) const NONE: Self = Self { nodes: &[] };

    fn kind(self) -> Kind {
        self.nodes.first().map_or(Kind::Null, |node| node.kind)
    }

    pub(crate) const fn is_there(self) -> bool {
        !self.nodes.is_empty()
    }

    /// Returns whether it is `null` or nothing.
    pub(crate) fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }

    pub(crate) fn is_list(self) -> bool {
        matches!(self.kind(), Kind::List | Kind::EmptyList)
    }

    pub(crate) fn is_object(self) -> bool {
        matches!(self.kind(), Kind::Object | Kind::EmptyObject)
    }

    /// Returns whether it is nothing, `null`, or an empty string, list or object.
    pub(crate) fn is_empty(self) -> bool {
        match self.kind() {
            Kind::Null | Kind::EmptyList | Kind::EmptyObject => true,
            Kind::Text | Kind::EscapedText => self.raw().is_empty(),
            _ => false,
        }
    }

    pub(crate) fn as_bool(self) -> Option<bool> {
        match self.kind() {
            Kind::True => Some(true),
            Kind::False => Some(false),
            _ => None,
        }
    }

    /// The names of its members, found in one pass.
    pub(crate) fn names(self) -> Names {
        let (mut at, mut names) = (1, 0);
        while let Some(node) = self.nodes.get(at) {
            names |= 1 << node.key as u32;
            at += node.len;
        }
        Names(names)
    }

    /// Its members or items, with their names.
    pub(crate) fn parts(self) -> impl Iterator<Item = (Key, View<'a>)> {
        let mut rest = self.nodes.get(1..).unwrap_or_default();
        iter::from_fn(move || {
            let first = rest.first()?;
            let (nodes, after) = rest.split_at(first.len);
            rest = after;
            Some((first.key, View { nodes }))
        })
    }

    /// The items of a list.
    pub(crate) fn items(self) -> impl Iterator<Item = View<'a>> {
        let list = if self.is_list() { self } else { Self::NONE };
        list.parts().map(|(_, item)| item)
    }

    /// The first item of a list.
    pub(crate) fn first(self) -> Self {
        self.items().next().unwrap_or(Self::NONE)
    }

    /// The first item of a non-empty list, otherwise the value itself: some servers answer with a list of what
    /// would have been the chunks of a stream.
    pub(crate) fn first_or_self(self) -> Self {
        self.items().next().unwrap_or(self)
    }

    /// The member of this name; of several, the last.
    pub(crate) fn get(self, wanted: Key) -> Self {
        let (mut at, mut found) = (1, 0);
        while let Some(node) = self.nodes.get(at) {
            if node.key == wanted {
                found = at;
            }
            at += node.len;
        }
        if found == 0 {
            return Self::NONE;
        }
        let nodes = self.nodes.get(found..).unwrap_or_default();
        Self { nodes: nodes.get(..nodes.first().map_or(0, |node| node.len)).unwrap_or_default() }
    }

    /// The member at a path of names.
    pub(crate) fn at(self, path: &[Key]) -> Self {
        path.iter().fold(self, |value, &key| value.get(key))
    }

    fn raw(self) -> &'a [u8] {
        self.nodes.first().map_or(&[], |node| node.raw)
    }

    pub(crate) fn is_text(self) -> bool {
        matches!(self.kind(), Kind::Text | Kind::EscapedText)
    }

    /// A string.
    pub(crate) fn text(self) -> Option<Text<'a>> {
        self.is_text().then(|| Text::written(self.raw()))
    }

    /// Returns whether it is this string.
    pub(crate) fn is(self, text: &str) -> bool {
        match self.kind() {
            Kind::Text => self.raw() == text.as_bytes(),
            Kind::EscapedText => unescaped(self.raw()) == text,
            _ => false,
        }
    }

    /// A count. Cohere writes `3.0`.
    pub(crate) fn count(self) -> Option<u64> {
        if self.kind() != Kind::Number {
            return None;
        }
        whole(self.raw()).or_else(|| self.whole())
    }

    #[cold]
    fn whole(self) -> Option<u64> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is a whole number within bounds"
        )]
        let whole =
            |number: f64| (number.fract() == 0.0 && (0.0..1e15).contains(&number)).then_some(number as u64);
        whole(str::from_utf8(self.raw()).ok()?.parse().ok()?)
    }
}

/// A number that is written with nothing but digits.
pub(crate) fn whole(number: &[u8]) -> Option<u64> {
    let mut digits = number.iter().map(|byte| byte.wrapping_sub(b'0'));
    digits.try_fold(0_u64, |number, digit| {
        if digit > 9 {
            return None;
        }
        number.checked_mul(10)?.checked_add(digit.into())
    })
}
