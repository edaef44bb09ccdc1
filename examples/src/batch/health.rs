//! The reasons to hope for answers still, and why none come.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aplomb::{Classification, Kind};
use http::StatusCode;
use tokio::time::Instant;

/// A provider that has answered before is given this long to answer again.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// A provider that has never responded is probably not there.
const FIRST_PATIENCE: Duration = Duration::from_secs(60);

/// The health of a provider, as seen by all attempts of a run.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    sent: u64,
    throttled: u64,
    /// True if a response of any kind has come.
    responded: bool,
    /// The first of the failures since the last sign of hope.
    failing_since: Option<Instant>,
    /// The last failure, until the next answer.
    trouble: Option<String>,
    /// The message with which the account or the key was refused.
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
    ///
    /// An answer is a sign of hope, and so is a throttle: the provider is there, and asks to come back later.
    pub(crate) fn judged(&self, result: &Classification) {
        let mut state = self.lock();
        match result.outcome().kind() {
            Kind::Success => (state.failing_since, state.trouble) = (None, None),
            Kind::Local => {}
            kind => {
                state.trouble = Some(result.to_string());
                if kind == Kind::Throttled {
                    state.failing_since = None;
                } else {
                    state.failing_since.get_or_insert_with(Instant::now);
                }
            }
        }
    }

    /// Notes that the account or the key was refused with this message.
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
        let lasted = state.failing_since?.elapsed();
        let patience = if state.responded { PATIENCE } else { FIRST_PATIENCE };
        (lasted >= patience).then(|| Hopeless::Lasting {
            responded: state.responded,
            lasted,
            last: state.trouble.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    async fn an_answer_or_a_throttle_renews_hope() {
        let health = Health::default();
        for hope in [Outcome::success(), Outcome::throttled()] {
            health.judged(&Classification::new(Outcome::transient()));
            advance(PATIENCE).await;
            health.judged(&Classification::new(hope));
            assert_eq!(health.hopeless(), None);
        }
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
