//! The refusal of an open circuit.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aplomb_core::{Outcome, Rejection};

use crate::{State, TransitionCause};

/// OpenReason a circuit lets a call wait or refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenReason {
    pub(crate) state: State,
    pub(crate) cause: TransitionCause,
    pub(crate) since: Duration,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) last: Option<Outcome>,
}

impl OpenReason {
    /// How long until a call may pass, where that is known: the rest of the cooldown. Where all probes are
    /// out, or the circuit recovers and lets in no more, it is twice the usual time to an answer, which
    /// makes room for the next; at most, and where nothing was answered yet, until the first probe will be
    /// given up or everybody may pass.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

/// A call was refused because the circuit was open, and was not sent.
///
/// Its `source()` is the [`Rejection`] that all refusals share: when to come back, how long it waited,
/// what was tried before.
///
/// # Examples
///
/// ```
/// use aplomb_circuit_breaker::CircuitOpen;
/// use aplomb_core::{BoxError, find};
///
/// fn advice(error: &BoxError) -> String {
///     match find::<CircuitOpen>(&**error) {
///         Some(open) => format!("down for {:?}: {}", open.since(), open.cause()),
///         None => error.to_string(),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitOpen {
    why: OpenReason,
    refused: Rejection,
    key: Option<Arc<str>>,
}

impl CircuitOpen {
    /// The refusal of a call, with the account of it.
    #[must_use]
    #[inline]
    pub const fn new(why: OpenReason, refused: Rejection) -> Self {
        Self { why, refused, key: None }
    }

    /// How long until a call may pass, where that is known.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.refused.retry_after()
    }

    /// Says which of several circuits it was. The key is printed: it should hold no secret.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Which of several circuits it was, where it is one of several.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// How long the circuit had not been closed for everybody.
    pub const fn since(&self) -> Duration {
        self.why.since
    }

    /// OpenReason it opened, the last time that it did.
    pub const fn cause(&self) -> TransitionCause {
        self.why.cause
    }

    /// What the call came to that opened it, where one did.
    pub const fn last(&self) -> Option<Outcome> {
        self.why.last
    }

    /// The state that refused: open, isolated, half-open with all probes out, or closed so short a time ago
    /// that only a few may pass at once.
    pub const fn state(&self) -> State {
        self.why.state
    }

    /// The account of the call.
    pub const fn refused(&self) -> &Rejection {
        &self.refused
    }
}

impl From<(OpenReason, Rejection)> for CircuitOpen {
    fn from((why, refused): (OpenReason, Rejection)) -> Self {
        Self::new(why, refused)
    }
}

impl fmt::Display for CircuitOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OpenReason { state, cause, since, last, .. } = self.why;
        f.write_str("circuit ")?;
        if let Some(key) = &self.key {
            write!(f, "{key} ")?;
        }
        match state {
            State::Closed => f.write_str("recovering")?,
            state => state.fmt(f)?,
        }
        write!(f, " since {since:.1?}: {cause}")?;
        match last {
            Some(last) => write!(f, " ({last})"),
            None => Ok(()),
        }
    }
}

impl Error for CircuitOpen {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.refused)
    }
}
