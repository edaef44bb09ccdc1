//! The account of one call.

mod attempt;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aplomb_core::{Exchange, Kind, Outcome, Usage};
use aplomb_provider::Reason;
use http::StatusCode;
use smallvec::SmallVec;
use tokio::time::Instant;

pub use self::attempt::Attempt;
use self::attempt::Sent;

/// What happened to a call: its attempts, what each came to, and where the time went.
///
/// Every response of an [`Endpoint`](crate::Endpoint) carries it in its extensions, and so does every
/// [`EndpointError`](crate::EndpointError). It goes on being written while the body of the response is read:
/// what the last attempt came to, and its usage, are final when the body has ended. It holds neither
/// prompts nor completions nor headers, and keeps the last 16 attempts.
///
/// Clones are the same account.
///
/// # Examples
///
/// ```
/// use aplomb::Report;
///
/// fn log<B>(response: &http::Response<B>) {
///     if let Some(report) = response.extensions().get::<Report>() {
///         println!("{report}"); // 2 attempts in 1.2s (0.1s in the queue, 0.9s between attempts): …
///     }
/// }
/// # log(&http::Response::new(()));
/// ```
#[derive(Clone)]
pub struct Report(Arc<Mutex<Record>>);

/// So many attempts are kept.
const KEPT: usize = 16;

struct Record {
    provider: &'static str,
    began: Instant,
    /// Since when the attempt that comes next waits for its turn.
    asked: Option<Instant>,
    /// How long the attempt that comes next has waited for its turn, where that has come and it is not sent.
    admitted: Option<Duration>,
    /// When the last thing happened that ended something: an attempt, or the call.
    ended: Option<Instant>,
    sent: u32,
    attempts: SmallVec<[Sent; 1]>,
    queued: Duration,
    waited: Duration,
}

/// What an attempt came to, by its head or its error.
pub(crate) struct Judged {
    pub(crate) status: Option<StatusCode>,
    pub(crate) outcome: Outcome,
    pub(crate) reason: Option<Reason>,
    /// The text of the innermost error.
    pub(crate) cause: Option<Arc<str>>,
    /// Where it is read along how the attempt goes on.
    pub(crate) exchange: Option<Exchange>,
}

impl Report {
    /// The account of a call that begins now.
    pub(crate) fn new(provider: &'static str, now: Instant) -> Self {
        Self(Arc::new(Mutex::new(Record {
            provider,
            began: now,
            asked: None,
            admitted: None,
            ended: None,
            sent: 0,
            attempts: SmallVec::new(),
            queued: Duration::ZERO,
            waited: Duration::ZERO,
        })))
    }

    /// An attempt waits for its turn: the first since the call began, others since now.
    pub(crate) fn asks(&self) {
        let mut record = self.lock();
        let is_first = record.sent == 0 && record.asked.is_none();
        let now = if is_first { record.began } else { Instant::now() };
        // One before that was never sent: whatever came of it, the call has waited since.
        let since = record.asked.take().or(record.ended);
        if let Some(since) = since.filter(|_| record.admitted.take().is_none()) {
            record.waited += now.saturating_duration_since(since);
        }
        record.asked = Some(now);
    }

    /// The attempt's turn has come; something is done before it is sent.
    pub(crate) fn admitted(&self) {
        let now = Instant::now();
        let mut record = self.lock();
        if let Some(asked) = record.asked {
            let queued = now.saturating_duration_since(asked);
            record.queued += queued;
            record.admitted = Some(queued);
        }
    }

    /// The attempt is sent.
    pub(crate) fn sends(&self, now: Instant) {
        let mut record = self.lock();
        let asked = record.asked.take().unwrap_or(now);
        let queued = record.admitted.take().unwrap_or_else(|| {
            let queued = now.saturating_duration_since(asked);
            record.queued += queued;
            queued
        });
        let waited = record.ended.take().map(|ended| asked.saturating_duration_since(ended));
        record.sent = record.sent.saturating_add(1);
        if record.attempts.len() == KEPT {
            record.attempts.remove(0);
        }
        let number = record.sent;
        record.attempts.push(Sent::new(number, now, queued, waited.unwrap_or_default()));
    }

    /// The attempt that was sent last has been judged.
    pub(crate) fn judged(&self, judged: Judged) {
        let now = Instant::now();
        let mut record = self.lock();
        record.ended = Some(now);
        if let Some(attempt) = record.attempts.last_mut() {
            attempt.judge(judged, now);
        }
    }

    /// The call has ended: how long it has taken is known.
    pub(crate) fn ended(&self) {
        let mut record = self.lock();
        // An attempt that waits in vain, or has not been answered; else the last has only just been judged.
        if record.asked.is_some() || record.ended.is_none() {
            let now = Instant::now();
            if let (Some(asked), None) = (record.asked.take(), record.admitted.take()) {
                record.queued += now.saturating_duration_since(asked);
            }
            record.ended = Some(now);
        }
    }

    /// How the provider is called.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        self.lock().provider
    }

    /// When the call began.
    pub(crate) fn began(&self) -> Instant {
        self.lock().began
    }

    /// How many attempts have been sent.
    #[must_use]
    pub fn sent(&self) -> u32 {
        self.lock().sent
    }

    /// The attempts that were sent, the last 16 of them.
    #[must_use]
    pub fn attempts(&self) -> Vec<Attempt> {
        self.lock().attempts.iter().map(Sent::account).collect()
    }

    /// What the last attempt that was sent came to, as far as it has been read; `None` if none was sent, or
    /// it has not been answered.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.lock().attempts.last().and_then(Sent::outcome)
    }

    /// What the last attempt came to that failed, and was not ended on this side.
    pub(crate) fn last_failure(&self) -> Option<Outcome> {
        let record = self.lock();
        record
            .attempts
            .iter()
            .rev()
            .filter_map(Sent::outcome)
            .find(|outcome| !outcome.is_success() && outcome.kind() != Kind::Local)
    }

    /// What the last attempt consumed, as far as it has been reported.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.lock().attempts.last().and_then(Sent::usage)
    }

    /// How long the call has waited in the queue, all attempts together.
    #[must_use]
    pub fn queued(&self) -> Duration {
        self.lock().queued
    }

    /// How long the call has waited between its attempts, for a backoff.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.lock().waited
    }

    /// How long the call took to the head of its response, or to its error; so far, where it has not come
    /// to that.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        let record = self.lock();
        record.ended.unwrap_or_else(Instant::now).saturating_duration_since(record.began)
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
