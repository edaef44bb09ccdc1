//! One prompt, from its first attempt to its answer.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use aplomb::circuit_breaker::CircuitOpen;
use aplomb::core::{CircuitCause, StopReason};
use aplomb::provider::Head;
use aplomb::retry::Retried;
use aplomb::{BoxError, BrokenAnswer, CallOptions, Classification, Kind, Outcome, WallClock, find};
use bytes::Bytes;
use http::response::Parts;
use tokio::time::{Instant, sleep};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use super::attempts::{Attempts, MAX_CUT_OFF};
use super::cause;
use super::health::Health;
use super::key::Key;
use super::prompt::Prompt;
use super::target::{PromptRequest, Target};

/// An endpoint whose answers are heads, and bodies that have been read.
pub(crate) type Endpoint = BoxCloneSyncService<PromptRequest, (Parts, Bytes), BoxError>;

/// Asks prompts of one endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) endpoint: Endpoint,
    pub(crate) target: Arc<Target>,
    pub(crate) key: Option<Key>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) health: Arc<Health>,
    /// A description of an attempt that our own timeout ended.
    pub(crate) timed_out: String,
}

/// Why a prompt has no answer.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) why: String,
    /// True if all other prompts would fail too.
    pub(crate) for_all: bool,
    /// True if the key was refused.
    pub(crate) is_refused: bool,
}

impl Failure {
    /// One that concerns no other prompt.
    pub(crate) const fn of_prompt(why: String) -> Self {
        Self { why, for_all: false, is_refused: false }
    }
}

/// How often a prompt is asked again whose key was refused after it had been accepted: over half a minute.
const MAX_REFUSED: u32 = 5;
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

impl Asker {
    /// Asks for the answer to `prompt`. The endpoint does all waiting and retrying, but for a key that is refused after it was
    /// accepted: servers do so while they start, and the key is tried again.
    pub(crate) async fn ask(&self, prompt: &Prompt, attempts: &Attempts) -> Result<String, Failure> {
        let mut refusals = 0;
        loop {
            let answer = self.ask_once(prompt, attempts).await;
            let is_refused = answer.as_ref().is_err_and(|failure| failure.is_refused);
            if !is_refused || refusals >= MAX_REFUSED || self.health.answers() == 0 {
                return answer;
            }
            sleep(REFUSED_PAUSE * 2_u32.pow(refusals)).await;
            refusals += 1;
        }
    }

    async fn ask_once(&self, prompt: &Prompt, attempts: &Attempts) -> Result<String, Failure> {
        let mut request = self.target.request(prompt);
        if let Some(deadline) = self.deadline.and_then(|time| Instant::now().checked_add(time)) {
            request.extensions_mut().insert(CallOptions::new().with_deadline(deadline));
        }
        let answer = tokio::select! {
            answer = attempts.scope(self.endpoint.clone().oneshot(request)) => match answer {
                Ok((head, body)) => self.read(&head, &body),
                Err(error) => Err(self.explain(&*error)),
            },
            failed = attempts.failed_too_often() => Err(Failure::of_prompt(
                failed.unwrap_or_else(|| format!("cut off {MAX_CUT_OFF} times: {}", self.timed_out)),
            )),
        };
        answer.map_err(|failure| Failure { why: self.hide_key(failure.why), ..failure })
    }

    /// The last failure, if there has been no answer since.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.health.trouble().map(|trouble| self.hide_key(trouble))
    }

    /// Why the run should end, if it should.
    pub(crate) fn hopeless(&self) -> Option<String> {
        self.health.hopeless().map(|hopeless| self.hide_key(hopeless.to_string()))
    }

    fn hide_key(&self, text: String) -> String {
        match &self.key {
            Some(key) => key.hide_in(&text),
            None => text,
        }
    }

    /// The text of an answer, or why there is none.
    fn read(&self, parts: &Parts, body: &[u8]) -> Result<String, Failure> {
        let (clock, provider) = (WallClock::system(), self.target.provider());
        let head = Head::new(parts.status, &parts.headers, &clock);
        let judged = provider.judge(&head, body);
        if judged.outcome().is_success() {
            let text = provider.text(&head, body);
            return text.ok_or_else(|| Failure::of_prompt("the answer holds no text".to_owned()));
        }
        let mut why = match judged.reason() {
            Some(reason) => format!("{} ({reason})", parts.status),
            None => parts.status.to_string(),
        };
        if let Some(message) = judged.message() {
            why = format!("{why}: {message}");
        }
        let retried = parts.extensions.get::<Retried>().and_then(Retried::stopped);
        let too_late = retried == Some(StopReason::RetryAfterTooLong);
        if let Some(hint) = judged.outcome().retry_after().filter(|_| too_late) {
            why = format!("{why} (it asks to come back in {} s)", hint.as_secs());
        }
        Err(self.failure(why, judged.outcome(), too_late))
    }

    /// Why a call failed without a response.
    fn explain(&self, error: &(dyn Error + 'static)) -> Failure {
        let why = cause::chain(error);
        if let Some(broken) = find::<BrokenAnswer>(error) {
            let judged = broken.classification();
            let why = match judged.as_ref().and_then(Classification::message) {
                Some(message) => format!("{why}: {message}"),
                None => why,
            };
            return self.failure(why, broken.outcome(), false);
        }
        if find::<CircuitOpen>(error).map(CircuitOpen::cause) == Some(CircuitCause::Exhausted) {
            // It was not sent, since others were refused.
            let why = self.health.refusal().unwrap_or(why);
            return Failure { why, for_all: true, is_refused: false };
        }
        Failure::of_prompt(why)
    }

    /// An exhausted account is exhausted for all prompts. A key may be refused for one of them; if it is refused again
    /// and again, [`Health`] ends the run.
    fn failure(&self, why: String, outcome: Outcome, for_all: bool) -> Failure {
        if outcome.kind() == Kind::Exhausted {
            self.health.refused(&why);
        }
        Failure {
            why,
            for_all: for_all || outcome.kind() == Kind::Exhausted,
            is_refused: outcome.kind() == Kind::Unauthorized,
        }
    }
}
