//! The reasons to hope for answers still, and why none come.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aplomb::{Classification, Kind, Reason};
use http::StatusCode;
use tokio::time::Instant;

/// A provider that has answered before, or that is there, is given this long to answer.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// A provider that has never responded is probably not there. One that responds, but with nothing but refusals, and names no time
/// to come back, will not answer either.
const FIRST_PATIENCE: Duration = Duration::from_secs(60);

/// A key or a model that was never accepted is given up after so many refusals in a row.
const MOST_REFUSALS: u32 = 3;

/// The health of a provider, as seen by all attempts of a run.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    sent: u64,
    throttled: u64,
    answered: u64,
    /// True if a response of any kind has come.
    responded: bool,
    /// The first of the failures since the last answer.
    failing_since: Option<Instant>,
    /// The first of the refusals since anything else came: errors in place of answers, throttles without a time.
    refused_since: Option<Instant>,
    /// The first refusal of the key since anything else came.
    unauthorized_since: Option<Instant>,
    /// The latest time to come back that the provider has named.
    promised: Option<Instant>,
    /// How often the key or the model was refused in a row, if it was never accepted.
    refusals: u32,
    /// The last failure, until the next answer.
    trouble: Option<String>,
    /// The message with which the account was refused.
    refusal: Option<String>,
    /// Why no attempt can ever succeed.
    permanent: Option<String>,
}

impl Health {
    /// Counts a request.
    pub(crate) fn sent(&self) {
        self.lock().sent += 1;
    }

    /// Notes that no attempt can succeed, for this reason.
    pub(crate) fn failed_for_good(&self, cause: String) {
        self.lock().permanent.get_or_insert(cause);
    }

    /// Notes that the head of a response has arrived.
    pub(crate) fn responded(&self, status: StatusCode) {
        let mut state = self.lock();
        state.responded = true;
        if status == StatusCode::TOO_MANY_REQUESTS {
            state.throttled += 1;
        }
    }

    /// Notes how an attempt ended.
    pub(crate) fn judged(&self, result: &Classification) {
        let mut state = self.lock();
        match result.outcome().kind() {
            Kind::Success => state.answered(),
            Kind::Local => {}
            _ => state.failed(result, Instant::now()),
        }
    }

    /// How many attempts were answered.
    pub(crate) fn answers(&self) -> u64 {
        self.lock().answered
    }

    /// Notes that the account was refused with this message.
    pub(crate) fn refused(&self, message: &str) {
        self.lock().refusal = Some(message.to_owned());
    }

    /// The message of the last such refusal.
    pub(crate) fn refusal(&self) -> Option<String> {
        self.lock().refusal.clone()
    }

    /// How many requests were sent.
    pub(crate) fn requests(&self) -> u64 {
        self.lock().sent
    }

    /// How many of them were answered with 429.
    pub(crate) fn throttled(&self) -> u64 {
        self.lock().throttled
    }

