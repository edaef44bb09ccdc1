//! Why an attempt ended as it did.

use std::fmt;

use crate::{Outcome, Scope};

/// Why an attempt ended as it did, in more detail than its [`Outcome`].
///
/// For logs and metrics, and for callers that can correct the request: a prompt that is too long can be
/// shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// It did not fail.
    Answered,
    /// Too many requests or tokens for now.
    RateLimited,
    /// Too many requests at the same time.
    TooManyAtOnce,
    /// No quota, credit or plan is left. Waiting a minute does not help.
    QuotaExhausted,
    /// The server has more work than it can do, whoever sends it.
    Overloaded,
    /// The server failed.
    ServerError,
    /// The server, or one behind it, timed out.
    Timeout,
    /// The prompt does not fit into the model's context.
    ContextTooLong,
    /// The request exceeds a limit by itself, even when nothing else is being sent.
    RequestTooLarge,
    /// The content was rejected by a filter.
    ContentFiltered,
    /// The credential is invalid or lacks permission.
    Unauthorized,
    /// No such model or resource.
    NotFound,
    /// The server does not understand the request.
    InvalidRequest,
    /// The resource is being changed by another request.
    Conflict,
    /// The response ended early.
    Truncated,
    /// It failed without giving a reason.
    Unknown,
}

impl Reason {
    /// The outcome that this reason implies when nothing else is known.
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

/// The reason in words: "rate limited".
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answered => "answered",
            Self::RateLimited => "rate limited",
            Self::TooManyAtOnce => "too many requests at once",
            Self::QuotaExhausted => "quota exhausted",
            Self::Overloaded => "overloaded",
            Self::ServerError => "server error",
            Self::Timeout => "timeout",
            Self::ContextTooLong => "context too long",
            Self::RequestTooLarge => "request too large",
            Self::ContentFiltered => "content filtered",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not found",
            Self::InvalidRequest => "invalid request",
            Self::Conflict => "conflict",
            Self::Truncated => "truncated response",
            Self::Unknown => "unknown error",
        })
    }
}
