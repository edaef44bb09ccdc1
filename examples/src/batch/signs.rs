//! Signs of life: whether there is still reason to hope for answers.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aplomb::{Kind, Outcome};
use http::StatusCode;
use tokio::time::Instant;

/// A provider that has answered before is given this long to answer again.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// One that has never been heard of is more likely not there.
const FIRST_PATIENCE: Duration = Duration::from_secs(60);

/// What has been seen of a provider.
#[derive(Debug, Default)]
pub(crate) struct Signs(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    sent: u64,
    throttled: u64,
    alive: bool,
    /// The first of the failures since the last reason to hope.
    failing_since: Option<Instant>,
    /// What the last failure said that said anything.
    last: Option<String>,
    /// What was said when the account or the key was refused.
    refusal: Option<String>,
}

impl Signs {
    /// A request is sent; the attempt before it came to `last`, if there was one.
    pub(crate) fn sent(&self, last: Option<Outcome>) {
        self.lock().sent += 1;
        if let Some(last) = last {
            self.judged(last);
        }
    }

    /// A request has failed without a response.
    pub(crate) fn failed(&self, why: String) {
        self.lock().last = Some(why);
    }

    /// The head of a response has come, whatever it says.
    pub(crate) fn answered(&self, status: StatusCode) {
        let mut seen = self.lock();
        seen.alive = true;
        if !status.is_success() {
            seen.last = Some(status.to_string());
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            seen.throttled += 1;
        }
    }

    /// An attempt has been judged.
    ///
    /// An answer is reason to hope, and so is a throttle: who asks to come back later is there.
    pub(crate) fn judged(&self, outcome: Outcome) {
        let mut seen = self.lock();
        match outcome.kind() {
            Kind::Success | Kind::Throttled => seen.failing_since = None,
            Kind::Local => {}
            _ => drop(seen.failing_since.get_or_insert_with(Instant::now)),
        }
    }

    /// The account or the key was refused, in these words.
    pub(crate) fn refused(&self, words: &str) {
        self.lock().refusal = Some(words.to_owned());
    }

    /// The words of the last such refusal.
    pub(crate) fn refusal(&self) -> Option<String> {
        self.lock().refusal.clone()
    }

    /// How many requests were sent.
    pub(crate) fn requests(&self) -> u64 {
        self.lock().sent
    }

    /// How many of them were refused with 429.
    pub(crate) fn throttled(&self) -> u64 {
        self.lock().throttled
    }

    /// Whether there has been nothing but failures for too long.
    pub(crate) fn hopeless(&self) -> Option<Hopeless> {
        let seen = self.lock();
        let (alive, lasted) = (seen.alive, seen.failing_since?.elapsed());
        let patience = if alive { PATIENCE } else { FIRST_PATIENCE };
        (lasted >= patience).then(|| Hopeless { alive, lasted, last: seen.last.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nothing but failures, for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hopeless {
    alive: bool,
    lasted: Duration,
    last: Option<String>,
}

impl fmt::Display for Hopeless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.lasted.as_secs();
        if self.alive {
            write!(f, "nothing but failures for {seconds} s")?;
        } else {
            write!(f, "no answer of any kind for {seconds} s")?;
        }
        match &self.last {
            Some(last) => write!(f, ", the last: {last}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn who_never_answers_is_given_up_after_a_minute() {
        let signs = Signs::default();
        assert_eq!(signs.hopeless(), None);
        advance(PATIENCE * 2).await;
        signs.failed("no route".to_owned());
        signs.sent(Some(Outcome::transient()));
        advance(FIRST_PATIENCE.mul_f64(0.999)).await;
        assert_eq!(signs.hopeless(), None);
        advance(FIRST_PATIENCE.mul_f64(0.001)).await;
        assert_eq!(
            signs.hopeless().unwrap().to_string(),
            "no answer of any kind for 60 s, the last: no route"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_answers_with_failures_is_given_up_later() {
        let signs = Signs::default();
        signs.answered(StatusCode::SERVICE_UNAVAILABLE);
        signs.judged(Outcome::transient());
        advance(PATIENCE / 2).await;
        signs.judged(Outcome::transient());
        assert_eq!(signs.hopeless(), None);
        advance(PATIENCE / 2).await;
        assert_eq!(
            signs.hopeless().unwrap().to_string(),
            "nothing but failures for 600 s, the last: 503 Service Unavailable"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_or_a_throttle_renews_hope() {
        let signs = Signs::default();
        for hope in [Outcome::success(), Outcome::throttled()] {
            signs.judged(Outcome::transient());
            advance(PATIENCE).await;
            signs.judged(hope);
            assert_eq!(signs.hopeless(), None);
        }
    }
}