    /// The last failure, if there has been no answer since.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.lock().trouble.clone()
    }

    /// Why the run should end, if it should: no attempt can succeed, or all have failed for too long.
    pub(crate) fn hopeless(&self) -> Option<Hopeless> {
        let state = self.lock();
        if let Some(cause) = &state.permanent {
            return Some(Hopeless::Permanent(cause.clone()));
        }
        if state.refusals >= MOST_REFUSALS {
            return Some(Hopeless::Permanent(state.trouble.clone().unwrap_or_default()));
        }
        let now = Instant::now();
        if state.promised.is_some_and(|promised| now < promised) {
            return None;
        }
        let lasted = |since: Option<Instant>| since.map(|since| now.saturating_duration_since(since));
        let first = if state.answered > 0 {
            state.unauthorized_since
        } else {
            state.refused_since
        };
        let short = lasted(first.or(state.failing_since.filter(|_| !state.responded)));
        let long = lasted(state.failing_since);
        let lasted = short
            .filter(|lasted| *lasted >= FIRST_PATIENCE)
            .or(long.filter(|lasted| *lasted >= PATIENCE))?;
        Some(Hopeless::Lasting { responded: state.responded, lasted, last: state.trouble.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn answered(&mut self) {
        self.answered += 1;
        self.refusals = 0;
        (self.failing_since, self.refused_since, self.unauthorized_since) = (None, None, None);
        (self.promised, self.trouble) = (None, None);
    }

    fn failed(&mut self, result: &Classification, now: Instant) {
        let (outcome, kind) = (result.outcome(), result.outcome().kind());
        self.trouble = Some(match result.message() {
            Some(message) => format!("{result}: {message}"),
            None => result.to_string(),
        });
        self.failing_since.get_or_insert(now);
        if let Some(hint) = outcome.retry_after() {
            self.promised = self.promised.max(now.checked_add(hint));
        }
        let is_outage = kind == Kind::Transient && result.status().is_none_or(|status| !status.is_success());
        if is_outage || outcome.retry_after().is_some() {
            self.refused_since = None;
        } else {
            self.refused_since.get_or_insert(now);
        }
        if kind == Kind::Unauthorized {
            self.unauthorized_since.get_or_insert(now);
        } else {
            self.unauthorized_since = None;
        }
        let is_for_all = kind == Kind::Unauthorized || result.reason() == Some(Reason::NotFound);
        self.refusals = if is_for_all && self.answered == 0 {
            self.refusals + 1
        } else {
            0
        };
    }
}

/// Why a run should end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hopeless {
    /// No attempt can succeed.
    Permanent(String),
    /// All attempts have failed for too long.
    Lasting {
        responded: bool,
        lasted: Duration,
        last: Option<String>,
    },
}

impl fmt::Display for Hopeless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permanent(cause) => f.write_str(cause),
            Self::Lasting { responded, lasted, last } => {
                let seconds = lasted.as_secs();
                if *responded {
                    write!(f, "every attempt has failed for {seconds} s")?;
                } else {
                    write!(f, "no response for {seconds} s")?;
                }
                last.iter().try_for_each(|last| write!(f, ", last failure: {last}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aplomb::Outcome;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_never_responds_is_given_up_after_a_minute() {
        let health = Health::default();
        assert_eq!(health.hopeless(), None);
        advance(PATIENCE * 2).await;
        health.judged(&Classification::new(Outcome::transient()).with_cause(&"no route"));
        advance(FIRST_PATIENCE.mul_f64(0.999)).await;
        assert_eq!(health.hopeless(), None);
        advance(FIRST_PATIENCE.mul_f64(0.001)).await;
        assert_eq!(health.hopeless().unwrap().to_string(), "no response for 60 s, last failure: no route");
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_responds_with_failures_is_given_up_later() {
        let health = Health::default();
        health.responded(StatusCode::SERVICE_UNAVAILABLE);
        let unavailable =
            Classification::new(Outcome::transient()).with_status(StatusCode::SERVICE_UNAVAILABLE);
        health.judged(&unavailable);
        advance(PATIENCE / 2).await;
        health.judged(&unavailable);
        assert_eq!(health.hopeless(), None);
        advance(PATIENCE / 2).await;
        assert_eq!(
            health.hopeless().unwrap().to_string(),
            "every attempt has failed for 600 s, last failure: 503 Service Unavailable"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_or_a_time_to_come_back_renews_hope() {
        let health = Health::default();
        health.responded(StatusCode::OK);
        health.judged(&Classification::new(Outcome::transient()));
        advance(PATIENCE).await;
        health.judged(&Classification::new(Outcome::success()));
        assert_eq!(health.hopeless(), None);
        health.judged(&Classification::new(Outcome::transient()));
        advance(PATIENCE).await;
        health.judged(&Classification::new(Outcome::throttled().with_retry_after(FIRST_PATIENCE)));
        advance(FIRST_PATIENCE.mul_f64(0.99)).await;
        assert_eq!(health.hopeless(), None);
        advance(Duration::from_secs(1)).await;
        assert!(health.hopeless().is_some(), "not for ever");
    }

    /// A fault that is no outage will not pass by waiting.
    #[tokio::test(start_paused = true)]
    async fn a_provider_that_never_answers_but_refuses_is_given_up_after_a_minute_with_its_words() {
        let said = |outcome: Outcome| Classification::new(outcome).with_message("no such thing");
        let in_200 = said(Outcome::transient()).with_status(StatusCode::OK);
        for refusal in [said(Outcome::throttled()), in_200, said(Outcome::permanent())] {
            let health = Health::default();
            health.responded(StatusCode::OK);
            for _ in 0..60 {
                health.judged(&refusal);
                assert_eq!(health.hopeless(), None);
                advance(Duration::from_secs(1)).await;
            }
            let why = health.hopeless().unwrap().to_string();
            assert!(
                why.starts_with("every attempt has failed for 60 s") && why.ends_with("no such thing"),
                "{why}"
            );
            // One that has answered before gets more time.
            let health = Health::default();
            health.responded(StatusCode::OK);
            health.judged(&Classification::new(Outcome::success()));
            health.judged(&refusal);
            advance(PATIENCE.mul_f64(0.99)).await;
            assert_eq!(health.hopeless(), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_or_a_model_that_was_never_accepted_is_given_up_at_once() {
        let unknown = Classification::new(Outcome::permanent()).with_reason(Reason::NotFound);
        for refusal in [Classification::new(Outcome::unauthorized()), unknown] {
            let (new, known) = (Health::default(), Health::default());
            known.judged(&Classification::new(Outcome::success()));
            for _ in 0..MOST_REFUSALS {
                assert_eq!(new.hopeless(), None);
                new.judged(&refusal);
                known.judged(&refusal);
            }
            assert!(new.hopeless().is_some());
            assert_eq!(known.hopeless(), None);
        }
        let revoked = Health::default();
        revoked.responded(StatusCode::OK);
        revoked.judged(&Classification::new(Outcome::success()));
        revoked.judged(&Classification::new(Outcome::unauthorized()));
        advance(FIRST_PATIENCE).await;
        assert!(revoked.hopeless().is_some(), "it is not accepted again");
    }

    #[test]
    fn a_permanent_failure_ends_hope_at_once() {
        let health = Health::default();
        health.failed_for_good("the certificate has expired".to_owned());
        assert_eq!(health.hopeless().unwrap().to_string(), "the certificate has expired");
    }

    #[test]
    fn an_answer_ends_the_trouble() {
        let health = Health::default();
        health.judged(&Classification::new(Outcome::transient()).with_cause(&"no route"));
        assert_eq!(health.trouble().as_deref(), Some("no route"));
        health.judged(&Classification::new(Outcome::success()));
        assert_eq!(health.trouble(), None);
    }
}
