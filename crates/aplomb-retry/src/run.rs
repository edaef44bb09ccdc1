//! The same policy around a closure: for calls that are not a service.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use aplomb_core::{Backoff, Classification, Classify, Observe, Outcome};
use tokio::task::coop;
use tokio::time::{Instant, sleep};

use crate::progress::Progress;
use crate::{Event, RetryLayer, Stopped};

impl<K, C, B, D, O> RetryLayer<K, C, B, D, O> {
    /// Runs `operation`, and again if it fails, as this layer would send a request again: with its
    /// waits, hints, stops, budget, cancellation and observers.
    ///
    /// The classifier judges what the operation returned: an [`HttpClassifier`](aplomb_core::HttpClassifier)
    /// does where that is a response; [`EveryError`] retries every error; a closure of one's own says what is worth
    /// a retry, and with which hint.
    ///
    /// While it runs, the operation finds the deadline and the number of attempts in
    /// [`CallOptions::current`](aplomb_core::CallOptions::current), and options that were set around
    /// this call hold for it. Dropping the future drops the attempt that runs, or ends the wait.
    ///
    /// # Errors
    ///
    /// The last error of the operation, untouched.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
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
    /// let policy = RetryLayer::new().classifier(EveryError).max_retries(5);
    /// let answer = policy.run(|| ask("The answer?")).await?;
    /// assert_eq!(answer, "The answer? 42");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run<F, Fut, T, E>(&self, mut operation: F) -> Result<T, E>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
        B: Backoff,
        O: Observe<Event>,
    {
        let (config, settings) = (&*self.config, &self.config.settings);
        let mut progress = Progress::begin(&mut (), settings);
        progress.arrive(settings);
        loop {
            progress.begin_attempt(&mut (), settings);
            let (attempt, waited) = (progress.attempts(), progress.waited());
            config.observer.on_event(&Event::Started { attempt, waited });
            let result = {
                // Gone before the wait begins.
                let mut running = pin!(step(&mut progress, &mut operation));
                poll_fn(|cx| step(&mut progress, || running.as_mut().poll(cx))).await
            };
            let outcome = config.classifier.classify(result.as_ref()).outcome();
            config.observer.on_event(&Event::Ended { attempt, outcome });
            if outcome.is_success() {
                config.succeeded(&mut progress, None);
                return result;
            }
            let now = Instant::now();
            let again = config.decide(&mut progress, outcome, None, now).and_then(|wait| {
                progress.pay(outcome, &settings.rules, now)?;
                Ok(wait)
            });
            let wait = match again {
                Ok(wait) => wait,
                Err(stopped) => {
                    config.gave_up(&progress, outcome, stopped, None);
                    return result;
                }
            };
            progress.wait(outcome, wait, now);
            config.observer.on_event(&Event::Waiting { attempt, outcome, wait });
            match &settings.cancellation {
                None => {
                    drop(result);
                    pause(wait).await;
                }
                Some(token) => {
                    if token.run_until_cancelled(pause(wait)).await.is_none() {
                        progress.resume();
                        config.gave_up(&progress, outcome, Stopped::Cancelled, None);
                        return result;
                    }
                }
            }
        }
    }
}

/// Runs a step of an attempt where the layers inside find what they are to know.
fn step<T>(progress: &mut Progress, step: impl FnOnce() -> T) -> T {
    let mark = progress.begin_step();
    let done = match progress.scoped() {
        None => step(),
        Some(options) => options.sync_scope(step),
    };
    progress.end_step(mark);
    done
}

async fn pause(wait: Duration) {
    if !wait.is_zero() {
        sleep(wait).await;
    }
    // Retries that never wait must not keep a thread to themselves.
    coop::consume_budget().await;
}

/// A classifier for [`RetryLayer::run`]: every error may pass, and is retried.
///
/// What is not an error is a success, also a response that says 503: for those there is
/// [`HttpClassifier`](aplomb_core::HttpClassifier).
#[derive(Clone, Copy, Debug, Default)]
pub struct EveryError;

impl<T, E> Classify<T, E> for EveryError {
    fn classify(&self, result: Result<&T, &E>) -> Classification {
        if result.is_ok() {
            Outcome::success().into()
        } else {
            Outcome::transient().into()
        }
    }
}
