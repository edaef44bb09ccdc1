//! A parser for server-sent events: split at any byte, in bounded memory.

use std::{fmt, mem, str};

use memchr::{memchr, memchr2};

/// The longest line, and the most data of one event, that is kept. A longer event is reported without its data.
const MAX_LINE: usize = 1024 * 1024;

/// The capacity of buffers that is kept between events.
const RETAINED_CAPACITY: usize = 64 * 1024;

/// A part of an event stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SseItem<'a> {
    /// A line that starts with a colon, which keeps the connection alive.
    Comment,
    /// An event.
    Event {
        /// Its name, possibly empty.
        name: &'a str,
        /// Its data, or `None` if it was too long.
        data: Option<&'a [u8]>,
        /// True if a blank line followed, rather than the end of the body.
        is_terminated: bool,
    },
    /// A line that is not part of the format.
    Other(&'a [u8]),
}

/// Parses an event stream, <https://html.spec.whatwg.org/multipage/server-sent-events.html>.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is about another part of the stream"
)]
pub(super) struct SseParser {
    /// The beginning of a line from earlier chunks, up to `MAX_LINE`.
    line: Vec<u8>,
    line_is_oversized: bool,
    /// The last byte of an oversized line.
    last: u8,
    is_past_first_line: bool,
    /// The last byte was a carriage return; a line feed may follow it.
    skip_line_feed: bool,
    name: String,
    data: Vec<u8>,
    has_data: bool,
    data_is_oversized: bool,
}

impl SseParser {
    /// Reads the next bytes and reports the items that they complete.
    pub(super) fn push(&mut self, mut bytes: &[u8], emit: &mut dyn FnMut(SseItem<'_>)) {
        while let Some(&byte) = bytes.first() {
            if mem::take(&mut self.skip_line_feed) && byte == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', bytes) else {
                self.buffer(bytes);
                return;
            };
            if let Some(len) = self.one_line_event(bytes, end, emit) {
                bytes = &bytes[len..];
                continue;
            }
            self.skip_line_feed = bytes[end] == b'\r';
            if self.line.is_empty() && end <= MAX_LINE {
                self.line(&bytes[..end], false, emit);
            } else {
                self.buffer(&bytes[..end]);
                self.buffered_line(emit);
            }
            bytes = &bytes[end + 1..];
        }
    }

