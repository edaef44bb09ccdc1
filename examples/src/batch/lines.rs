//! Reading lines of bounded length.

use std::io::{self, BufRead};

/// The longest prompt line.
pub(crate) const LONGEST: usize = 16 * 1024 * 1024;

/// A line that was read into the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// The bytes taken from the reader, including the line end.
    pub(crate) bytes: u64,
    /// True if it was longer than allowed. Then its rest was discarded.
    pub(crate) too_long: bool,
    /// True if it had a line end.
    pub(crate) ended: bool,
}

/// Reads the next line into `buffer`, without its line end; `None` at the end of the file.
pub(crate) fn next(
    reader: &mut impl BufRead,
    buffer: &mut Vec<u8>,
    longest: usize,
) -> io::Result<Option<Line>> {
    buffer.clear();
    let mut line = Line { bytes: 0, too_long: false, ended: false };
    while !line.ended {
        let available = match reader.fill_buf() {
            Ok([]) => break,
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = available.iter().position(|byte| *byte == b'\n');
        let text = &available[..end.unwrap_or(available.len())];
        let room = longest - buffer.len();
        line.too_long |= text.len() > room;
        buffer.extend_from_slice(&text[..text.len().min(room)]);
        line.ended = end.is_some();
        let taken = text.len() + usize::from(line.ended);
        line.bytes += taken as u64;
        reader.consume(taken);
    }
    if buffer.last() == Some(&b'\r') && line.ended {
        buffer.pop();
    }
    Ok((line.bytes > 0).then_some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_and_the_next_one_begins_after_the_end() {
        let mut reader = io::BufReader::with_capacity(3, &b"one\r\ntoo long\n\nlast"[..]);
        let mut buffer = Vec::new();
        let mut read = Vec::new();
        while let Some(line) = next(&mut reader, &mut buffer, 4).unwrap() {
            let text = String::from_utf8(buffer.clone()).unwrap();
            read.push((text, line.bytes, line.too_long, line.ended));
        }
        let expected = [
            ("one", 5, false, true),
            ("too ", 9, true, true),
            ("", 1, false, true),
            ("last", 4, false, false),
        ];
        assert_eq!(read, expected.map(|(text, bytes, long, ended)| (text.to_owned(), bytes, long, ended)));
    }
}
