//! What a circuit's state is, and what an observer is told of it.

use std::fmt;
use std::time::Duration;

use aplomb_admission::KeyNotice;
use aplomb_core::{Observe, Outcome};
use tokio::time::Instant;

use crate::window::WindowCounts;

/// The state of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Calls pass and are counted; at first only a few at once, where it has just closed.
    Closed,
    /// Nothing passes until the cooldown is over.
    Open,
    /// A few calls pass, to find out whether the peer is back.
    HalfOpen,
    /// Nothing passes, until somebody says otherwise.
    Isolated,
    /// Everything passes and nothing counts, until somebody says otherwise.
    Disabled,
}

/// OpenReason a circuit changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransitionCause {
    /// It opened: so many failures in a row.
    ConsecutiveFailures,
    /// It opened: too large a share of failures.
    FailureRatio,
    /// It opened: too large a share of slow calls.
    SlowCalls,
    /// It opened: the user's rule of this name said so.
    Rule(&'static str),
    /// It opened: the account can not be served for long.
    Exhausted,
    /// It opened: the credential was refused again and again.
    Unauthorized,
    /// It opened again: the probes failed.
    ProbeFailed,
    /// It opened again: no probe was answered for too long.
    ProbesUnanswered,
    /// It is half-open: the cooldown is over.
    CooldownOver,
    /// It closed: the probes succeeded.
    ProbeSucceeded,
    /// It was switched by hand.
    Forced,
    /// It closed: it was reset.
    Reset,
}

/// A change of state. Told exactly once, outside of any lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    pub(crate) from: State,
    pub(crate) to: State,
    pub(crate) epoch: u64,
    pub(crate) cause: TransitionCause,
    pub(crate) at: Instant,
    pub(crate) cooldown: Option<Duration>,
    pub(crate) last: Option<Outcome>,
}

impl Transition {
    /// The state before.
    pub const fn from(&self) -> State {
        self.from
    }

    /// The state after.
    pub const fn to(&self) -> State {
        self.to
    }

    /// The number of the epoch that begins with it. Where transitions are told from several threads
    /// at once, it says which came first.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// OpenReason the state changed.
    pub const fn cause(&self) -> TransitionCause {
        self.cause
    }

    /// When the state changed.
    pub const fn at(&self) -> Instant {
        self.at
    }

    /// How long nothing will pass, where the circuit opened.
    pub const fn cooldown(&self) -> Option<Duration> {
        self.cooldown
    }

    /// What the call came to that opened the circuit, where one did.
    pub const fn last(&self) -> Option<Outcome> {
        self.last
    }
}

/// How a circuit stands at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CircuitSnapshot {
    pub(crate) state: State,
    pub(crate) epoch: u64,
    pub(crate) tally: WindowCounts,
    pub(crate) slow: WindowCounts,
    pub(crate) failures_in_a_row: u32,
    pub(crate) probes_in_flight: usize,
    pub(crate) ramp: Option<u32>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) cause: Option<TransitionCause>,
}

impl CircuitSnapshot {
    /// The state.
    pub const fn state(&self) -> State {
        self.state
    }

    /// The number of the epoch: how often the circuit has begun anew.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The calls in the window: those of this closed stretch, or of the last one.
    pub const fn tally(&self) -> WindowCounts {
        self.tally
    }

    /// The calls in the window of slow calls, where there is such a rule: those that were slow are its
    /// failures.
    pub const fn slow(&self) -> WindowCounts {
        self.slow
    }

    /// How many calls have failed in a row.
    pub const fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row
    }

    /// How many probes are in flight and have not been given up.
    pub const fn probes_in_flight(&self) -> usize {
        self.probes_in_flight
    }

    /// How many calls may be unanswered at once, where the circuit has just closed and lets in a growing
    /// share of its callers.
    pub const fn ramp(&self) -> Option<u32> {
        self.ramp
    }

    /// How long until a call may pass; nothing where it may now, and where nobody knows.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// OpenReason the circuit is in this state; nothing where it has never been in another.
    pub const fn cause(&self) -> Option<TransitionCause> {
        self.cause
    }
}

/// Writes each [`Transition`] to `tracing`: opening as a warning, the rest as information;
/// with its key, where there are circuits by key.
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingObserver;

impl Observe<Transition> for TracingObserver {
    fn on_event(&self, event: &Transition) {
        event.log(None);
    }
}

impl<K: fmt::Debug> Observe<KeyNotice<'_, K, Transition>> for TracingObserver {
    fn on_event(&self, event: &KeyNotice<'_, K, Transition>) {
        event.notice().log(Some(event.key()));
    }
}

impl Transition {
    fn log(&self, key: Option<&dyn fmt::Debug>) {
        let Self { from, to, epoch, cause, .. } = self;
        let key = key.map(tracing::field::debug);
        if let Some(cooldown) = self.cooldown {
            let last = self.last.map(tracing::field::display);
            tracing::warn!(key, %from, %to, epoch, %cause, ?cooldown, last, "circuit opened");
        } else {
            tracing::info!(key, %from, %to, epoch, %cause, "circuit changed state");
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::Isolated => "isolated",
            Self::Disabled => "disabled",
        })
    }
}

impl fmt::Display for TransitionCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConsecutiveFailures => "failures in a row",
            Self::FailureRatio => "too large a share of failures",
            Self::SlowCalls => "too large a share of slow calls",
            Self::Rule(name) => name,
            Self::Exhausted => "the account is exhausted",
            Self::Unauthorized => "the credential was refused",
            Self::ProbeFailed => "the probes failed",
            Self::ProbesUnanswered => "no probe was answered",
            Self::CooldownOver => "the cooldown is over",
            Self::ProbeSucceeded => "the probes succeeded",
            Self::Forced => "it was switched by hand",
            Self::Reset => "it was reset",
        })
    }
}
