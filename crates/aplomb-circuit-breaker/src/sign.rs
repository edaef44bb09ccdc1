//! What an outcome says about the peer's health.

use aplomb_core::{Kind, Outcome};

/// What one answer says about who gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It works.
    Healthy,
    /// It fails.
    Failing,
    /// It answers, so it lives, but refused this request for the request's own sake.
    Alive,
    /// It asks to be left alone for a while.
    Throttling,
    /// It will not serve this account for long.
    Exhausted,
    /// It does not know this credential.
    Unauthorized,
    /// Nothing: the call ended on our side.
    Nothing,
}

impl From<Outcome> for Sign {
    fn from(outcome: Outcome) -> Self {
        match outcome.kind() {
            Kind::Success => Self::Healthy,
            Kind::Transient => Self::Failing,
            Kind::Busy | Kind::Permanent => Self::Alive,
            Kind::Throttled => Self::Throttling,
            Kind::Exhausted => Self::Exhausted,
            Kind::Unauthorized => Self::Unauthorized,
            // Local ones, and kinds to come.
            _ => Self::Nothing,
        }
    }
}
