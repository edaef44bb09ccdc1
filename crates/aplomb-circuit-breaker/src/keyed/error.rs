//! The refusal for want of room.

use std::error::Error;
use std::fmt;

use aplomb_core::Rejection;

/// A call was refused because its key has no circuit, and there is no room for one: as many keys as may be
/// have something that must not be forgotten. It was not sent.
///
/// Its `source()` is [`Rejection`]. The key is named by the [`KeyRefused`](aplomb_admission::KeyRefused) around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooManyKeys {
    refused: Rejection,
}

impl TooManyKeys {
    pub(crate) const fn new(refused: Rejection) -> Self {
        Self { refused }
    }

    /// The account of the call.
    pub const fn refused(&self) -> &Rejection {
        &self.refused
    }
}

impl fmt::Display for TooManyKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there are as many circuits as may be, and all are in use, open or in doubt")
    }
}

impl Error for TooManyKeys {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.refused)
    }
}
