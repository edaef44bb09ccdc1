//! The text of answers. It is known in advance, so a client can check that it got all of it.

use crate::chosen::ToolCall;
use crate::draw::{self, Lot};
use crate::size::Size;

const FILLER: [&str; 16] = [
    "and", "then", "some", "quiet", "words", "follow", "in", "a", "row", "until", "the", "answer", "is",
    "long", "enough", "indeed",
];

/// Returns the answer to a prompt: exactly this many words, joined by single spaces.
///
/// The text is `answer to <16 hex digits of the prompt's hash>:`, the prompt's own words, and filler, cut to `words`. A
/// request gets [`answer_words`](crate::Builder::answer_words) or its own `max_tokens`, whichever is less.
/// A word is one token of output.
///
/// # Examples
///
/// ```
/// let text = aplomb_mock::answer("why is the sky blue", 10);
/// assert!(text.starts_with("answer to "));
/// assert!(text.contains(": why is the sky blue"));
/// assert_eq!(text.split(' ').count(), 10);
/// ```
pub fn answer(prompt: &str, words: usize) -> String {
    self::words(prompt, words).join(" ")
}

/// The content of an answer: words, each of which a stream sends as one event, or tool calls.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) words: Vec<String>,
    /// True if `max_tokens` cuts it off.
    pub(crate) cut: bool,
    pub(crate) input_tokens: u64,
    pub(crate) tool_calls: Vec<ToolCall>,
}

impl Content {
    pub(crate) fn new(prompt: &str, size: &Size) -> Self {
        let words = self::words(prompt, size.words);
        Self { words, cut: size.cut, input_tokens: size.input, tool_calls: Vec::new() }
    }
}

fn words(prompt: &str, count: usize) -> Vec<String> {
    let key = draw::key(prompt);
    let opening = ["answer".to_owned(), "to".to_owned(), format!("{key:016x}:")];
    let echo = prompt.split_whitespace().map(str::to_owned);
    let filler = (0..).map(|n| {
        // Four bits choose a word. They differ by prompt, so that mixed-up streams show.
        let choice = draw::bits(0, key, n, Lot::Filler) % 16;
        FILLER[usize::try_from(choice).unwrap_or(0)].to_owned()
    });
    opening.into_iter().chain(echo).chain(filler).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_differ_even_where_the_prompts_begin_alike() {
        let long = "word ".repeat(100);
        assert_ne!(answer(&format!("{long} one"), 8), answer(&format!("{long} two"), 8));
    }

    #[test]
    fn the_length_is_exact() {
        for words in [0, 1, 3, 100] {
            assert_eq!(super::words("a b", words).len(), words);
        }
    }
}
