//! The rejection by a circuit.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aplomb_core::{CircuitCause, KeyLabel, Outcome, Rejection};

use crate::CircuitState;

/// Why a circuit rejects a call, or makes it wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenReason {
    pub(crate) state: CircuitState,
    pub(crate) cause: CircuitCause,
    pub(crate) since: Duration,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) last: Option<Outcome>,
}

impl OpenReason {
    /// How long until a call may pass, if known. While the circuit is open: the rest of the cooldown. While all probes
    /// are in flight, or the ramp is full: twice the usual time to an answer, at most until the lease of the first
    /// probe or the ramp ends.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

/// A call was rejected because the circuit was open. It was not sent.
///
/// Its `source()` is the [`Rejection`] that all rejections share: when to come back, how long the call waited, what was
/// tried before.
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
    state: CircuitState,
    cause: CircuitCause,
    since: Duration,
    last: Option<Outcome>,
    rejection: Rejection,
    key: Option<KeyLabel>,
}

impl CircuitOpen {
    /// A rejection for this reason.
    #[doc(hidden)]
    #[must_use]
    #[inline]
    pub const fn new(reason: OpenReason, rejection: Rejection) -> Self {
        Self::of_key(reason, rejection, None)
    }

    /// The same for a key, if there are several circuits.
    #[inline]
    pub(crate) const fn of_key(reason: OpenReason, rejection: Rejection, key: Option<KeyLabel>) -> Self {
        let OpenReason { state, cause, since, last, .. } = reason;
        Self { state, cause, since, last, rejection, key }
    }

    /// How long until a call may pass, if known.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.rejection.retry_after()
    }

    /// Adds the label of the circuit's key, if there are several circuits.
    #[doc(hidden)]
    #[must_use]
    #[inline]
    pub fn with_key(mut self, key: Option<KeyLabel>) -> Self {
        self.key = key;
        self
    }

    /// The label of the circuit's key, if there are several circuits.
    pub const fn key(&self) -> Option<&KeyLabel> {
        self.key.as_ref()
    }

    /// How long ago the outage began: since then the circuit has not admitted everyone.
    pub const fn since(&self) -> Duration {
        self.since
    }

    /// Why it last opened.
    pub const fn cause(&self) -> CircuitCause {
        self.cause
    }

    /// The outcome of the call that opened it, if one did.
    pub const fn last(&self) -> Option<Outcome> {
        self.last
    }

    /// The state that rejected the call: open, isolated, half-open with all probes in flight, or closed so recently
    /// that only a few calls may pass.
    pub const fn state(&self) -> CircuitState {
        self.state
    }

    /// Details common to all rejections.
    pub const fn rejection(&self) -> &Rejection {
        &self.rejection
    }
}

impl fmt::Display for CircuitOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, cause, since, last, .. } = self;
        f.write_str("circuit ")?;
        if let Some(key) = &self.key {
            write!(f, "{key} ")?;
        }
        match state {
            CircuitState::Closed => f.write_str("recovering")?,
            state => state.fmt(f)?,
        }
        write!(f, " for {since:.1?}: {cause}")?;
        match last {
            Some(last) => write!(f, " ({last})"),
            None => Ok(()),
        }
    }
}

impl Error for CircuitOpen {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.rejection)
    }
}
