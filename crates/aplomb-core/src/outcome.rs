//! The outcome of an attempt.

use std::fmt;
use std::time::Duration;

use crate::Dimension;

/// How one attempt ended, as far as the layers act on it.
///
/// An attempt is classified once, by a [`Classify`](crate::Classify), and all layers read the same outcome:
/// the retry decides whether to send the request again, the rate limit whether to pause, the circuit breaker
/// whether the server is failing.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aplomb_core::{Kind, Outcome, Scope};
///
/// let outcome = Outcome::throttled().with_retry_after(Duration::from_secs(2));
/// assert_eq!(outcome.kind(), Kind::Throttled);
/// assert_eq!(outcome.scope(), Scope::Account);
/// assert!(outcome.is_retryable());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Outcome {
    kind: Kind,
    scope: Scope,
    retry_after: Option<Duration>,
    retry_forbidden: bool,
    of_concurrency: bool,
    dimension: Option<Dimension>,
    progress: Progress,
    pacing: Pacing,
}

/// Where a call that failed waits before it is sent again, as far as a queue that it passes knows.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pacing {
    /// It is not known.
    #[default]
    Unknown,
    /// In the queue: the server lets nobody through, and the queue knows when to ask again.
    InQueue,
    /// By itself: others get through.
    Alone,
}

/// How far the server got with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// It answered, or it is not known.
    Answered,
    /// It has certainly not begun to act on it.
    NotBegun,
    /// It has not answered and may still be working on it.
    Unanswered,
    /// The same: the connection was lost.
    Lost,
}

/// The kinds of outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Answered, and the response is complete as far as it is known.
    Success,
    /// A failure that may pass: a lost connection, an attempt timeout, 5xx.
    Transient,
    /// Another request is being processed (409, 425). Says nothing about the server's health.
    Busy,
    /// Requests come too fast: a 429 about a rate.
    Throttled,
    /// The account's quota is used up or its spending limit is reached. Waiting a minute does not help.
    Exhausted,
    /// The credential was refused: 401, or 403 about the key.
    Unauthorized,
    /// The same request would fail again: an invalid request, a context too long.
    Permanent,
    /// Ended on this side: rejected by an aplomb layer, or the deadline passed.
    Local,
}

/// The requests that a failure concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// This request only.
    Request,
    /// All requests of the same account, key or project.
    Account,
    /// All requests to the same server.
    Server,
}

impl Outcome {
    const fn new(kind: Kind, scope: Scope) -> Self {
        Self {
            kind,
            scope,
            retry_after: None,
            retry_forbidden: false,
            of_concurrency: false,
            dimension: None,
            progress: Progress::Answered,
            pacing: Pacing::Unknown,
        }
    }

    /// A success.
    pub const fn success() -> Self {
        Self::new(Kind::Success, Scope::Request)
    }

    /// A failure that may pass. Scope: the server.
    pub const fn transient() -> Self {
        Self::new(Kind::Transient, Scope::Server)
    }

    /// A conflict with another request. Scope: the request.
    pub const fn busy() -> Self {
        Self::new(Kind::Busy, Scope::Request)
    }

    /// Requests come too fast. Scope: the account.
    pub const fn throttled() -> Self {
        Self::new(Kind::Throttled, Scope::Account)
    }

    /// The account's quota is used up. Scope: the account.
    pub const fn exhausted() -> Self {
        Self::new(Kind::Exhausted, Scope::Account)
    }

    /// The credential was refused. Scope: the account.
    pub const fn unauthorized() -> Self {
        Self::new(Kind::Unauthorized, Scope::Account)
    }

    /// The same request would fail again. Scope: the request.
    pub const fn permanent() -> Self {
        Self::new(Kind::Permanent, Scope::Request)
    }

    /// Ended on this side. Scope: the request.
    pub const fn local() -> Self {
        Self::new(Kind::Local, Scope::Request)
    }

    /// Sets which requests the failure concerns.
    pub const fn with_scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Adds the server's hint: how long after this response a request may be sent again.
    pub const fn with_retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    /// Removes the server's hint, for example because it is implausible.
    pub const fn without_retry_after(mut self) -> Self {
        self.retry_after = None;
        self
    }

    /// Forbids a retry, whatever the kind (`x-should-retry: false`).
    ///
    /// The kind stays: a 500 that must not be sent again still is a failure of the server.
    pub const fn forbid_retry(mut self) -> Self {
        self.retry_forbidden = true;
        self
    }

    /// Marks a failure before the server began to act on the request: no connection could be made, or the
    /// server rejected it before any work.
    pub const fn mark_unprocessed(mut self) -> Self {
        self.progress = Progress::NotBegun;
        self
    }

    /// Marks a failure without a response, after which the server may still be working on the request: an
    /// attempt timeout, a lost connection.
    pub const fn mark_unanswered(mut self) -> Self {
        self.progress = Progress::Unanswered;
        self
    }

