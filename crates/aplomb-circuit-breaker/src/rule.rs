//! Rules of your own.

use std::time::Duration;

use aplomb_core::{Outcome, Usage};
use tokio::time::Instant;

/// A rule of your own that opens a closed circuit. See [`Trip::rule`](crate::Trip::rule).
///
/// It sees every call that was judged while the circuit was closed, under the lock of the circuit. It must be
/// quick, must not panic, and must not use a [`CircuitHandle`](crate::CircuitHandle) on the same circuit, which
/// would deadlock. Closures `FnMut(&CompletedCall) -> bool` implement it.
///
/// # Examples
///
/// ```
/// use aplomb_circuit_breaker::{CompletedCall, Trip};
/// use aplomb_core::Kind;
///
/// // Three throttled calls in a row.
/// let throttled = Trip::rule("throttled repeatedly", || {
///     let mut row = 0;
///     move |call: &CompletedCall| {
///         row = if call.outcome().kind() == Kind::Throttled { row + 1 } else { 0 };
///         row >= 3
///     }
/// });
/// let trip = Trip::default().or(throttled);
/// ```
pub trait Rule: Send + 'static {
    /// Counts a call. Returns whether the circuit should be open, which holds until the next call.
    fn record(&mut self, call: &CompletedCall) -> bool;
}

impl<F: FnMut(&CompletedCall) -> bool + Send + 'static> Rule for F {
    fn record(&mut self, call: &CompletedCall) -> bool {
        self(call)
    }
}

/// A call that has ended and was judged.
#[derive(Clone, Copy, Debug)]
pub struct CompletedCall {
    pub(crate) outcome: Outcome,
    pub(crate) usage: Option<Usage>,
    pub(crate) admitted: Instant,
    pub(crate) content: Option<Instant>,
    pub(crate) at: Instant,
}

impl CompletedCall {
    /// How the call was judged.
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The tokens it used, if known.
    pub const fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// When it ended.
    pub const fn at(&self) -> Instant {
        self.at
    }

    /// The time from admission to the end of the body if bodies are watched, else to the head.
    pub fn took(&self) -> Duration {
        self.at.saturating_duration_since(self.admitted)
    }

    /// The time from admission to the first content, if bodies are watched and there was any.
    pub fn first_content(&self) -> Option<Duration> {
        self.content.map(|content| content.saturating_duration_since(self.admitted))
    }
}
