//! JSON values one after another, taken apart as they come in: an array of them, one to a line, or a
//! single one. Split at any byte, in bounded memory.

use std::{fmt, mem};

use memchr::memchr2;

use crate::json::{Document, Nodes};

/// The longest value that is kept. What is longer is told without its bytes.
pub(crate) const MAX_VALUE: usize = 1024 * 1024;

/// What is not given back between two values.
const KEPT_CAPACITY: usize = 64 * 1024;

/// Where the bytes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Between values.
    #[default]
    Between,
    /// In a number, or a word.
    Plain,
    /// In an object or a list that is a value.
    Nested,
    /// In a text.
    Text,
    /// After a backslash in a text.
    Escape,
}

/// Finds the values. That they are valid is for whoever parses them to see.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is about another part of the body"
)]
pub(crate) struct Values {
    at: At,
    /// How many objects and lists are open, those of the value that is coming in.
    depth: usize,
    /// The part of the value that came in earlier chunks, at most `MAX_VALUE` of it.
    value: Vec<u8>,
    is_long: bool,
    /// The values stand in a list.
    in_list: bool,
    /// The list has ended.
    has_ended: bool,
    has_begun: bool,
    /// There is more than one.
    has_more: bool,
}

/// A value that is there.
#[derive(Clone, Copy)]
pub(crate) enum Found<'a> {
    /// It came in one piece, and has been gone through.
    Read(Document<'a>),
    /// Its bytes; they may be none of JSON.
    Bytes(&'a [u8]),
    /// It is too long.
    Long,
}

impl Values {
    /// Takes the next bytes and tells the values they complete.
    pub(crate) fn push(&mut self, bytes: &[u8], tell: &mut dyn FnMut(Found<'_>)) {
        let (mut start, mut at) = (0, 0);
        while let Some(&byte) = bytes.get(at) {
            match self.at {
                At::Between => {
                    start = at;
                    self.begin(byte);
                    if let Some(len) = self.in_one_piece(&bytes[at..], tell) {
                        at += len;
                        continue;
                    }
                }
                At::Plain => {
                    if matches!(byte, b',' | b']') || byte.is_ascii_whitespace() {
                        self.end(&bytes[start..at], tell);
                        start = at;
                        self.begin(byte);
                    }
                }
                At::Escape => self.at = At::Text,
                At::Text => match byte {
                    b'\\' => self.at = At::Escape,
                    b'"' if self.depth == 0 => self.end(&bytes[start..=at], tell),
                    b'"' => self.at = At::Nested,
                    // Most of an answer is text.
                    _ => {
                        at = memchr2(b'"', b'\\', &bytes[at..]).map_or(bytes.len(), |len| at + len);
                        continue;
                    }
                },
                At::Nested => match byte {
                    b'"' => self.at = At::Text,
                    b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                    b'}' | b']' if self.depth == 1 => {
                        self.depth = 0;
                        self.end(&bytes[start..=at], tell);
                    }
                    b'}' | b']' => self.depth -= 1,
                    _ => {}
                },
            }
            at += 1;
        }
        if self.at != At::Between {
            self.keep(&bytes[start..]);
        }
    }

    /// Tells what is left: a plain value ends with the body.
    pub(crate) fn finish(&mut self, tell: &mut dyn FnMut(Found<'_>)) {
        if self.at == At::Plain {
            self.end(&[], tell);
        }
    }

    /// Whether the body may end here: not within a value, nor within a list of them.
    pub(crate) const fn is_whole(&self) -> bool {
        matches!(self.at, At::Between | At::Plain) && self.has_begun && (!self.in_list || self.has_ended)
    }

    /// Whether there is one value and no list.
    pub(crate) const fn is_one(&self) -> bool {
        self.has_begun && !self.in_list && !self.has_more
    }

    /// Begins a value, or steps over what stands between them.
    fn begin(&mut self, byte: u8) {
        // A byte order mark is no more than a space.
        if byte.is_ascii_whitespace() || matches!(byte, b',' | 0xEF | 0xBB | 0xBF) {
            self.at = At::Between;
            return;
        }
        let is_first = !mem::replace(&mut self.has_begun, true);
        self.has_more |= !is_first;
        self.at = match byte {
            b'[' if is_first => {
                self.in_list = true;
                At::Between
            }
            b']' if self.in_list => {
                self.has_ended = true;
                At::Between
            }
            b'{' | b'[' => {
                self.depth = 1;
                At::Nested
            }
            b'"' => At::Text,
            _ => At::Plain,
        };
    }

    /// Tells the object or list that has begun with these bytes, where all of it is there: then it need not
    /// be kept, and is gone through only once. Otherwise its end is looked for byte by byte.
    fn in_one_piece(&mut self, bytes: &[u8], tell: &mut dyn FnMut(Found<'_>)) -> Option<usize> {
        if self.at != At::Nested {
            return None;
        }
        let mut room = Nodes::new();
        let document = Document::first(&bytes[..bytes.len().min(MAX_VALUE)], &mut room)?;
        self.at = At::Between;
        self.depth = 0;
        tell(Found::Read(document));
        Some(document.text().len())
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = MAX_VALUE - self.value.len();
        self.is_long |= bytes.len() > room;
        self.value.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end(&mut self, last: &[u8], tell: &mut dyn FnMut(Found<'_>)) {
        self.at = At::Between;
        if self.value.is_empty() && last.len() <= MAX_VALUE {
            return tell(Found::Bytes(last));
        }
        self.keep(last);
        let mut value = mem::take(&mut self.value);
        let is_long = mem::take(&mut self.is_long);
        tell(if is_long {
            Found::Long
        } else {
            Found::Bytes(&value)
        });
        value.clear();
        value.shrink_to(KEPT_CAPACITY);
        self.value = value;
    }
}

/// Without the bytes: they are the answer.
impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Values").field("at", &self.at).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, bool) {
        let mut told = Vec::new();
        let mut values = Values::default();
        let mut tell = |found: Found<'_>| {
            told.push(match found {
                Found::Read(value) => String::from_utf8_lossy(value.text()).into_owned(),
                Found::Bytes(value) => String::from_utf8_lossy(value).into_owned(),
                Found::Long => "long".to_owned(),
            });
        };
        for chunk in chunks {
            values.push(chunk, &mut tell);
            assert!(values.value.len() <= MAX_VALUE);
        }
        let is_whole = values.is_whole();
        values.finish(&mut tell);
        (told, is_whole)
    }

    #[test]
    fn lists_lines_and_single_values() {
        for (text, values, is_whole) in [
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
            let expected = (values.iter().map(|&value| value.to_owned()).collect::<Vec<_>>(), is_whole);
            assert_eq!(read([text.as_bytes()]), expected, "{text}");
            assert_eq!(read(text.as_bytes().chunks(1)), expected, "{text}");
        }
    }

    #[test]
    fn what_is_too_long_is_told_without_its_bytes() {
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
