//! A string as it is written in JSON.

use std::borrow::Cow;
use std::ops::Range;
use std::{fmt, str};

use super::lexer::Kind;

/// A text that is decoded when it is read; until then it borrows the bytes that were received.
///
/// Two texts are equal if they read the same. `Debug` omits the text.
///
/// # Examples
///
/// ```
/// use aplomb_provider::Text;
///
/// assert_eq!(Text::from("Hello").read(), "Hello");
/// ```
#[derive(Clone)]
pub struct Text<'a>(Form<'a>);

#[derive(Clone)]
enum Form<'a> {
    /// As in JSON, without its quotes and known to be valid.
    Written(Cow<'a, [u8]>),
    Read(Cow<'a, str>),
}

impl<'a> Text<'a> {
    /// A string as in JSON, without its quotes.
    pub(crate) const fn written(text: &'a [u8]) -> Self {
        Self(Form::Written(Cow::Borrowed(text)))
    }

    /// Decodes the text. Nothing is copied if it is in one piece and has no escapes.
    pub fn read(&self) -> Cow<'_, str> {
        match &self.0 {
            Form::Read(text) => Cow::Borrowed(text),
            Form::Written(text) if memchr::memchr(b'\\', text).is_some() => Cow::Owned(unescaped(text)),
            Form::Written(text) => Cow::Borrowed(str::from_utf8(text).unwrap_or_default()),
        }
    }

    /// Returns whether the text is empty.
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Form::Read(text) => text.is_empty(),
            Form::Written(text) => text.is_empty(),
        }
    }

    /// The place of the text in the bytes that it borrows.
    pub(crate) fn place_in(&self, bytes: &[u8]) -> Option<Range<usize>> {
        let Form::Written(Cow::Borrowed(text)) = &self.0 else {
            return None;
        };
        let start = text.as_ptr().addr().checked_sub(bytes.as_ptr().addr())?;
        let place = start..start.checked_add(text.len())?;
        (place.end <= bytes.len()).then_some(place)
    }

    /// The number of bytes as it was received.
    #[doc(hidden)]
    pub fn size(&self) -> usize {
        match &self.0 {
            Form::Read(text) => text.len(),
            Form::Written(text) => text.len(),
        }
    }

    /// Copies the bytes that the text borrows.
    #[must_use]
    pub fn into_owned(self) -> Text<'static> {
        Text(Form::Read(Cow::Owned(self.read().into_owned())))
    }

    /// Joins two texts.
    pub(crate) fn and(self, next: Self) -> Self {
        match (self.0, next.0) {
            // No escape depends on its neighbours, so encoded texts can be joined.
            (Form::Written(text), Form::Written(next)) => {
                let mut text = text.into_owned();
                text.extend_from_slice(&next);
                Self(Form::Written(text.into()))
            }
            (text, next) => Self(Form::Read((Self(text).read() + Self(next).read()).into_owned().into())),
        }
    }
}

/// Decodes a string without its quotes that is known to be valid.
pub(super) fn unescaped(text: &[u8]) -> String {
    serde_json::from_slice(&[b"\"", text, b"\""].concat()).unwrap_or_default()
}

/// The number of characters in a valid string without its quotes.
pub(crate) fn count_characters(kind: Kind, raw: &[u8]) -> usize {
    // Every byte but those that continue a character.
    let is_first = |byte: &&u8| **byte & 0xC0 != 0x80;
    let written = raw.iter().filter(is_first).count();
    if kind == Kind::EscapedText {
        written - surplus(raw)
    } else {
        written
    }
}

/// How many more characters a string has as it is written: one for `\n`, five for `\u00e4`, and those of the second
/// half of a surrogate pair.
fn surplus(raw: &[u8]) -> usize {
    let (mut at, mut surplus) = (0, 0);
    while let Some(found) = memchr::memchr(b'\\', &raw[at..]) {
        let escape = &raw[at + found..];
        let len = match escape {
            [
                b'\\',
                b'u',
                b'd' | b'D',
                b'8' | b'9' | b'a' | b'b' | b'A' | b'B',
                ..,
            ] => 12,
            [b'\\', b'u', ..] => 6,
            _ => 2,
        };
        surplus += len - 1;
        at = raw.len().min(at + found + len);
    }
    surplus
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Form::Read(text.into()))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self(Form::Read(text.into()))
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.read() == other.read()
    }
}

impl Eq for Text<'_> {}

/// Without the text, which is the answer.
impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Text").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_are_decoded_when_they_are_read() {
        let (plain, escaped) = (Text::written("Hä".as_bytes()), Text::written(br#"\u00e4\n\"\ud83d\ude00"#));
        assert!(matches!(plain.read(), Cow::Borrowed("Hä")));
        assert_eq!(escaped.read(), "ä\n\"😀");
        let joined = plain.clone().and(escaped.clone());
        assert_eq!(joined, Text::from("Hää\n\"😀"));
        assert_eq!(joined.clone().into_owned(), joined);
        assert_eq!(Text::from("\\").and(escaped), Text::from("\\ä\n\"😀"));
        assert!(Text::written(b"").is_empty() && !plain.is_empty());
        assert!(!format!("{plain:?}").contains('H'));
    }
    proptest! {
        #[test]
        fn characters_are_counted_as_in_the_decoded_text(text in ".*", escaped in any::<bool>()) {
            let raw: String = if escaped {
                text.encode_utf16().fold(String::new(), |raw, unit| raw + &format!("\\u{unit:04X}"))
            } else {
                let quoted = serde_json::to_string(&text).unwrap();
                quoted[1..quoted.len() - 1].to_owned()
            };
            let kind = if raw.contains('\\') { Kind::EscapedText } else { Kind::Text };
            prop_assert_eq!(count_characters(kind, raw.as_bytes()), text.chars().count());
        }
    }
}
