//! JSON in an event stream that is no event: an error, written as it is.

use super::values::{Found, Values};

/// Collects the lines of a value, of which it keeps no more than of any other.
#[derive(Debug, Default)]
pub(super) struct Stray(Option<Values>);

impl Stray {
    /// Takes a line that has no place in an event stream, and tells the values it completes.
    pub(super) fn line(&mut self, line: &[u8], tell: &mut dyn FnMut(Found<'_>)) {
        if self.0.is_none() && !matches!(line.trim_ascii_start().first(), Some(b'{' | b'[')) {
            return;
        }
        let values = self.0.get_or_insert_default();
        values.push(line, tell);
        // A line's end is space between two tokens.
        values.push(b"\n", tell);
        if values.is_whole() {
            self.0 = None;
        }
    }

    /// Takes note of something that has its place in an event stream: no value goes on after it.
    pub(super) fn event(&mut self) {
        self.0 = None;
    }
}
