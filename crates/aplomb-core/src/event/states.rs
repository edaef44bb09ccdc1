//! The layers, the states and the causes that events mention.

use std::fmt;

/// The layers, as events and rejections name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LayerName {
    /// `aplomb-retry`.
    Retry,
    /// `aplomb-rate-limit`.
    RateLimit,
    /// `aplomb-circuit-breaker`.
    CircuitBreaker,
    /// `aplomb-concurrency`.
    ConcurrencyLimit,
    /// The endpoint, which composes all of them.
    Endpoint,
    /// The router, which selects an endpoint by host and path.
    Router,
    /// A layer of the user's own, by its name.
    Other(&'static str),
}

/// The state of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CircuitState {
    /// Calls pass and are counted. For a while after the circuit has closed, only a growing share of them.
    Closed,
    /// Calls are rejected until the cooldown is over.
    Open,
    /// A few probes pass, to find out whether the server has recovered.
    HalfOpen,
    /// Calls are rejected until someone switches the circuit by hand.
    Isolated,
    /// All calls pass and none is counted, until someone switches the circuit by hand.
    Disabled,
}

/// Why a circuit changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CircuitCause {
    /// It opened: too many consecutive failures.
    ConsecutiveFailures,
    /// It opened: so many calls in a row came to nothing, in the order in which they were sent, that it cannot be chance.
    NobodyGetsThrough,
    /// It opened: the share of failures is too large.
    FailureRatio,
    /// It opened: the share of slow calls is too large.
    SlowCalls,
    /// It opened: a rule of the user's own, by its name.
    Rule(&'static str),
    /// It opened: the account's quota is exhausted.
    Exhausted,
    /// It opened: the credential was refused repeatedly.
    Unauthorized,
    /// It opened again: the probes failed.
    ProbeFailed,
    /// It opened again: no probe was answered in time.
    ProbesUnanswered,
    /// It is half-open: the cooldown is over.
    CooldownOver,
    /// It closed: the probes succeeded.
    ProbeSucceeded,
    /// It was switched by hand.
    Forced,
    /// It was reset by hand.
    Reset,
}

/// Why a concurrency limit changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConcurrencyCause {
    /// Raised: calls succeed, and the right limit is not known yet.
    SlowStart,
    /// Raised: calls succeed at the limit.
    Answered,
    /// Lowered: a call failed because the server is overloaded, or was lost, or timed out.
    Overload,
    /// Lowered: the server rejected a call as one too many at a time, or without saying for how long.
    Throttled,
    /// Lowered: responses take longer.
    Slower,
    /// Set by hand.
    Set,
}

/// Why a failed call was not sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// It would fail again, the server forbade it, or a layer further in rejected the call.
    NotRetryable,
    /// The maximum number of retries was made.
    MaxRetries,
    /// There is not enough time before the deadline.
    Deadline,
    /// The backoff has no further delay: a list that is used up.
    BackoffEnded,
    /// The server asked to wait longer than `max_retry_after`.
    RetryAfterTooLong,
    /// The request cannot be copied, or its body is larger than the replay limit.
    CannotReplay,
    /// The request must not be sent twice, or not after this failure.
    NotRepeatable,
    /// The retry budget is used up.
    Budget,
    /// A stop condition of the user's own.
    Condition,
    /// The cancellation token was cancelled.
    Cancelled,
    /// A retry layer outside of this one does the retrying.
    Nested,
    /// Retries are disabled for this call.
    Disabled,
    /// The inner service failed to become ready.
    NotReady,
}

impl fmt::Display for LayerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Retry => "retry",
            Self::RateLimit => "rate limit",
            Self::CircuitBreaker => "circuit breaker",
            Self::ConcurrencyLimit => "concurrency limit",
            Self::Endpoint => "endpoint",
            Self::Router => "router",
            Self::Other(name) => name,
        })
    }
}

impl fmt::Display for CircuitState {
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

impl fmt::Display for CircuitCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConsecutiveFailures => "consecutive failures",
            Self::NobodyGetsThrough => "nobody gets through",
            Self::FailureRatio => "failure ratio",
            Self::SlowCalls => "slow calls",
            Self::Rule(name) => name,
            Self::Exhausted => "quota exhausted",
            Self::Unauthorized => "credential refused",
            Self::ProbeFailed => "probe failed",
            Self::ProbesUnanswered => "probes unanswered",
            Self::CooldownOver => "cooldown over",
            Self::ProbeSucceeded => "probe succeeded",
            Self::Forced => "switched by hand",
            Self::Reset => "reset by hand",
        })
    }
}

impl fmt::Display for ConcurrencyCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SlowStart => "slow start",
            Self::Answered => "calls succeed at the limit",
            Self::Overload => "overload",
            Self::Throttled => "throttled",
            Self::Slower => "slower responses",
            Self::Set => "set by hand",
        })
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRetryable => "not retryable",
            Self::MaxRetries => "retries used up",
            Self::Deadline => "no time left before the deadline",
            Self::BackoffEnded => "backoff ended",
            Self::RetryAfterTooLong => "server asked to wait too long",
            Self::CannotReplay => "request cannot be sent twice",
            Self::NotRepeatable => "request must not be sent twice",
            Self::Budget => "retry budget used up",
            Self::Condition => "stop condition met",
            Self::Cancelled => "cancelled",
            Self::Nested => "left to the outer retry layer",
            Self::Disabled => "retries disabled",
            Self::NotReady => "inner service not ready",
        })
    }
}