    /// Marks a failure without a response as that of a lost connection: the server did not leave the call waiting.
    #[doc(hidden)]
    pub const fn mark_connection_lost(mut self) -> Self {
        self.progress = Progress::Lost;
        self
    }

    /// The connection failed before the server began, which says nothing about the server: the next attempt gets another
    /// connection.
    #[doc(hidden)]
    pub const fn never_begun() -> Self {
        Self::transient().with_scope(Scope::Request).mark_unprocessed()
    }

    /// Returns whether the server never began, and that says nothing about it.
    #[doc(hidden)]
    pub const fn is_never_begun(&self) -> bool {
        matches!(
            (self.kind, self.scope, self.progress),
            (Kind::Transient, Scope::Request, Progress::NotBegun)
        )
    }

    /// Marks a throttle as being about the number of requests in flight, not about their rate.
    pub const fn of_concurrency(mut self) -> Self {
        self.of_concurrency = true;
        self
    }

    /// Adds the limit that a throttle is about, if the server names it: a 429 whose body says `"type":
    /// "requests"`.
    pub const fn with_dimension(mut self, dimension: Dimension) -> Self {
        self.dimension = Some(dimension);
        self
    }

    /// Says where the call waits before it is sent again.
    #[doc(hidden)]
    pub const fn with_pacing(mut self, pacing: Pacing) -> Self {
        self.pacing = pacing;
        self
    }

    /// Where the call waits before it is sent again.
    #[doc(hidden)]
    pub const fn pacing(&self) -> Pacing {
        self.pacing
    }

    /// The kind of outcome.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The requests that the failure concerns.
    pub const fn scope(&self) -> Scope {
        self.scope
    }

    /// How long the server asked to wait, counted from the response. No cap has been applied.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Returns whether there was no response, so that the server may still be working on the request.
    pub const fn is_unanswered(&self) -> bool {
        matches!(self.progress, Progress::Unanswered | Progress::Lost)
    }

    /// Returns whether there was no response because the connection was lost.
    #[doc(hidden)]
    pub const fn is_connection_lost(&self) -> bool {
        matches!(self.progress, Progress::Lost)
    }

    /// Returns whether a throttle is about the number of requests in flight, as far as the server says so.
    pub const fn is_of_concurrency(&self) -> bool {
        self.of_concurrency
    }

    /// The limit that a throttle is about, if the server named it.
    pub const fn dimension(&self) -> Option<Dimension> {
        self.dimension
    }

    /// Returns whether the request succeeded.
    pub const fn is_success(&self) -> bool {
        matches!(self.kind, Kind::Success)
    }

    /// Returns whether sending the same request again may help: transient, busy and throttled outcomes, unless the
    /// server forbade a retry.
    pub const fn is_retryable(&self) -> bool {
        !self.retry_forbidden && matches!(self.kind, Kind::Transient | Kind::Busy | Kind::Throttled)
    }

    /// Returns whether the server has certainly not begun to act on the request, so that sending it again repeats
    /// nothing: a throttle, or marked with [`mark_unprocessed`](Self::mark_unprocessed).
    pub const fn is_unprocessed(&self) -> bool {
        matches!(self.progress, Progress::NotBegun) || matches!(self.kind, Kind::Throttled)
    }

    /// Returns whether this is a throttle that concerns all callers of the account or server.
    pub const fn is_shared_throttle(&self) -> bool {
        matches!(self.kind, Kind::Throttled) && !matches!(self.scope, Scope::Request)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Success => "success",
            Self::Transient => "transient failure",
            Self::Busy => "busy",
            Self::Throttled => "throttled",
            Self::Exhausted => "exhausted",
            Self::Unauthorized => "unauthorized",
            Self::Permanent => "permanent failure",
            Self::Local => "ended locally",
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "request",
            Self::Account => "account",
            Self::Server => "server",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(hint) = self.retry_after {
            write!(f, ", retry after {hint:.1?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_retryable() {
        assert!(Outcome::transient().is_retryable());
        assert!(Outcome::busy().is_retryable());
        assert!(Outcome::throttled().is_retryable());
        for outcome in [
            Outcome::success(),
            Outcome::exhausted(),
            Outcome::unauthorized(),
            Outcome::permanent(),
            Outcome::local(),
            Outcome::transient().forbid_retry(),
        ] {
            assert!(!outcome.is_retryable(), "{outcome}");
        }
    }

    #[test]
    fn a_throttle_of_one_request_concerns_no_other() {
        assert!(Outcome::throttled().is_shared_throttle());
        assert!(!Outcome::throttled().with_scope(Scope::Request).is_shared_throttle());
        assert!(!Outcome::transient().is_shared_throttle());
    }
}
