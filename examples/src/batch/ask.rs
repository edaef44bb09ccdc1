//! One prompt, from its first attempt to its answer.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use aplomb::circuit_breaker::{CircuitOpen, TransitionCause};
use aplomb::core::Classification;
use aplomb::provider::Head;
use aplomb::retry::{Retried, Stopped};
use aplomb::{BoxError, BrokenAnswer, CallOptions, Kind, Outcome, Rejection, WallClock, find};
use bytes::Bytes;
use http::response::Parts;
use tokio::time::Instant;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use super::api::{Key, PromptRequest, Target};
use super::counted::Attempts;
use super::prompt::Prompt;
use super::signs::Signs;

/// An endpoint of which nothing but answers is left to see: heads, and bodies that have been read.
pub(crate) type Endpoint = BoxCloneSyncService<PromptRequest, (Parts, Bytes), BoxError>;

/// Asks prompts of one endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) endpoint: Endpoint,
    pub(crate) target: Arc<Target>,
    pub(crate) key: Option<Key>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) signs: Arc<Signs>,
}

/// Why a prompt has no answer.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) why: String,
    /// The other prompts will fare no better.
    pub(crate) for_all: bool,
}

impl Asker {
    /// Asks for the answer to `prompt`; all waiting and retrying is the endpoint's.
    pub(crate) async fn ask(&self, prompt: &Prompt, attempts: &Attempts) -> Result<String, Failure> {
        let mut request = self.target.request(prompt);
        request.extensions_mut().insert(attempts.clone());
        if let Some(deadline) = self.deadline.and_then(|time| Instant::now().checked_add(time)) {
            request.extensions_mut().insert(CallOptions::new().with_deadline(deadline));
        }
        let answer = match self.endpoint.clone().oneshot(request).await {
            Ok((head, body)) => self.read(&head, &body),
            Err(error) => Err(self.explain(&*error)),
        };
        answer.map_err(|failure| match &self.key {
            Some(key) => Failure { why: key.conceal(&failure.why), ..failure },
            None => failure,
        })
    }

    fn read(&self, parts: &Parts, body: &[u8]) -> Result<String, Failure> {
        let (clock, provider) = (WallClock::system(), self.target.provider());
        let head = Head::new(parts.status, &parts.headers, &clock);
        let judged = provider.judge(&head, body);
        self.signs.judged(judged.outcome());
        if judged.outcome().is_success() {
            let text = provider.text(&head, body);
            return text
                .ok_or_else(|| Failure { why: "the answer holds no text".to_owned(), for_all: false });
        }
        let mut why = match judged.reason() {
            Some(reason) => format!("{} ({reason})", parts.status),
            None => parts.status.to_string(),
        };
        if let Some(message) = judged.message() {
            why = format!("{why}: {message}");
        }
        let retried = parts.extensions.get::<Retried>().and_then(Retried::stopped);
        let too_late = retried == Some(Stopped::HintTooLong);
        if let Some(hint) = judged.outcome().retry_after().filter(|_| too_late) {
            why = format!("{why} (come back in {} s)", hint.as_secs());
        }
        Err(self.failure(why, judged.outcome(), too_late))
    }

    fn explain(&self, error: &(dyn Error + 'static)) -> Failure {
        let why = story(error);
        if let Some(broken) = find::<BrokenAnswer>(error) {
            self.signs.judged(broken.outcome());
            let judged = broken.classification();
            let why = match judged.as_ref().and_then(Classification::message) {
                Some(message) => format!("{why}: {message}"),
                None => why,
            };
            return self.failure(why, broken.outcome(), false);
        }
        if let Some(TransitionCause::Exhausted | TransitionCause::Unauthorized) =
            find::<CircuitOpen>(error).map(CircuitOpen::cause)
        {
            // Not sent, because of what was said to others.
            return Failure { why: self.signs.refusal().unwrap_or(why), for_all: true };
        }
        Failure { why, for_all: false }
    }

    /// Money is missing for all prompts alike. A key may be refused for one alone; when it is refused again and again,
    /// the circuit opens.
    fn failure(&self, why: String, outcome: Outcome, for_all: bool) -> Failure {
        if matches!(outcome.kind(), Kind::Exhausted | Kind::Unauthorized) {
            self.signs.refused(&why);
        }
        Failure { why, for_all: for_all || outcome.kind() == Kind::Exhausted }
    }
}

/// An error and what caused it, in a line.
pub(crate) fn story(error: &(dyn Error + 'static)) -> String {
    let mut told = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        // Some errors repeat their cause, and what refused a call has said so already.
        if !cause.is::<Rejection>() && !told.contains(&words) {
            told = format!("{told}: {words}");
        }
        next = cause.source();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use aplomb::LayerName;
    use std::io;

    #[test]
    fn a_story_tells_each_cause_once() {
        #[derive(Debug)]
        struct Failed(io::Error);
        impl std::fmt::Display for Failed {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("it failed")
            }
        }
        impl Error for Failed {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        assert_eq!(story(&Failed(io::Error::other("no route"))), "it failed: no route");
        assert_eq!(story(&Failed(io::Error::other("failed"))), "it failed");
        let refused = io::Error::other(Rejection::by(LayerName::Other("x")));
        assert_eq!(story(&Failed(refused)), "it failed: rejected by the x");
    }
}
