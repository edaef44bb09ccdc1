//! Calls that a circuit does not admit, and calls that their callers drop.

use std::time::Duration;

/// The treatment of calls that the circuit does not admit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnOpen {
    /// They are rejected at once. The default.
    #[default]
    FailFast,
    /// They wait for the circuit to close, in order of arrival: a batch survives an outage.
    ///
    /// A call is rejected at once if the cooldown lasts longer than `max` or than the call's deadline, and if the
    /// circuit is isolated. While probes are in flight, other calls wait for their result. Waiting requires a
    /// tokio runtime with time enabled.
    Park {
        /// The longest wait. In a layer of its own, it limits the whole wait of each call; if the circuit is one of
        /// several gates, it limits each cooldown, and the limits of the queue apply to the whole.
        max: Duration,
    },
}

/// The meaning of a call that is dropped before it was answered.
///
/// Callers leave for reasons of their own, so by default it means nothing. But if there is a timeout outside the
/// circuit, dropped calls are all the circuit sees of a server that hangs.
///
/// A call counts as abandoned if it was sent and its answer had not begun: there was no first content yet if bodies
/// are watched, or no head otherwise. (If bodies are watched, an answer whose body is dropped unread was abandoned.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnAbandoned {
    /// It means nothing. The default.
    #[default]
    Neutral,
    /// It counts as a failure.
    Failure,
    /// It counts as a failure if the call had waited at least this long for an answer. Set it a little below the
    /// outer timeout, which starts a little earlier.
    FailureAfter(Duration),
}

impl OnAbandoned {
    /// Returns whether a call that was dropped `waited` after its admission counts as a failure.
    pub(crate) fn is_failure(self, waited: impl FnOnce() -> Duration) -> bool {
        match self {
            Self::Neutral => false,
            Self::Failure => true,
            Self::FailureAfter(bound) => waited() >= bound,
        }
    }
}
