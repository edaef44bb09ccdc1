//! The events of a stream differ in little but their text.
//!
//! An event that equals the one before, apart from a string or a number that decides nothing else, has the same meaning: it need
//! not be parsed to be understood.

use std::fmt;
use std::ops::Range;

use memchr::memmem;
use smallvec::SmallVec;

use crate::Text;
use crate::json::Lexer;

/// The last event that was understood, if it was a piece of text and nothing else.
#[derive(Default)]
pub(super) struct LastEvent {
    /// Its name, then its data.
    bytes: Vec<u8>,
    name_len: usize,
    /// The values in its data that differ from event to event, in their order.
    holes: SmallVec<[Hole; 3]>,
}

/// A value that differs from event to event.
#[derive(Clone, Debug)]
struct Hole {
    /// The place of a string without its quotes, or of a number. In few bytes, since every reader has room for some.
    at: Range<u16>,
    kind: HoleKind,
}

impl Hole {
    /// `None` if it is too far from the beginning, which it is not in an event that is short enough.
    fn new(at: Range<usize>, kind: HoleKind) -> Option<Self> {
        Some(Self { at: u16::try_from(at.start).ok()?..u16::try_from(at.end).ok()?, kind })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HoleKind {
    Content,
    Text,
    Number,
}

/// The text before values that differ and have no meaning here.
const MEANINGLESS: &[(&str, HoleKind)] = &[
    (r#""sequence_number":"#, HoleKind::Number), // OpenAI's responses
    (r#""obfuscation":""#, HoleKind::Text),      // OpenAI, against those who measure the length of packets
    (r#""p":""#, HoleKind::Text),                // the same at Bedrock
];

/// Numbers with more digits are parsed.
const MAX_DIGITS: usize = 15;

/// Longer events are parsed: few streams have them, and they would be copied.
const MAX_LENGTH: usize = 4 * 1024;

impl LastEvent {
    /// Returns the text of an event if it differs from the last one in nothing else that matters.
    pub(super) fn text_of<'a>(&self, name: &str, data: &'a [u8]) -> Option<Text<'a>> {
        let (own_name, own) = self.bytes.split_at_checked(self.name_len)?;
        if self.holes.is_empty() || own_name != name.as_bytes() {
            return None;
        }
        let (mut content, mut rest, mut from) = (None, data, 0);
        for Hole { at, kind } in &self.holes {
            rest = rest.strip_prefix(own.get(from..at.start.into())?)?;
            let value = match kind {
                HoleKind::Content | HoleKind::Text => Lexer::new(rest).string().ok()?.1,
                HoleKind::Number => number(rest)?,
            };
            if *kind == HoleKind::Content {
                content = Some(value);
            }
            rest = rest.get(value.len()..)?;
            from = at.end.into();
        }
        let is_same = rest == own.get(from..)?;
        // A piece without text is none.
        content.filter(|text| is_same && !text.is_empty()).map(Text::written)
    }

    /// Remembers an event whose only content is the text at `content`, and which says nothing else.
    pub(super) fn remember(&mut self, name: &str, data: &[u8], content: Range<usize>) {
        self.forget();
        if name.len() + data.len() > MAX_LENGTH {
            return;
        }
        self.bytes.reserve(name.len() + data.len());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(data);
        self.name_len = name.len();
        self.holes.extend(Hole::new(content, HoleKind::Content));
        for &(before, kind) in MEANINGLESS {
            // It has raw quotes, so it is not within a string.
            let Some(found) = memmem::find(data, before.as_bytes()) else {
                continue;
            };
            let start = found + before.len();
            let value = match kind {
                HoleKind::Number => number(&data[start..]),
                HoleKind::Text | HoleKind::Content => {
                    Lexer::new(&data[start..]).string().ok().map(|(_, text)| text)
                }
            };
            self.holes.extend(value.and_then(|value| Hole::new(start..start + value.len(), kind)));
        }
        self.holes.sort_unstable_by_key(|hole| hole.at.start);
    }

    /// Forgets it.
    pub(super) fn forget(&mut self) {
        self.bytes.clear();
        self.holes.clear();
    }
}

/// The digits that `bytes` start with, if they are all of a number.
fn number(bytes: &[u8]) -> Option<&[u8]> {
    let len = bytes.iter().position(|byte| !byte.is_ascii_digit())?;
    let has_leading_zero = len > 1 && bytes[0] == b'0';
    let ends = matches!(bytes[len], b',' | b'}');
    ((1..=MAX_DIGITS).contains(&len) && !has_leading_zero && ends).then(|| &bytes[..len])
}

/// Without the bytes, which are the answer.
impl fmt::Debug for LastEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastEvent").field("holes", &self.holes.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"delta":"Hi","sequence_number":9,"obfuscation":"x8"}"#;

    fn last() -> LastEvent {
        let mut last = LastEvent::default();
        last.remember("delta", EVENT.as_bytes(), 10..12);
        last
    }

    #[test]
    fn only_what_decides_nothing_may_differ() {
        let text = |data: &'static str| {
            last().text_of("delta", data.as_bytes()).map(|text| text.read().into_owned())
        };
        assert_eq!(text(EVENT).as_deref(), Some("Hi"));
        let other = r#"{"delta":" \"\u00e4ß","sequence_number":10,"obfuscation":""}"#;
        assert_eq!(text(other).as_deref(), Some(" \"äß"));
        for parsed in [
            r#"{"delta":"","sequence_number":9,"obfuscation":"x8"}"#,
            r#"{"delta":"Hi","sequence_number":09,"obfuscation":"x8"}"#,
            r#"{"delta":"Hi","sequence_number":1e5,"obfuscation":"x8"}"#,
            r#"{"delta":"Hi","sequence_number":9,"obfuscation":"x8"}}"#,
            r#"{"delta":"Hi","sequence_number":9,"obfuscation":"x8""#,
            r#"{"delta":"Hi","error":1,"obfuscation":"x8"}"#,
            "{\"delta\":\"H\ni\",\"sequence_number\":9,\"obfuscation\":\"x8\"}",
            r#"{"delta":"H\i","sequence_number":9,"obfuscation":"x8"}"#,
            "",
        ] {
            assert_eq!(text(parsed), None, "{parsed}");
        }
        assert!(last().text_of("other", EVENT.as_bytes()).is_none());
        assert!(LastEvent::default().text_of("", b"").is_none());
    }

    #[test]
    fn a_long_event_is_not_copied() {
        let mut last = last();
        let long = format!("{{\"delta\":\"{}\"}}", "x".repeat(MAX_LENGTH));
        last.remember("", long.as_bytes(), 10..11);
        assert!(last.bytes.is_empty() && last.text_of("", long.as_bytes()).is_none());
    }
}
