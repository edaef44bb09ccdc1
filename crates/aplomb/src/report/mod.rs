//! The report of a call.

mod attempt;
#[cfg(feature = "serde")]
mod serialize;

use std::fmt;
use std::time::Duration;

use aplomb_core::{Exchange, ExchangeState, Kind, Outcome, ResponseHead, Usage};

pub use self::attempt::Attempt;
use crate::context::CallContext;

/// The account of a call: its attempts, their results, and where the time went.
///
/// [`Report::of`] finds it in each response of an [`Endpoint`](crate::Endpoint); an
/// [`EndpointError`](crate::EndpointError) has it too. It is updated while the body of the response is read: the
/// outcome and the usage of the last attempt are final when the body has ended. It contains no prompts, completions
/// or headers, and the last 16 attempts.
///
/// Clones are the same report.
///
/// # Examples
///
/// ```
/// use aplomb::Report;
///
/// fn log<B>(response: &http::Response<B>) {
///     if let Some(report) = Report::of(response) {
///         println!("{report}"); // 2 attempts in 1.2s (0.1s in the queue, 0.9s between attempts): …
///     }
/// }
/// # log(&http::Response::new(()));
/// ```
#[derive(Clone)]
pub struct Report(CallContext);

impl Report {
    pub(crate) const fn new(call: CallContext) -> Self {
        Self(call)
    }

    /// The report of the call that `response` answers, if it went through an [`Endpoint`](crate::Endpoint).
    #[must_use]
    pub fn of(response: &impl ResponseHead) -> Option<Self> {
        let exchange = response.extensions()?.get::<Exchange>()?;
        exchange.record().map(CallContext::of).map(Self)
    }

    /// The name of the provider.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        self.0.provider()
    }

    /// The number of attempts that were sent.
    #[must_use]
    pub fn sent(&self) -> u32 {
        self.0.sent()
    }

    /// The attempts that were sent, oldest first: the last 16 of them.
    #[must_use]
    pub fn attempts(&self) -> Vec<Attempt> {
        self.0.attempts().into_iter().map(Attempt::of).collect()
    }

    /// The outcome of the last attempt, as far as it is known; `None` if none was sent, or it was not answered.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.0.last_result(|result| result.result().outcome())
    }

    /// The outcome of the last attempt that failed and was not ended on this side.
    pub(crate) fn last_failure(&self) -> Option<Outcome> {
        let mut outcomes = self.attempts().into_iter().rev().filter_map(|attempt| attempt.outcome());
        outcomes.find(|outcome| !outcome.is_success() && outcome.kind() != Kind::Local)
    }

    /// The usage of the last attempt, as far as it was reported.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.0.last_result(ExchangeState::usage).flatten()
    }

    /// How long the call waited to be admitted, all attempts together.
    #[must_use]
    pub fn queued(&self) -> Duration {
        self.0.queued()
    }

    /// How long the call waited between its attempts.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.0.waited()
    }

    /// How long the call took to the head of its response, or to its error; so far, if it has neither.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sent, elapsed, queued, waited) = (self.sent(), self.elapsed(), self.queued(), self.waited());
        match sent {
            0 => write!(f, "nothing sent")?,
            1 => write!(f, "1 attempt")?,
            sent => write!(f, "{sent} attempts")?,
        }
        write!(f, " in {elapsed:.1?}")?;
        let mut times = [(queued, "in the queue"), (waited, "between attempts")]
            .into_iter()
            .filter(|(time, _)| !time.is_zero());
        if let Some((time, what)) = times.next() {
            write!(f, " ({time:.1?} {what}")?;
            times.try_for_each(|(time, what)| write!(f, ", {time:.1?} {what}"))?;
            f.write_str(")")?;
        }
        for (at, attempt) in self.attempts().iter().enumerate() {
            write!(f, "{} {attempt}", if at == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("provider", &self.provider())
            .field("elapsed", &self.elapsed())
            .field("queued", &self.queued())
            .field("waited", &self.waited())
            .field("attempts", &self.attempts())
            .finish()
    }
}
