//! Why a caller was not admitted.

use std::time::Duration;

/// Why a queue rejected a caller, and what it knew then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected<R> {
    pub(super) reason: RejectReason,
    pub(super) gate_reason: Option<R>,
    pub(super) retry_after: Option<Duration>,
    pub(super) waited: Duration,
    pub(super) place: Option<usize>,
}

/// Why a queue rejected a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectReason {
    /// The gate rejected it.
    Gate,
    /// The wait would have exceeded its deadline or the longest wait allowed.
    WaitTooLong,
    /// The queue was full.
    QueueFull,
    /// The queue was closed.
    Closed,
    /// The number of keys has reached its limit, all of them are in use, and this call has another one.
    TooManyKeys,
}

impl<R> Rejected<R> {
    /// A rejection with nothing known but the reason.
    pub(crate) const fn at_once(reason: RejectReason) -> Self {
        Self {
            reason,
            gate_reason: None,
            retry_after: None,
            waited: Duration::ZERO,
            place: None,
        }
    }

    /// A rejection by the gate on arrival, with so many callers ahead.
    #[inline]
    pub(super) const fn by_gate(gate_reason: R, ahead: usize) -> Self {
        Self {
            reason: RejectReason::Gate,
            gate_reason: Some(gate_reason),
            retry_after: None,
            waited: Duration::ZERO,
            place: Some(ahead),
        }
    }

    /// Why the caller was rejected.
    #[inline]
    pub const fn reason(&self) -> RejectReason {
        self.reason
    }

    /// The reason of the gate: why it rejected the caller, or what the caller would have had to wait for.
    #[inline]
    pub const fn gate_reason(&self) -> Option<&R> {
        self.gate_reason.as_ref()
    }

    /// How long from now the caller would have had to wait at least, if that is known: on arrival until its own turn,
    /// later until that of the head of the queue. A gate that rejects gives it in its own reason.
    #[inline]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// How long the caller had waited.
    #[inline]
    pub const fn waited(&self) -> Duration {
        self.waited
    }

    /// How many callers were ahead of it, if it was rejected on arrival.
    #[inline]
    pub const fn place(&self) -> Option<usize> {
        self.place
    }

    /// Changes the reason of the gate, and keeps the rest.
    pub fn map<S>(self, change: impl FnOnce(R) -> S) -> Rejected<S> {
        Rejected {
            reason: self.reason,
            gate_reason: self.gate_reason.map(change),
            retry_after: self.retry_after,
            waited: self.waited,
            place: self.place,
        }
    }
}
