//! Why a request came to what it came to.

use std::fmt;

use aplomb_core::{Outcome, Scope};

/// Why a request came to what it came to, finer than its [`Outcome`]: for logs, metrics and for
/// callers who mend the request (a context too long can be shortened).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// It did not fail.
    Answered,
    /// Too many requests or tokens for now.
    RateLimited,
    /// Too many requests at the same time.
    TooManyAtOnce,
    /// No quota, credit or plan is left: waiting a minute does not help.
    QuotaExhausted,
    /// The server has more work than it can do, whoever sends it.
    Overloaded,
    /// The server failed.
    ServerError,
    /// The server, or one behind it, gave up waiting.
    Timeout,
    /// The prompt does not fit the model.
    ContextTooLong,
    /// The request is larger than a limit allows, even an idle one.
    RequestTooLarge,
    /// Refused for its content.
    ContentFiltered,
    /// The credential was refused, or does not reach this far.
    Unauthorized,
    /// No such model or resource.
    NotFound,
    /// The request makes no sense to the server.
    InvalidRequest,
    /// Something the request needs is being worked on.
    Conflict,
    /// The answer ended before its end.
    Truncated,
    /// It failed, and did not say why.
    Unknown,
}

impl Reason {
    /// What a failure for this reason comes to, where nothing else is known.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Answered => Outcome::success(),
            Self::RateLimited => Outcome::throttled(),
            Self::TooManyAtOnce => Outcome::throttled().of_concurrency(),
            Self::QuotaExhausted => Outcome::exhausted(),
            Self::Overloaded | Self::ServerError | Self::Timeout | Self::Truncated | Self::Unknown => {
                Outcome::transient().with_scope(Scope::Server)
            }
            Self::ContextTooLong
            | Self::RequestTooLarge
            | Self::ContentFiltered
            | Self::NotFound
            | Self::InvalidRequest => Outcome::permanent(),
            Self::Unauthorized => Outcome::unauthorized(),
            Self::Conflict => Outcome::busy(),
        }
    }

    /// The reason in `snake_case`, as a label for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::RateLimited => "rate_limited",
            Self::TooManyAtOnce => "too_many_at_once",
            Self::QuotaExhausted => "quota_exhausted",
            Self::Overloaded => "overloaded",
            Self::ServerError => "server_error",
            Self::Timeout => "timeout",
            Self::ContextTooLong => "context_too_long",
            Self::RequestTooLarge => "request_too_large",
            Self::ContentFiltered => "content_filtered",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not_found",
            Self::InvalidRequest => "invalid_request",
            Self::Conflict => "conflict",
            Self::Truncated => "truncated",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
