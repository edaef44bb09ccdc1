//! How much a request will consume, before it is sent.

mod media;
mod place;
mod tokenizer;
mod walk;

pub(crate) use media::Rates;
pub use tokenizer::{CharactersPerToken, Tokenizer, TokenizerFn, tokenizer};

/// What a body that can not be read comes to.
const BYTES_PER_TOKEN: u64 = 4;

/// Whether a request to this path is answered with something else than tokens.
pub(crate) fn has_no_output(path: &str) -> bool {
    let last = path.rfind(['/', ':']).map_or("", |at| &path[at + 1..]);
    matches!(
        last,
        "embeddings"
            | "embed"
            | "rerank"
            | "moderations"
            | "count_tokens"
            | "tokenize"
            | "embedContent"
            | "batchEmbedContents"
            | "countTokens"
    )
}

/// A rough estimate of what a request will consume, in tokens.
///
/// Input is what the texts and tools of the prompt come to, and something for each image, sound and
/// file. Output is the most the request allows, for all the answers it asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    input: u64,
    output: Option<u64>,
}

impl Estimate {
    /// An estimate of the caller's own: input tokens, and the most output tokens if they are bounded.
    #[must_use]
    pub const fn new(input: u64, output: Option<u64>) -> Self {
        Self { input, output }
    }

    /// Estimates a request body in any of the known shapes. One that is not JSON comes to nothing; one that
    /// begins as JSON and can not be read to its end (half of an emoji is enough) to a token for four bytes,
    /// and to the output it had bounded until there.
    pub(crate) fn of(body: &[u8], tokenizer: &dyn Tokenizer, rates: Rates) -> Self {
        let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
        walk::walk(body, tokenizer, rates).unwrap_or_else(|output| match body.trim_ascii_start().first() {
            Some(b'{' | b'[') => Self::new((body.len() as u64).div_ceil(BYTES_PER_TOKEN), output),
            _ => Self::default(),
        })
    }

    /// The same with other tokens of the prompt.
    #[must_use]
    pub const fn with_input(mut self, input: u64) -> Self {
        self.input = input;
        self
    }

    /// Tokens of the prompt.
    pub const fn input(&self) -> u64 {
        self.input
    }

    /// The most tokens of the answer, where the request bounds them.
    pub const fn output(&self) -> Option<u64> {
        self.output
    }
}
