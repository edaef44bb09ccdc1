//! The prompts, read as they are needed.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use tokio::sync::mpsc;

use super::lines::{self, LONGEST};
use super::prompt::{Id, Prompt};

/// How many prompts are read ahead of the workers: enough that none waits for the disk, and few enough for memory.
const READ_AHEAD: usize = 8;

/// A line of the input. Blank lines are skipped.
#[derive(Debug)]
pub(crate) enum Item {
    /// A prompt to answer.
    Prompt(Prompt),
    /// A prompt that an earlier run has answered.
    Answered,
    /// An invalid line, by number.
    Bad(u64, Problem),
    /// The input cannot be read any further.
    Unreadable(io::Error),
}

/// Why a line is invalid: the text after `line 81`.
#[derive(Debug)]
pub(crate) enum Problem {
    /// It is not JSON, or not that of a prompt.
    Invalid(serde_json::Error),
    /// An earlier line has the same id.
    Duplicate(Id),
    TooLong,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) if !error.is_data() => f.write_str("is not JSON"),
            Self::Invalid(error) => {
                // The parser counts lines too, and has only ever seen this one.
                let error = error.to_string();
                let (what, _) = error.rsplit_once(" at line ").unwrap_or((&error, ""));
                write!(f, "is not a prompt: {what}")
            }
            Self::Duplicate(id) => write!(f, "repeats the id {id}"),
            Self::TooLong => write!(f, "is longer than {LONGEST} bytes"),
        }
    }
}

/// Reads prompts line by line, and remembers their ids.
pub(crate) struct Prompts<R> {
    reader: R,
    answered: HashSet<Id>,
    seen: HashSet<Id>,
    line: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Prompts<R> {
    /// Reads from `reader`, and skips the prompts in `answered`.
    pub(crate) fn new(reader: R, answered: HashSet<Id>) -> Self {
        Self { reader, answered, seen: HashSet::new(), line: 0, buffer: Vec::new() }
    }

    fn read(&mut self) -> io::Result<Option<Item>> {
        loop {
            let Some(line) = lines::next(&mut self.reader, &mut self.buffer, LONGEST)? else {
                return Ok(None);
            };
            self.line += 1;
            if line.too_long {
                return Ok(Some(Item::Bad(self.line, Problem::TooLong)));
            }
            let mut text = self.buffer.as_slice();
            if self.line == 1 {
                // Editors on Windows begin a file with a byte order mark.
                text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
            }
            if !text.trim_ascii().is_empty() {
                return Ok(Some(match serde_json::from_slice(text) {
                    Ok(prompt) => self.take(prompt),
                    Err(error) => Item::Bad(self.line, Problem::Invalid(error)),
                }));
            }
        }
    }

    fn take(&mut self, prompt: Prompt) -> Item {
        if !self.seen.insert(prompt.id.clone()) {
            Item::Bad(self.line, Problem::Duplicate(prompt.id))
        } else if self.answered.contains(&prompt.id) {
            Item::Answered
        } else {
            Item::Prompt(prompt)
        }
    }
}

impl<R: BufRead> Iterator for Prompts<R> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        self.read().unwrap_or_else(|error| Some(Item::Unreadable(error)))
    }
}

/// Reads in a thread of its own: standard input may block its reader forever, which must not block the run.
pub(crate) fn read_ahead(
    input: Box<dyn Read + Send>,
    answered: HashSet<Id>,
) -> io::Result<mpsc::Receiver<Item>> {
    let (items, read) = mpsc::channel(READ_AHEAD);
    std::thread::Builder::new().name("input".to_owned()).spawn(move || {
        for item in Prompts::new(BufReader::new(input), answered) {
            let last = matches!(item, Item::Unreadable(_));
            if items.blocking_send(item).is_err() || last {
                return;
            }
        }
    })?;
    Ok(read)
}

/// Counts the lines of a file that are not blank, for the progress bar.
pub(crate) fn count(input: impl Read) -> io::Result<u64> {
    let (mut reader, mut buffer, mut count) = (BufReader::new(input), Vec::new(), 0);
    // 64 bytes are enough to see that a line is not blank.
    while lines::next(&mut reader, &mut buffer, 64)?.is_some() {
        count += u64::from(!buffer.trim_ascii().is_empty());
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ids of the prompts in `text`, and the problems of its other lines.
    fn read(text: &[u8], answered: &[&str]) -> Vec<String> {
        let answered = answered.iter().map(|id| serde_json::from_str(id).unwrap()).collect();
        let prompts = Prompts::new(text, answered);
        let words = prompts.map(|item| match item {
            Item::Prompt(prompt) => format!("{} {}", prompt.id, prompt.text),
            Item::Answered => "answered".to_owned(),
            Item::Bad(line, problem) => format!("line {line} {problem}"),
            Item::Unreadable(error) => error.to_string(),
        });
        words.collect()
    }

    #[test]
    fn any_line_end_is_taken_and_blank_lines_are_skipped() {
        let text = "\u{FEFF}{\"id\":1,\"prompt\":\"a\"}\r\n\r\n   \n{\"id\":2,\"prompt\":\"b\"}";
        assert_eq!(read(text.as_bytes(), &[]), ["1 a", "2 b"]);
        assert_eq!(count(text.as_bytes()).unwrap(), 2);
        assert!(read(b"", &[]).is_empty());
    }

    #[test]
    fn a_bad_line_is_named_and_the_rest_goes_on() {
        let text = b"{\"id\":1,\"prompt\":\"a\"}\nnonsense\n{\"id\":2}\n{\"prompt\":\"b\"}\n{\"id\":null,\"prompt\":\"b\"}\n\
            {\"id\":3,\"prompt\":7}\n{\"id\":1,\"prompt\":\"c\"}\n\xff\xfe\n[]\n{\"id\":4,\"prompt\":\"d\"";
        let read = read(text, &[]);
        assert_eq!(read[0], "1 a");
        assert_eq!(read[1], "line 2 is not JSON");
        assert_eq!(read[2], "line 3 is not a prompt: missing field `prompt`");
        assert_eq!(read[3], "line 4 is not a prompt: missing field `id`");
        assert_eq!(read[4], "line 5 is not a prompt: the id must be a string or a number");
        assert!(read[5].starts_with("line 6 is not a prompt: invalid type: integer `7`"), "{}", read[5]);
        assert_eq!(read[6], "line 7 repeats the id 1");
        assert_eq!(read[7], "line 8 is not JSON");
        assert!(read[8].starts_with("line 9 is not a prompt: "), "{}", read[8]);
        assert_eq!(read[9], "line 10 is not JSON");
        assert_eq!(read.len(), 10);
    }

    #[test]
    fn an_answered_prompt_is_skipped_once() {
        let text = b"{\"id\":\"a\",\"prompt\":\"a\"}\n{\"id\":\"a\",\"prompt\":\"a\"}\n{\"id\":1,\"prompt\":\"b\"}\n";
        assert_eq!(read(text, &["\"a\"", "\"1\""]), ["answered", "line 2 repeats the id \"a\"", "1 b"]);
    }
}
