//! The units that limits count in.

use std::fmt;

/// The unit in which a quota, a charge or a server's limit is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dimension(&'static str);

impl Dimension {
    /// Requests.
    pub const REQUESTS: Self = Self("requests");
    /// Tokens, input and output together.
    pub const TOKENS: Self = Self("tokens");
    /// Input tokens.
    pub const INPUT_TOKENS: Self = Self("input tokens");
    /// Output tokens.
    pub const OUTPUT_TOKENS: Self = Self("output tokens");

    /// A custom dimension: images, characters, anything that is counted.
    #[must_use]
    pub const fn named(name: &'static str) -> Self {
        Self(name)
    }

    /// The name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
