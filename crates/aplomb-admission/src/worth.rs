//! The order in which keys are evicted.

use tokio::time::Instant;

/// State of a key that may be evicted to make room for others.
pub trait Evictable {
    /// The worth of this at `now`.
    ///
    /// Called under a lock: it must be quick, and must not use the map that holds it.
    fn worth(&mut self, now: Instant) -> Worth;
}

/// How much would be lost with the state of a key. Of several keys the one with the least worth is evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Worth(u8);

impl Worth {
    /// Nothing: it equals a fresh one. Evicted as soon as it is come across, unless it has just been used.
    pub const FRESH: Self = Self(0);
    /// Next to nothing: a single failure, or rejections of a credential. An attacker can cause any number of these.
    pub const LOW: Self = Self(1);
    /// State that was used or learned, and will be learned again.
    pub const MEDIUM: Self = Self(2);
    /// State that protects the server or the caller: an open circuit, a debt, a pause, a limit that the server named.
    pub const HIGH: Self = Self(3);
    /// It is in use, and never evicted.
    pub const IN_USE: Self = Self(u8::MAX);
}
