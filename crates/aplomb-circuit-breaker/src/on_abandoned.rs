//! What a call says that nobody waited for.

use std::time::Duration;

/// What it says about the peer when a call is dropped before it was answered.
///
/// Callers go away for reasons of their own, so unless set it says nothing. But where a timeout stands
/// outside of the circuit, all that the circuit sees of a peer that hangs is calls being dropped.
///
/// A call is not abandoned that had not been sent yet, nor one whose answer had begun: its first content
/// had come, where bodies are watched, or its head otherwise. (An answer whose body is dropped unread is
/// abandoned where bodies are watched.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnAbandoned {
    /// Nothing. The default.
    #[default]
    Neutral,
    /// That it failed.
    Failure,
    /// That it failed, where the call had waited at least so long for it; nothing otherwise. Set it a
    /// little below the timeout outside, whose time begins a little earlier.
    FailureAfter(Duration),
}

impl OnAbandoned {
    /// Whether a call that was dropped `waited` after it had been let through counts as a failure.
    pub(crate) fn is_failure(self, waited: impl FnOnce() -> Duration) -> bool {
        match self {
            Self::Neutral => false,
            Self::Failure => true,
            Self::FailureAfter(bound) => waited() >= bound,
        }
    }
}
