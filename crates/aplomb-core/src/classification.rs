//! The result of one attempt, in all detail that is known.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;

use crate::{Exchange, Outcome, Reason, Usage};

/// At most this many characters of a message are kept.
const MAX_MESSAGE: usize = 300;

/// How one attempt ended: its [`Outcome`], and why.
///
/// Made once per attempt by a [`Classify`](crate::Classify). The layers act on the outcome; the status,
/// the reason, the provider and the cause go into events, errors and log lines.
///
/// Its `Display` is one line for logs: `503 overloaded (openai)`, `connection refused (openai)`.
///
/// Clones share the texts. A success allocates nothing.
///
/// # Examples
///
/// ```
/// use aplomb_core::{Classification, Outcome, Reason};
///
/// let overloaded = Classification::new(Outcome::transient())
///     .with_status(http::StatusCode::SERVICE_UNAVAILABLE)
///     .with_reason(Reason::Overloaded)
///     .with_provider("openai");
/// assert_eq!(overloaded.to_string(), "503 overloaded (openai)");
/// ```
#[derive(Clone)]
#[must_use]
pub struct Classification {
    result: AttemptResult,
    status: Option<StatusCode>,
    reason: Option<Reason>,
    provider: Option<&'static str>,
    texts: Option<Arc<Texts>>,
}

#[derive(Clone)]
enum AttemptResult {
    /// Known from the head or the error.
    Fixed(Outcome),
    /// Known only when the body has been read: a good status may be followed by a broken body.
    Live(Exchange),
}

#[derive(Clone, Default)]
struct Texts {
    cause: Option<Box<str>>,
    message: Option<Box<str>>,
}

impl Classification {
    /// An attempt with this outcome, and nothing else known.
    #[inline]
    pub const fn new(outcome: Outcome) -> Self {
        Self::of(AttemptResult::Fixed(outcome))
    }

    /// An attempt whose body is still being read: outcome and usage are those of `exchange` at the time
    /// they are asked for.
    #[inline]
    pub const fn live(exchange: Exchange) -> Self {
        Self::of(AttemptResult::Live(exchange))
    }

    const fn of(result: AttemptResult) -> Self {
        Self { result, status: None, reason: None, provider: None, texts: None }
    }

