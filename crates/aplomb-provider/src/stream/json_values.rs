//! A splitter for JSON values: in a list, one per line, or a single one. Split at any byte, in bounded memory.

use std::{fmt, mem};

use memchr::memchr2;

use crate::json::{Document, Nodes};

/// The longest value that is kept. A longer one is reported without its bytes.
const MAX_VALUE: usize = 1024 * 1024;

/// The capacity of the buffer that is kept between values.
const RETAINED_CAPACITY: usize = 64 * 1024;

/// The syntactic position of the next byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Position {
    /// Between values.
    #[default]
    Between,
    /// In a number or a literal.
    Plain,
    /// In an object or a list.
    Nested,
    /// In a string.
    String,
    /// After a backslash in a string.
    Escape,
}

/// Splits a body into JSON values. Whether they are valid is left to the caller.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is about another part of the body"
)]
pub(super) struct JsonValues {
    position: Position,
    /// The number of objects and lists that are open in the current value.
    depth: usize,
    /// The beginning of the current value from earlier chunks, up to `MAX_VALUE`.
    value: Vec<u8>,
    is_oversized: bool,
    in_list: bool,
    /// The list has ended.
    has_ended: bool,
    has_begun: bool,
    has_several: bool,
}

/// A value of a body.
#[derive(Clone, Copy)]
pub(super) enum JsonValue<'a> {
    /// It arrived in one piece and has been parsed.
    Parsed(Document<'a>),
    /// Its bytes, which may not be JSON.
    Raw(&'a [u8]),
    /// It was too long to keep.
    Oversized,
}

impl JsonValues {
    /// Reads the next bytes and reports the values that they complete.
    pub(super) fn push(&mut self, bytes: &[u8], emit: &mut dyn FnMut(JsonValue<'_>)) {
        let (mut start, mut at) = (0, 0);
        while let Some(&byte) = bytes.get(at) {
            match self.position {
                Position::Between => {
                    start = at;
                    self.begin(byte);
                    if let Some(len) = self.in_one_piece(&bytes[at..], emit) {
                        at += len;
                        continue;
                    }
                }
                Position::Plain => {
                    if matches!(byte, b',' | b']') || byte.is_ascii_whitespace() {
                        self.end(&bytes[start..at], emit);
                        start = at;
                        self.begin(byte);
                    }
                }
                Position::Escape => self.position = Position::String,
                Position::String => match byte {
                    b'\\' => self.position = Position::Escape,
                    b'"' if self.depth == 0 => self.end(&bytes[start..=at], emit),
                    b'"' => self.position = Position::Nested,
                    // Most of an answer is strings.
                    _ => {
                        at = memchr2(b'"', b'\\', &bytes[at..]).map_or(bytes.len(), |len| at + len);
                        continue;
                    }
                },
                Position::Nested => match byte {
                    b'"' => self.position = Position::String,
                    b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                    b'}' | b']' if self.depth == 1 => {
                        self.depth = 0;
                        self.end(&bytes[start..=at], emit);
                    }
                    b'}' | b']' => self.depth -= 1,
                    _ => {}
                },
            }
            at += 1;
        }
        if self.position != Position::Between {
            self.buffer(&bytes[start..]);
        }
    }

    /// Reports what is left: a number or a literal ends with the body.
    pub(super) fn finish(&mut self, emit: &mut dyn FnMut(JsonValue<'_>)) {
        if self.position == Position::Plain {
            self.end(&[], emit);
        }
    }

    /// Returns whether the body may end here: not inside a value or a list.
    pub(super) const fn is_complete(&self) -> bool {
        matches!(self.position, Position::Between | Position::Plain)
            && self.has_begun
            && (!self.in_list || self.has_ended)
    }

    /// Returns whether there is exactly one value, outside of a list.
    pub(super) const fn is_single(&self) -> bool {
        self.has_begun && !self.in_list && !self.has_several
    }

    /// Starts a value, or skips a byte between values.
    fn begin(&mut self, byte: u8) {
        // A byte order mark counts as white space.
        if byte.is_ascii_whitespace() || matches!(byte, b',' | 0xEF | 0xBB | 0xBF) {
            self.position = Position::Between;
            return;
        }
        let is_first = !mem::replace(&mut self.has_begun, true);
        self.has_several |= !is_first;
        self.position = match byte {
            b'[' if is_first => {
                self.in_list = true;
                Position::Between
            }
            b']' if self.in_list => {
                self.has_ended = true;
                Position::Between
            }
            b'{' | b'[' => {
                self.depth = 1;
                Position::Nested
            }
            b'"' => Position::String,
            _ => Position::Plain,
        };
    }

    /// Reports the object or list that these bytes start with, if they contain all of it: then it need not be
    /// buffered and is scanned only once. Otherwise its end is searched byte by byte.
    fn in_one_piece(&mut self, bytes: &[u8], emit: &mut dyn FnMut(JsonValue<'_>)) -> Option<usize> {
        if self.position != Position::Nested {
            return None;
        }
        let mut nodes = Nodes::new();
        let document = Document::first(&bytes[..bytes.len().min(MAX_VALUE)], &mut nodes)?;
        self.position = Position::Between;
        self.depth = 0;
        emit(JsonValue::Parsed(document));
        Some(document.text().len())
    }

    fn buffer(&mut self, bytes: &[u8]) {
        let room = MAX_VALUE - self.value.len();
        self.is_oversized |= bytes.len() > room;
        self.value.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end(&mut self, last: &[u8], emit: &mut dyn FnMut(JsonValue<'_>)) {
        self.position = Position::Between;
        if self.value.is_empty() && last.len() <= MAX_VALUE {
            return emit(JsonValue::Raw(last));
        }
        self.buffer(last);
        let mut value = mem::take(&mut self.value);
        let is_oversized = mem::take(&mut self.is_oversized);
        emit(if is_oversized {
            JsonValue::Oversized
        } else {
            JsonValue::Raw(&value)
        });
        value.clear();
        value.shrink_to(RETAINED_CAPACITY);
        self.value = value;
    }
}

/// Without the bytes, which are the answer.
impl fmt::Debug for JsonValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonValues").field("position", &self.position).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, bool) {
        let mut found = Vec::new();
        let mut values = JsonValues::default();
        let mut emit = |value: JsonValue<'_>| {
            found.push(match value {
                JsonValue::Parsed(value) => String::from_utf8_lossy(value.text()).into_owned(),
                JsonValue::Raw(value) => String::from_utf8_lossy(value).into_owned(),
                JsonValue::Oversized => "long".to_owned(),
            });
        };
        for chunk in chunks {
            values.push(chunk, &mut emit);
            assert!(values.value.len() <= MAX_VALUE);
        }
        let is_complete = values.is_complete();
        values.finish(&mut emit);
        (found, is_complete)
    }

    #[test]
    fn lists_lines_and_single_values() {
        for (text, values, is_complete) in [
            (
                r#"[{"a": "]}\"" }, {"b": [1, {}]}]"#,
                &[r#"{"a": "]}\"" }"#, r#"{"b": [1, {}]}"#][..],
                true,
            ),
            (r#"[{"a": 1},"#, &[r#"{"a": 1}"#], false),
            (r#"[{"a": 1"#, &[], false),
            ("{\"a\": 1}\n{\"b\": 2}\r\n", &[r#"{"a": 1}"#, r#"{"b": 2}"#], true),
            ("\n\n {\"a\": 1}", &[r#"{"a": 1}"#], true),
            ("[[0.5, 1], [2]]", &["[0.5, 1]", "[2]"], true),
            ("[1, true,\"x\" ,null]", &["1", "true", "\"x\"", "null"], true),
            ("12", &["12"], true),
            ("\"a", &[], false),
            ("[]", &[], true),
            ("", &[], false),
            (" \n", &[], false),
        ] {
            let expected = (values.iter().map(|&value| value.to_owned()).collect::<Vec<_>>(), is_complete);
            assert_eq!(read([text.as_bytes()]), expected, "{text}");
            assert_eq!(read(text.as_bytes().chunks(1)), expected, "{text}");
        }
    }

    #[test]
    fn oversized_values_are_reported_without_their_bytes() {
        let text = format!("[{{\"a\": \"{}\"}}, 1]", "x".repeat(MAX_VALUE));
        for size in [text.len(), 1_000, 7] {
            assert_eq!(read(text.as_bytes().chunks(size)), (vec!["long".to_owned(), "1".to_owned()], true));
        }
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i32>().prop_map(serde_json::Value::from),
            "[\\[\\]{}\",\\\\a ß]*".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                prop::collection::hash_map("[\"}a]*", inner, 0..4).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_values_of_a_list_are_found(values in prop::collection::vec(value(), 0..6)) {
            let text = serde_json::Value::from(values.clone()).to_string();
            let expected = values.iter().map(ToString::to_string).collect::<Vec<_>>();
            prop_assert_eq!(read(text.as_bytes().chunks(3)), (expected, true));
        }

        #[test]
        fn where_it_is_split_changes_nothing(
            bytes in prop::collection::vec(prop::sample::select(b"[]{}\",\\ \n1a:\xEF".to_vec()), 0..60),
            cuts in prop::collection::vec(0_usize..60, 0..6),
        ) {
            let mut cuts = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect::<Vec<_>>();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
            prop_assert_eq!(read(chunks), read([bytes.as_slice()]));
        }
    }
}
