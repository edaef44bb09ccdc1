//! A string as it is written in JSON.

use std::borrow::Cow;
use std::{fmt, str};

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
    pub(super) const fn written(text: &'a [u8]) -> Self {
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
}