    /// Adds the HTTP status.
    #[inline]
    pub const fn with_status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    /// Adds the reason.
    #[inline]
    pub const fn with_reason(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Adds the name of the provider.
    #[inline]
    pub const fn with_provider(mut self, provider: &'static str) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Adds the text of the innermost error. It is logged: it must not contain anything of the request.
    pub fn with_cause(mut self, cause: &dyn fmt::Display) -> Self {
        self.texts_mut().cause = Some(cause.to_string().into());
        self
    }

    /// Adds the provider's error message, of which the first 300 characters are kept. It may quote the
    /// request, so it is never logged.
    pub fn with_message(mut self, message: &str) -> Self {
        let message = message.trim();
        let end = message.char_indices().nth(MAX_MESSAGE);
        let kept = end.map_or(message, |(at, _)| &message[..at]);
        if !kept.is_empty() {
            self.texts_mut().message = Some(kept.into());
        }
        self
    }

    fn texts_mut(&mut self) -> &mut Texts {
        Arc::make_mut(self.texts.get_or_insert_default())
    }

    /// The outcome as far as it is known.
    #[inline]
    pub fn outcome(&self) -> Outcome {
        match &self.result {
            AttemptResult::Fixed(outcome) => *outcome,
            AttemptResult::Live(exchange) => exchange.outcome(),
        }
    }

    /// Returns whether the outcome is a success, as far as it is known.
    #[inline]
    pub fn is_success(&self) -> bool {
        match &self.result {
            AttemptResult::Fixed(outcome) => outcome.is_success(),
            AttemptResult::Live(exchange) => exchange.is_success(),
        }
    }

    /// The same result, with the outcome as it is now.
    pub(crate) fn settled(mut self) -> Self {
        self.result = AttemptResult::Fixed(self.outcome());
        self
    }

    /// The same result, with the outcome of `exchange`.
    pub(crate) fn following(mut self, exchange: Exchange) -> Self {
        self.result = AttemptResult::Live(exchange);
        self
    }

    #[inline]
    pub(crate) const fn set_status(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    pub(crate) fn set_outcome(&mut self, outcome: Outcome) {
        self.result = AttemptResult::Fixed(outcome);
    }

    /// The HTTP status, if there was a response.
    pub const fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// The reason, if it is known.
    pub const fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// The name of the provider, if it is known.
    pub const fn provider(&self) -> Option<&'static str> {
        self.provider
    }

    /// The text of the innermost error, if the attempt ended with one.
    pub fn cause(&self) -> Option<&str> {
        self.texts.as_deref()?.cause.as_deref()
    }

    /// The provider's error message, at most 300 characters of it. It may quote the request.
    pub fn message(&self) -> Option<&str> {
        self.texts.as_deref()?.message.as_deref()
    }

    /// The usage that counts against quotas, as far as it has been reported.
    #[inline]
    pub fn usage(&self) -> Option<Usage> {
        self.exchange()?.counted()
    }

    /// Returns whether the outcome may still change, because the body is being read.
    #[inline]
    pub fn is_live(&self) -> bool {
        matches!(self.result, AttemptResult::Live(_))
    }

    /// The outcome and the usage as they are now, and whether a body that is read along has been read to its end marker
    /// or to an error. Read at once, since each read of a record takes its lock.
    #[doc(hidden)]
    #[inline]
    pub fn so_far(&self) -> (Outcome, Option<Usage>, bool) {
        match &self.result {
            AttemptResult::Fixed(outcome) => (*outcome, None, false),
            AttemptResult::Live(exchange) => exchange.so_far(),
        }
    }

    #[inline]
    fn exchange(&self) -> Option<&Exchange> {
        match &self.result {
            AttemptResult::Fixed(_) => None,
            AttemptResult::Live(exchange) => Some(exchange),
        }
    }
}

/// Compares what is known at this time.
impl PartialEq for Classification {
    fn eq(&self, other: &Self) -> bool {
        self.outcome() == other.outcome()
            && (self.status, self.reason, self.provider) == (other.status, other.reason, other.provider)
            && (self.cause(), self.message()) == (other.cause(), other.message())
    }
}

impl From<Outcome> for Classification {
    #[inline]
    fn from(outcome: Outcome) -> Self {
        Self::new(outcome)
    }
}

impl From<Exchange> for Classification {
    #[inline]
    fn from(exchange: Exchange) -> Self {
        Self::live(exchange)
    }
}

impl From<Reason> for Classification {
    fn from(reason: Reason) -> Self {
        Self::new(reason.outcome()).with_reason(reason)
    }
}

impl fmt::Display for Classification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(status) = self.status {
            write!(f, "{} ", status.as_u16())?;
        }
        match (self.reason, self.cause(), self.status.and_then(|status| status.canonical_reason())) {
            (Some(reason), None, _) => write!(f, "{reason}")?,
            (Some(reason), Some(cause), _) => write!(f, "{reason}: {cause}")?,
            (None, Some(cause), _) => f.write_str(cause)?,
            (None, None, Some(phrase)) => f.write_str(phrase)?,
            (None, None, None) => write!(f, "{}", self.outcome().kind())?,
        }
        match self.provider {
            Some(provider) => write!(f, " ({provider})"),
            None => Ok(()),
        }
    }
}

/// Without the provider's message, which may quote the request.
impl fmt::Debug for Classification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Classification")
            .field("outcome", &self.outcome())
            .field("status", &self.status)
            .field("reason", &self.reason)
            .field("provider", &self.provider)
            .field("cause", &self.cause())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_names_status_reason_cause_and_provider() {
        let lost = Classification::new(Outcome::transient());
        let unavailable = lost.clone().with_status(StatusCode::SERVICE_UNAVAILABLE);
        for (classification, line) in [
            (lost.clone(), "transient failure"),
            (lost.clone().with_cause(&"connection refused"), "connection refused"),
            (unavailable.clone(), "503 Service Unavailable"),
            (
                unavailable.with_reason(Reason::Overloaded).with_provider("openai"),
                "503 overloaded (openai)",
            ),
            (
                lost.with_reason(Reason::Timeout).with_cause(&"no byte for 30 s"),
                "timeout: no byte for 30 s",
            ),
        ] {
            assert_eq!(classification.to_string(), line);
        }
    }

    #[test]
    fn a_message_is_cut_and_never_shown() {
        let said =
            Classification::from(Reason::InvalidRequest).with_message(&format!(" {}\n", "ß".repeat(400)));
        assert_eq!(said.message().map(|message| message.chars().count()), Some(300));
        assert!(!format!("{said} {said:?}").contains('ß'));
        assert_eq!(Classification::from(Reason::InvalidRequest).with_message("  ").message(), None);
    }
}
