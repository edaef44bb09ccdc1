//! What a caller is told whose key was refused.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use aplomb_core::BoxError;

/// A call was refused on account of its key, and never sent.
///
/// Its `source()` is what the layer says of the refusal: [`find`](aplomb_core::find) reaches that, and the
/// [`Rejection`](aplomb_core::Rejection) within.
#[derive(Debug)]
pub struct KeyRefused {
    key: Arc<str>,
    error: BoxError,
}

impl KeyRefused {
    /// The refusal `error`, of a call with this key: as its `Debug` shows it.
    pub const fn new(key: Arc<str>, error: BoxError) -> Self {
        Self { key, error }
    }

    /// The key, as its `Debug` shows it.
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// The key, and what the layer says: one line for who prints an error and not its sources.
impl fmt::Display for KeyRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused for key {}: {}", self.key, self.error)
    }
}

impl Error for KeyRefused {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.error)
    }
}
