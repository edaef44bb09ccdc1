//! A rule of the user's own.

use std::time::Duration;

use aplomb_core::{Outcome, Usage};
use tokio::time::Instant;

/// A rule of the user's own that opens a closed circuit. See [`Trip::rule`](crate::Trip::rule).
///
/// It is told of every call that was judged while the circuit was closed, under the lock of the circuit:
/// it has to be quick, and must neither panic nor use a [`CircuitHandle`](crate::CircuitHandle) on the same circuit,
/// which would wait for itself. A closure `FnMut(&CompletedCall) -> bool` is one.
///
/// # Examples
///
/// ```
/// use aplomb_circuit_breaker::{CompletedCall, Trip};
/// use aplomb_core::Kind;
///
/// // Three throttles in a row.
/// let throttled = Trip::rule("throttled again and again", || {
///     let mut row = 0;
///     move |call: &CompletedCall| {
///         row = if call.outcome().kind() == Kind::Throttled { row + 1 } else { 0 };
///         row >= 3
///     }
/// });
/// let trip = Trip::default().or(throttled);
/// ```
pub trait Rule: Send + 'static {
    /// Counts a call, and says whether the circuit should be open. What it says holds until the next.
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
    /// What it came to.
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// What it consumed, where that is known.
    pub const fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// When it ended.
    pub const fn at(&self) -> Instant {
        self.at
    }

    /// How long it took since the circuit let it through: to the end of its body where bodies are
    /// watched, to its head otherwise.
    pub fn took(&self) -> Duration {
        self.at.saturating_duration_since(self.admitted)
    }

    /// How long it took to its first content, where bodies are watched and there was any.
    pub fn first_content(&self) -> Option<Duration> {
        self.content.map(|content| content.saturating_duration_since(self.admitted))
    }
}
