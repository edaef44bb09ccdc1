//! Retries around a closure: for calls that are not a service.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use aplomb_core::{Classification, Classify, Outcome, StopReason};
use tokio::task::coop;
use tokio::time::{Instant, sleep};

use crate::RetryLayer;
use crate::call::Call;

impl<K, C> RetryLayer<K, C> {
    /// Runs `operation`, and again if it fails, with the delays, hints, stop conditions, budget and observer
    /// of this layer.
    ///
    /// The classifier decides about what the operation returns. The default,
    /// [`HttpClassifier`](aplomb_core::HttpClassifier), takes responses of `http` and reqwest;
    /// [`EveryError`] retries every error; a closure decides by itself.
    ///
    /// The operation finds the deadline and the number of attempts in
    /// [`CallOptions::current`](aplomb_core::CallOptions::current). Options that are set around this call
    /// apply to it. Dropping the future drops the attempt that is running, or ends the wait.
    ///
    /// # Errors
    ///
    /// The last error of the operation, unchanged.
    ///
    /// # Examples
    ///
    /// Around reqwest's request builder:
    ///
    /// ```
    /// # #[cfg(feature = "reqwest-0-13")]
    /// # async fn ask(client: reqwest::Client) -> reqwest::Result<()> {
    /// use aplomb_retry::RetryLayer;
    ///
    /// let retry = RetryLayer::new();
    /// let response = retry
    ///     .run(|| client.post("https://api.example.com/v1/chat/completions").body("{}").send())
    ///     .await?;
    /// # drop(response);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Around any function that may fail:
    ///
    /// ```
    /// use aplomb_retry::{EveryError, RetryLayer};
    /// # use std::io;
    /// # use std::sync::atomic::{AtomicU32, Ordering};
    /// # static CALLS: AtomicU32 = AtomicU32::new(0);
    /// # async fn ask(question: &str) -> io::Result<String> {
    /// #     match CALLS.fetch_add(1, Ordering::Relaxed) {
    /// #         0 | 1 => Err(io::Error::other("lost")),
    /// #         _ => Ok(format!("{question} 42")),
    /// #     }
    /// # }
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> io::Result<()> {
    /// let retry = RetryLayer::new().classifier(EveryError).max_retries(5);
    /// let answer = retry.run(|| ask("The answer?")).await?;
    /// assert_eq!(answer, "The answer? 42");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run<F, Fut, T, E>(&self, mut operation: F) -> Result<T, E>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
    {
        let (config, settings) = (&*self.config, &self.config.settings);
        let mut call = Call::begin(&mut (), settings);
        call.arrive(settings);
        loop {
            let step = call.begin_attempt(&mut (), settings);
            let attempt = call.make(&mut operation);
            call.end_step(step);
            let result = {
                // Dropped before the wait begins.
                let mut attempt = pin!(attempt);
                poll_fn(|cx| call.poll(attempt.as_mut(), cx)).await
            };
            let classification = config.classifier.classify(result.as_ref());
            let classification = call.end_attempt(classification, settings);
            let outcome = classification.outcome();
            if outcome.is_success() {
                call.succeeded(None, settings);
                return result;
            }
            let now = Instant::now();
            let next = call.decide(outcome, None, settings, now).and_then(|delay| {
                call.pay(outcome, settings, now)?;
                Ok(delay)
            });
            let delay = match next {
                Ok(delay) => delay,
                Err(why) => {
                    call.gave_up(classification, why, None, settings);
                    return result;
                }
            };
            match &settings.cancellation {
                None => {
                    drop(result);
                    call.wait(classification, delay, settings, now);
                    pause(delay).await;
                }
                Some(token) => {
                    call.wait(classification.clone(), delay, settings, now);
                    if token.run_until_cancelled(pause(delay)).await.is_none() {
                        call.cancel_wait();
                        call.gave_up(classification, StopReason::Cancelled, None, settings);
                        return result;
                    }
                }
            }
        }
    }
}

async fn pause(delay: Duration) {
    if !delay.is_zero() {
        sleep(delay).await;
    }
    // Retries that never wait must not monopolize a thread.
    coop::consume_budget().await;
}

/// A classifier for [`RetryLayer::run`] that retries every error.
///
/// Everything else is a success, also a response with status 503: for responses use
/// [`HttpClassifier`](aplomb_core::HttpClassifier).
#[derive(Clone, Copy, Debug, Default)]
pub struct EveryError;

impl<T, E: 'static> Classify<T, E> for EveryError {
    fn classify(&self, result: Result<&T, &E>) -> Classification {
        match result {
            Ok(_) => Outcome::success().into(),
            Err(_) => Outcome::transient().into(),
        }
    }
}
