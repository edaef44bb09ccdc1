//! What an attempt came to.

use std::fmt;
use std::time::Duration;

/// What one attempt came to: the judgement that all layers share.
///
/// An attempt is judged once, by a [`Classify`](crate::Classify), and every layer reads the same
/// verdict: whether to send the request again, whether to pause, whether the peer is failing.
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
    progress: Progress,
}

/// How far the peer got with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// It answered, or nothing is known.
    Answered,
    /// It has certainly not begun.
    NotBegun,
    /// It did not answer, and may still be at it.
    Unanswered,
}

/// The kinds of outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Answered, and the answer is whole as far as it is known.
    Success,
    /// Failed for a reason that passes: a lost connection, an attempt timeout, 5xx.
    Transient,
    /// Rejection because something is being worked on (409, 425); says nothing about the peer's health.
    Busy,
    /// Refused for coming too fast: 429 about a rate.
    Throttled,
    /// The account can not be served for long: quota used up, spend limit reached.
    Exhausted,
    /// The credential was refused: 401, or 403 about the key.
    Unauthorized,
    /// Would fail again just the same: a bad request, a context too long.
    Permanent,
    /// Ended on this side: a refusal by one of our own gates, the deadline.
    Local,
}

/// What a failure is about, and so whom it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// This request alone.
    Request,
    /// Every request of the same account (or key, or project).
    Account,
    /// Every request to the same server.
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
            progress: Progress::Answered,
        }
    }

    /// Answered.
    pub const fn success() -> Self {
        Self::new(Kind::Success, Scope::Request)
    }

    /// Failed for a reason that passes. About the server unless told otherwise.
    pub const fn transient() -> Self {
        Self::new(Kind::Transient, Scope::Server)
    }

    /// Rejection because something is being worked on. About the request unless told otherwise.
    pub const fn busy() -> Self {
        Self::new(Kind::Busy, Scope::Request)
    }

    /// Refused for coming too fast. About the account unless told otherwise.
    pub const fn throttled() -> Self {
        Self::new(Kind::Throttled, Scope::Account)
    }

    /// The account can not be served for long.
    pub const fn exhausted() -> Self {
        Self::new(Kind::Exhausted, Scope::Account)
    }

    /// The credential was refused.
    pub const fn unauthorized() -> Self {
        Self::new(Kind::Unauthorized, Scope::Account)
    }

    /// Would fail again just the same.
    pub const fn permanent() -> Self {
        Self::new(Kind::Permanent, Scope::Request)
    }

    /// Ended on this side.
    pub const fn local() -> Self {
        Self::new(Kind::Local, Scope::Request)
    }

    /// Says whom the failure concerns.
    pub const fn with_scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Adds the server's hint: how long after this answer a request may be sent again.
    pub const fn with_retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    /// Takes the server's hint away, for one that is not to be believed.
    pub const fn without_retry_after(mut self) -> Self {
        self.retry_after = None;
        self
    }

    /// Marks the outcome as not to be retried, whatever its kind (`x-should-retry: false`).
    ///
    /// The kind stays: a 500 that must not be sent again is a failure of the peer all the same.
    pub const fn forbid_retry(mut self) -> Self {
        self.retry_forbidden = true;
        self
    }

    /// Marks a failure of which it is certain that the server has not begun to act on the request: a
    /// connection that could not be made, a refusal before any work.
    pub const fn mark_unprocessed(mut self) -> Self {
        self.progress = Progress::NotBegun;
        self
    }

    /// Notes that no answer came: the peer may still be at work on the request (an attempt timeout, a lost
    /// connection).
    pub const fn mark_unanswered(mut self) -> Self {
        self.progress = Progress::Unanswered;
        self
    }

    /// Notes that a throttled request was one too many at the same time, not too early.
    pub const fn of_concurrency(mut self) -> Self {
        self.of_concurrency = true;
        self
    }

    /// The kind of outcome.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What the failure is about.
    pub const fn scope(&self) -> Scope {
        self.scope
    }

    /// How long the server asked to wait, counted from the answer.
    ///
    /// As the server said it: no cap has been applied.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether no answer came, so that the peer may still be at work on the request.
    pub const fn is_unanswered(&self) -> bool {
        matches!(self.progress, Progress::Unanswered)
    }

    /// Whether a throttled request was one too many at the same time, as far as the server said so.
    pub const fn is_of_concurrency(&self) -> bool {
        self.of_concurrency
    }

    /// Whether the request was answered well.
    pub const fn is_success(&self) -> bool {
        matches!(self.kind, Kind::Success)
    }

    /// Whether sending the same request again may help: transient, busy and throttled outcomes,
    /// unless the server forbade it.
    pub const fn is_retryable(&self) -> bool {
        !self.retry_forbidden && matches!(self.kind, Kind::Transient | Kind::Busy | Kind::Throttled)
    }

    /// Whether the server has certainly not begun to act on the request, so that sending it again
    /// repeats nothing: a throttle, or what was marked so.
    pub const fn is_unprocessed(&self) -> bool {
        matches!(self.progress, Progress::NotBegun) || matches!(self.kind, Kind::Throttled)
    }

    /// Whether this is a server or an account asking everyone who shares it to slow down.
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
    fn a_throttle_of_one_request_is_nobody_elses_business() {
        assert!(Outcome::throttled().is_shared_throttle());
        assert!(!Outcome::throttled().with_scope(Scope::Request).is_shared_throttle());
        assert!(!Outcome::transient().is_shared_throttle());
    }
}
