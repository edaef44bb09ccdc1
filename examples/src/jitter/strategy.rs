//! How long a client waits before it tries again.

use std::fmt;
use std::time::Duration;

use aplomb::core::{Exponential, Jitter};

/// A way to wait before trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strategy {
    /// No wait.
    Nothing,
    /// Twice as long each time, the same for all clients.
    Exponential,
    /// Half of that, plus a random part of the other half.
    Equal,
    /// A random part of that.
    Full,
    /// At random between the base and three times the previous wait.
    Decorrelated,
}

impl Strategy {
    /// All strategies.
    pub const ALL: [Self; 5] = [
        Self::Nothing,
        Self::Exponential,
        Self::Equal,
        Self::Full,
        Self::Decorrelated,
    ];

    pub(crate) fn backoff(self) -> Exponential {
        let doubling = Exponential::new(Duration::from_millis(500)).max(Duration::from_secs(200));
        match self {
            Self::Nothing => Exponential::new(Duration::ZERO).jitter(Jitter::None),
            Self::Exponential => doubling.jitter(Jitter::None),
            Self::Equal => doubling.jitter(Jitter::Equal),
            Self::Full => doubling.jitter(Jitter::Full),
            Self::Decorrelated => doubling.jitter(Jitter::Decorrelated),
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nothing => "no backoff",
            Self::Exponential => "exponential, no jitter",
            Self::Equal => "equal jitter",
            Self::Full => "full jitter",
            Self::Decorrelated => "decorrelated jitter",
        })
    }
}
