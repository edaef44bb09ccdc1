//! A string, as it is written in JSON.

use std::borrow::Cow;
use std::{fmt, str};

/// A text that is made when it is read: until then it is a look at the bytes it came in.
///
/// Two are equal where they read the same. `Debug` leaves the text out.
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
    /// As it stands in JSON, between quotes, where it is known to be valid.
    Written(Cow<'a, [u8]>),
    Read(Cow<'a, str>),
}

impl<'a> Text<'a> {
    /// A string that is written so in JSON, without its quotes.
    pub(super) const fn written(text: &'a [u8]) -> Self {
        Self(Form::Written(Cow::Borrowed(text)))
    }

    /// The text. Where it is written without escapes and in one piece, nothing is copied.
    pub fn read(&self) -> Cow<'_, str> {
        match &self.0 {
            Form::Read(text) => Cow::Borrowed(text),
            Form::Written(text) if memchr::memchr(b'\\', text).is_some() => Cow::Owned(unescaped(text)),
            Form::Written(text) => Cow::Borrowed(str::from_utf8(text).unwrap_or_default()),
        }
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Form::Read(text) => text.is_empty(),
            Form::Written(text) => text.is_empty(),
        }
    }

    /// Lets it outlive the bytes it came in.
    #[must_use]
    pub fn into_owned(self) -> Text<'static> {
        Text(Form::Read(Cow::Owned(self.read().into_owned())))
    }

    /// This text and another one after it.
    pub(crate) fn and(self, next: Self) -> Self {
        match (self.0, next.0) {
            // Escapes stand for themselves: what is written can be joined as it is.
            (Form::Written(text), Form::Written(next)) => {
                let mut text = text.into_owned();
                text.extend_from_slice(&next);
                Self(Form::Written(text.into()))
            }
            (text, next) => Self(Form::Read((Self(text).read() + Self(next).read()).into_owned().into())),
        }
    }
}

/// What a string says that is written so, between quotes, and known to be valid.
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

/// Without the text: it is the answer.
impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Text").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_it_is_written_and_as_it_reads() {
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
