//! The future of a call.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aplomb_core::{Backoff, Classify, Observe, Outcome, Replay, RequestHead, ResponseHead};
use pin_project_lite::pin_project;
use tokio::task::coop;
use tokio::time::Instant;
use tower_service::Service;

use crate::between::Between;
use crate::config::Config;
use crate::progress::Progress;
use crate::{Discard, Event, Stopped};

/// What a wait without end comes to: thirty years, which tokio's clock can count.
const FOR_EVER: Duration = Duration::from_secs(86_400 * 365 * 30);

pin_project! {
    /// The future of a call through [`Retry`](crate::Retry).
    ///
    /// Dropping it drops the attempt that is running, or ends the wait; nothing is sent again.
    pub struct ResponseFuture<S, Req, K, C, B, D, O>
    where
        S: Service<K::Sent>,
        K: Replay<Req>,
        D: Discard<S::Response>,
    {
        // Its readiness is spent by each attempt's call: none is held while the call waits.
        inner: S,
        // The attempt to come, and what is kept for the one after it. Large, so they rest here and
        // move with no state.
        request: Option<K::Sent>,
        kept: Option<K::Kept>,
        progress: Progress,
        config: Arc<Config<K, C, B, D, O>>,
        #[pin]
        state: State<S::Future, Between<D::Discarding, Result<S::Response, S::Error>>>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, W> {
        // The inner service is asked whether it is ready.
        Ready,
        // An attempt runs.
        Called { #[pin] attempt: F },
        // The attempt failed; the next one has not begun. In a box: most calls never come here.
        Between { between: Pin<Box<W>> },
    }
}

impl<S, Req, K, C, B, D, O> ResponseFuture<S, Req, K, C, B, D, O>
where
    S: Service<K::Sent>,
    K: Replay<Req>,
    D: Discard<S::Response>,
{
    #[inline]
    pub(crate) fn new(
        inner: S,
        request: Req,
        progress: Progress,
        config: Arc<Config<K, C, B, D, O>>,
    ) -> Self {
        let mut future = Self { inner, request: None, kept: None, progress, config, state: State::Ready };
        // A request that can not be sent again anyway is not copied.
        future.request = Some(if future.progress.may_repeat() {
            future.config.replay.keep(request, &mut future.kept)
        } else {
            future.config.replay.once(request)
        });
        future
    }
}

impl<S, Req, K, C, B, D, O> ResponseFuture<S, Req, K, C, B, D, O>
where
    S: Service<K::Sent>,
    K: Replay<Req>,
    D: Discard<S::Response>,
{
    /// How many attempts have begun.
    pub fn attempts(&self) -> u32 {
        self.progress.attempts()
    }

    /// What the last attempt that ended came to, if the request is being sent again.
    pub fn last(&self) -> Option<Outcome> {
        self.progress.last()
    }
}

impl<S, Req, K, C, B, D, O> Future for ResponseFuture<S, Req, K, C, B, D, O>
where
    K: Replay<Req>,
    K::Sent: RequestHead,
    S: Service<K::Sent>,
    S::Response: ResponseHead,
    C: Classify<S::Response, S::Error>,
    B: Backoff,
    D: Discard<S::Response>,
    O: Observe<Event>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (progress, config, mut state) = (this.progress, &**this.config, this.state);
        let settings = &config.settings;
        loop {
            match state.as_mut().project() {
                // → `Called`; or the end, where the inner service is finished.
                StateProj::Ready => {
                    if progress.attempts() > 0 {
                        // Retries that never wait must not keep a thread to themselves.
                        ready!(coop::poll_proceed(cx)).made_progress();
                    }
                    if let Err(error) = ready!(this.inner.poll_ready(cx)) {
                        config.gave_up(progress, Outcome::local(), Stopped::NotReady, None);
                        return Poll::Ready(Err(error));
                    }
                    if let Some(request) = this.request.as_mut() {
                        progress.begin_attempt(request, settings);
                    }
                    let (attempt, waited) = (progress.attempts(), progress.waited());
                    config.observer.observe(&Event::Started { attempt, waited });
                    let request = this.request.take().expect("not polled after it was ready");
                    let attempt = progress.step(|| this.inner.call(request));
                    state.set(State::Called { attempt });
                }
                // → `Between` if the request is sent again; otherwise the end.
                StateProj::Called { attempt } => {
                    let mut result = ready!(progress.step(|| attempt.poll(cx)));
                    let outcome = config.classifier.classify(result.as_ref()).outcome();
                    let attempt = progress.attempts();
                    config.observer.observe(&Event::Ended { attempt, outcome });
                    if outcome.is_success() {
                        config.succeeded(progress, head_mut(&mut result));
                        return Poll::Ready(result);
                    }
                    let now = Instant::now();
                    let head = result.as_ref().ok().map(|response| response as &dyn ResponseHead);
                    // The next request is asked for while the failed response is still there: a
                    // body that turns out to be gone returns that response.
                    let again = config.decide(progress, outcome, head, now).and_then(|wait| {
                        *this.request = this.kept.as_mut().and_then(|kept| config.replay.again(kept));
                        this.request.is_some().then_some(()).ok_or(Stopped::CannotReplay)?;
                        progress.pay(outcome, &settings.rules, now)?;
                        Ok(wait)
                    });
                    let wait = match again {
                        Ok(wait) => wait,
                        Err(stopped) => {
                            config.gave_up(progress, outcome, stopped, head_mut(&mut result));
                            return Poll::Ready(result);
                        }
                    };
                    progress.wait(outcome, wait);
                    config.observer.observe(&Event::Waiting { attempt, outcome, wait });
                    let until = now.checked_add(wait).unwrap_or_else(|| now + FOR_EVER);
                    let between = match (result, &settings.cancellation) {
                        (result, Some(token)) => Between::cancellable(result, outcome, token, until),
                        (Ok(response), None) => {
                            let discarding = config.discard.discard(response);
                            Between::discarding(discarding, now, progress.deadline(), until)
                        }
                        (Err(_), None) => Between::waiting(until),
                    };
                    state.set(State::Between { between: Box::pin(between) });
                }
                // → `Ready`; or the end, where the wait is cancelled.
                StateProj::Between { between } => {
                    if let Some((mut result, outcome)) = ready!(between.as_mut().poll(cx)) {
                        config.gave_up(progress, outcome, Stopped::Cancelled, head_mut(&mut result));
                        return Poll::Ready(result);
                    }
                    state.set(State::Ready);
                }
            }
        }
    }
}

/// The head of a response, to write to.
fn head_mut<Res: ResponseHead, E>(result: &mut Result<Res, E>) -> Option<&mut dyn ResponseHead> {
    result.as_mut().ok().map(|response| response as &mut dyn ResponseHead)
}

impl<S, Req, K, C, B, D, O> fmt::Debug for ResponseFuture<S, Req, K, C, B, D, O>
where
    S: Service<K::Sent>,
    K: Replay<Req>,
    D: Discard<S::Response>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Ready => "ready",
            State::Called { .. } => "called",
            State::Between { .. } => "between two attempts",
        };
        f.debug_struct("ResponseFuture")
            .field("state", &state)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}