    /// Reports the event that these bytes start with, if its data is all of their first line, which ends at `end`, and a blank
    /// line follows: then nothing is copied. Returns its length.
    fn one_line_event(
        &mut self,
        bytes: &[u8],
        end: usize,
        emit: &mut dyn FnMut(SseItem<'_>),
    ) -> Option<usize> {
        let value = bytes[..end].strip_prefix(b"data:")?;
        let len = match &bytes[end..] {
            [b'\n', b'\n', ..] => end + 2,
            [b'\r', b'\n', b'\r', b'\n', ..] => end + 4,
            _ => return None,
        };
        if self.has_data || !self.line.is_empty() || value.len() > MAX_LINE {
            return None;
        }
        self.is_past_first_line = true;
        let data = Some(value.strip_prefix(b" ").unwrap_or(value));
        emit(SseItem::Event { name: &self.name, data, is_terminated: true });
        self.name.clear();
        self.name.shrink_to(RETAINED_CAPACITY);
        Some(len)
    }

    /// Returns whether the body would end in the middle of an oversized line, that is not after a closing brace.
    pub(super) const fn is_in_oversized_line(&self) -> bool {
        self.line_is_oversized && self.last != b'}'
    }

    /// Reports what is left: servers omit the last blank line, and the last line end.
    pub(super) fn finish(&mut self, emit: &mut dyn FnMut(SseItem<'_>)) {
        if !self.line.is_empty() {
            self.buffered_line(emit);
        }
        self.dispatch(false, emit);
    }

    fn buffer(&mut self, bytes: &[u8]) {
        let room = MAX_LINE - self.line.len();
        self.line_is_oversized |= bytes.len() > room;
        self.last = bytes.last().copied().unwrap_or(self.last);
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn buffered_line(&mut self, emit: &mut dyn FnMut(SseItem<'_>)) {
        let mut line = mem::take(&mut self.line);
        let is_oversized = mem::take(&mut self.line_is_oversized);
        self.line(&line, is_oversized, emit);
        line.clear();
        line.shrink_to(RETAINED_CAPACITY);
        self.line = line;
    }

    fn line(&mut self, mut line: &[u8], is_oversized: bool, emit: &mut dyn FnMut(SseItem<'_>)) {
        if !mem::replace(&mut self.is_past_first_line, true) {
            line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        }
        let (field, value) = match memchr(b':', line) {
            None if line.is_empty() => return self.dispatch(true, emit),
            None => (line, &b""[..]),
            Some(0) => return emit(SseItem::Comment),
            Some(colon) => (&line[..colon], &line[colon + 1..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => self.data(value, is_oversized),
            b"event" if !is_oversized => {
                self.name.clear();
                match str::from_utf8(value) {
                    Ok(name) => self.name.push_str(name),
                    Err(_) => self.name.push_str(&String::from_utf8_lossy(value)),
                }
            }
            b"event" | b"id" | b"retry" => {}
            _ if !is_oversized => emit(SseItem::Other(line)),
            _ => {}
        }
    }

    fn data(&mut self, value: &[u8], is_oversized: bool) {
        let joint = usize::from(self.has_data);
        self.data_is_oversized |= is_oversized || self.data.len() + joint + value.len() > MAX_LINE;
        if self.data_is_oversized {
            self.data = Vec::new();
        } else {
            self.data.extend_from_slice(&b"\n"[..joint]);
            self.data.extend_from_slice(value);
        }
        self.has_data = true;
    }

    fn dispatch(&mut self, is_terminated: bool, emit: &mut dyn FnMut(SseItem<'_>)) {
        if mem::take(&mut self.has_data) {
            let is_oversized = mem::take(&mut self.data_is_oversized);
            let data = (!is_oversized).then_some(self.data.as_slice());
            emit(SseItem::Event { name: &self.name, data, is_terminated });
            self.data.clear();
            self.data.shrink_to(RETAINED_CAPACITY);
        }
        self.name.clear();
        self.name.shrink_to(RETAINED_CAPACITY);
    }
}

/// Without the bytes, which are the answer.
impl fmt::Debug for SseParser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SseParser").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let mut found = Vec::new();
        let mut emit = |item: SseItem<'_>| {
            found.push(match item {
                SseItem::Comment => ":".to_owned(),
                SseItem::Event { name, data, .. } => {
                    let data = data.map(String::from_utf8_lossy);
                    format!("{name}|{}", data.as_deref().unwrap_or("long"))
                }
                SseItem::Other(line) => format!("?{}", String::from_utf8_lossy(line)),
            });
        };
        let mut sse = SseParser::default();
        for chunk in chunks {
            sse.push(chunk, &mut emit);
            assert!(sse.line.len() <= MAX_LINE && sse.data.len() <= MAX_LINE);
        }
        sse.finish(&mut emit);
        found
    }

    #[test]
    fn lines_end_in_three_ways() {
        for end in ["\n", "\r", "\r\n"] {
            let text =
                "\u{FEFF}event: a\ndata: 1\ndata:2\n\n: ping\nid: 7\n\ndata\n\ndata:  x".replace('\n', end);
            let whole = read([text.as_bytes()]);
            assert_eq!(whole, ["a|1\n2", ":", "|", "| x"], "{end:?}");
            assert_eq!(read(text.as_bytes().chunks(1)), whole, "{end:?}");
        }
    }

    #[test]
    fn oversized_events_are_reported_without_their_data() {
        let long = "x".repeat(MAX_LINE);
        let text = format!("event: a\ndata: {long}\n\nevent: {long}\ndata: 1\n\n:{long}\n\ndata: 2\n\n");
        for size in [text.len(), 1_000, 1] {
            assert_eq!(read(text.as_bytes().chunks(size)), ["a|long", "|1", ":", "|2"]);
        }
        let lines = format!("data: {}\n", &long[..1_000]).repeat(2_000);
        assert_eq!(read([lines.as_bytes()]), ["|long"]);
    }

    #[test]
    fn lines_outside_the_format_are_reported_one_by_one() {
        let text = "data: 1\n{\n  \"error\": 1\r\n}\n\nid: 1\nretry: 1\nevent\n{}";
        let whole = read([text.as_bytes()]);
        assert_eq!(whole, ["?{", "?  \"error\": 1", "?}", "|1", "?{}"]);
        assert_eq!(read(text.as_bytes().chunks(1)), whole);
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => "(data|event|id|retry|:|\n|\r|\r\n|\n\n| |x|\u{FEFF}|ß|: )".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..4),
        ];
        prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn where_it_is_split_changes_nothing(bytes in stream(), cuts in prop::collection::vec(0_usize..200, 0..6)) {
            let mut cuts = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect::<Vec<_>>();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
            prop_assert_eq!(read(chunks), read([bytes.as_slice()]));
        }
    }
}
