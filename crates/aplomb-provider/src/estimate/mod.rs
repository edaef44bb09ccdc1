//! How many tokens a request will consume, estimated before it is sent.

mod attachment;
mod part;
#[cfg(test)]
mod tests;
mod tokenizer;
mod walk;

pub(crate) use attachment::ImageTokens;
pub(crate) use tokenizer::CharactersPerToken;
use tokenizer::Counter;
pub use tokenizer::Tokenizer;

/// Bytes per token of a body that breaks off.
const BYTES_PER_TOKEN: u64 = 4;

/// The last segments of paths whose answers have no output tokens.
const WITHOUT_OUTPUT: [&str; 9] = [
    "embeddings",
    "embed",
    "rerank",
    "moderations",
    "count_tokens",
    "tokenize",
    "embedContent",
    "batchEmbedContents",
    "countTokens",
];

/// A rough estimate of what a request will consume, in tokens.
///
/// Input is the texts and tools of the prompt, plus an amount for each image, audio and file. Output is the
/// maximum that the request allows, for all the answers that it asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    input: u64,
    output: Option<u64>,
}

impl Estimate {
    /// An estimate of your own: input tokens, and the maximum output tokens if they are bounded.
    #[must_use]
    pub const fn new(input: u64, output: Option<u64>) -> Self {
        Self { input, output }
    }

    /// Estimates a request in any of the known shapes.
    pub(crate) fn of(path: &str, body: &[u8], tokenizer: Option<&dyn Tokenizer>, image: ImageTokens) -> Self {
        let counter = tokenizer.map_or(Counter::Characters(CharactersPerToken::FOUR), Counter::Custom);
        let estimate = Self::of_body(body, counter, image);
        let path = path.as_bytes();
        let segment = memchr::memrchr2(b'/', b':', path).map_or(&path[..0], |at| &path[at + 1..]);
        if WITHOUT_OUTPUT.iter().any(|name| name.as_bytes() == segment) {
            Self::new(estimate.input, Some(0))
        } else {
            estimate
        }
    }

    /// Estimates a body. A body that is not JSON consumes nothing. One that starts as JSON and breaks off (half
    /// an emoji is enough) counts one token per four bytes, and the maximum output stated up to there.
    fn of_body(body: &[u8], counter: Counter<'_>, image: ImageTokens) -> Self {
        let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
        match walk::count(body, counter, image) {
            Ok(sums) => Self::new(sums.input, sums.output),
            Err(output) if matches!(body.trim_ascii_start().first(), Some(b'{' | b'[')) => {
                Self::new((body.len() as u64).div_ceil(BYTES_PER_TOKEN), output)
            }
            Err(_) => Self::default(),
        }
    }

    /// The same with another number of input tokens.
    #[must_use]
    pub const fn with_input(mut self, input: u64) -> Self {
        self.input = input;
        self
    }

    /// Tokens of the prompt.
    pub const fn input(&self) -> u64 {
        self.input
    }

    /// The maximum tokens of the answer, if the request bounds them.
    pub const fn output(&self) -> Option<u64> {
        self.output
    }
}
