//! How a key appears in events and errors.

use std::fmt;
use std::sync::Arc;

/// How a key appears in events, errors and log lines: as text if its owner declared it public, as a hash
/// otherwise.
///
/// Hashes are the same within a process only. Clones share the text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyLabel(Label);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Label {
    Hash(u64),
    Public(Arc<str>),
}

impl KeyLabel {
    /// The label of a key that is not shown. `hash` must be one from which the key cannot be guessed: of a
    /// hasher with a random seed.
    #[must_use]
    pub const fn hashed(hash: u64) -> Self {
        Self(Label::Hash(hash))
    }

    /// The label of a key that may be shown.
    #[must_use]
    pub fn public(text: impl Into<Arc<str>>) -> Self {
        Self(Label::Public(text.into()))
    }
}

/// The text of a public key, or `#` and 16 hexadecimal digits.
impl fmt::Display for KeyLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Label::Hash(hash) => write!(f, "#{hash:016x}"),
            Label::Public(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for KeyLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyLabel({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_hash_unless_it_is_public() {
        assert_eq!(KeyLabel::hashed(0xbeef).to_string(), "#000000000000beef");
        assert_eq!(format!("{:?}", KeyLabel::public("tenant 7")), "KeyLabel(tenant 7)");
    }
}
