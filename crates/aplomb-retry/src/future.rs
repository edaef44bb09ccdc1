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

use crate::between::{Between, Turn};
use crate::config::Config;
use crate::progress::Progress;
use crate::steps::{poll_step, scoped_call};
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
        // The request, for all attempts. In one place, since it is large and each move of it counts.
        kept: Option<K::Kept>,
        progress: Progress,
        config: Arc<Config<K, C, B, D, O>>,
        #[pin]
        state: State<S::Future, K::Sent, Between<D::Discarding, Result<S::Response, S::Error>>>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, T, W> {
        // The inner service is asked whether it is ready for the first attempt.
        Fresh,
        // An attempt runs.
        Called { #[pin] attempt: F },
        // The attempt failed, and the time of the next one comes; then the inner service is asked
        // whether it is ready. In a box: most calls never come here.
        Between { next: Pin<Box<Next<T, W>>> },
        // The call was ended between two attempts.
        Done,
    }
}

pin_project! {
    struct Next<T, W> {
        request: Option<T>,
        #[pin]
        between: W,
    }
}

impl<S, Req, K, C, B, D, O> ResponseFuture<S, Req, K, C, B, D, O>
where
    S: Service<K::Sent>,
    K: Replay<Req>,
    D: Discard<S::Response>,
{
    #[inline]
    pub(crate) fn begin(inner: S, mut request: Req, config: Arc<Config<K, C, B, D, O>>) -> Self
    where
        Req: RequestHead,
    {
        let progress = Progress::begin(&mut request, &config.settings);
        let kept = Some(config.replay.keep(request));
        Self { inner, kept, progress, config, state: State::Fresh }
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

    /// By when the call must have ended, as the layer and its caller say; an option in the task-local counts
    /// from the first poll on.
    pub fn deadline(&self) -> Option<Instant> {
        self.progress.deadline()
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
                StateProj::Fresh => {
                    if let Err(error) = ready!(this.inner.poll_ready(cx)) {
                        config.gave_up(progress, Outcome::local(), Stopped::NotReady, None);
                        return Poll::Ready(Err(error));
                    }
                    progress.arrive(settings);
                    // A request that can not be sent again anyway is not copied.
                    let copy = this.kept.as_mut().filter(|_| progress.may_repeat());
                    let copy = copy.and_then(|kept| config.replay.again(kept));
                    let mut request = copy.unwrap_or_else(|| {
                        progress.cannot_replay();
                        config.replay.once(this.kept.take().expect("taken here only"))
                    });
                    let mark = config.begin_attempt(progress, &mut request);
                    let attempt = match progress.scoped() {
                        None => this.inner.call(request),
                        Some(options) => scoped_call(options, this.inner, request),
                    };
                    state.set(State::Called { attempt });
                    progress.end_step(mark);
                }
                // → `Between` if the request is sent again; otherwise the end.
                StateProj::Called { attempt } => {
                    let mut polled = poll_step(attempt, progress, cx);
                    // Looked at in place: each move of a response counts as well.
                    let Poll::Ready(result) = &mut polled else {
                        return Poll::Pending;
                    };
                    let outcome = config.classifier.classify(result.as_ref()).outcome();
                    let attempt = progress.attempts();
                    config.observer.on_event(&Event::Ended { attempt, outcome });
                    if outcome.is_success() {
                        config.succeeded(progress, head_mut(result));
                        return polled;
                    }
                    let now = Instant::now();
                    let head = result.as_ref().ok().map(|response| response as &dyn ResponseHead);
                    let again = config.again(progress, this.kept.as_mut(), outcome, head, now);
                    let (wait, request) = match again {
                        Ok(again) => again,
                        Err(stopped) => {
                            config.gave_up(progress, outcome, stopped, head_mut(result));
                            return polled;
                        }
                    };
                    progress.wait(outcome, wait, now);
                    config.observer.on_event(&Event::Waiting { attempt, outcome, wait });
                    let until = now.checked_add(wait).unwrap_or_else(|| now + FOR_EVER);
                    let between = config.between(ready!(polled), outcome, progress.deadline(), now, until);
                    state.set(State::Between { next: Box::pin(Next { request, between }) });
                }
                // → `Called`; or the end, where the wait is cancelled, the body turns out to be gone, or the
                // inner service is finished.
                StateProj::Between { next } => {
                    let mut next = next.as_mut().project();
                    let ended = match ready!(next.between.as_mut().poll(cx)) {
                        Turn::Over(None) => None,
                        Turn::Over(Some((result, outcome))) => {
                            *next.request = this.kept.as_mut().and_then(|kept| config.replay.again(kept));
                            if next.request.is_some() {
                                if let Ok(response) = result {
                                    let now = Instant::now();
                                    let discarding = config.discard.discard(response);
                                    let deadline = progress.deadline();
                                    next.between.set(Between::discarding(discarding, now, deadline, now));
                                }
                                continue;
                            }
                            Some((result, outcome, Stopped::CannotReplay))
                        }
                        Turn::Cancelled(result, outcome) => Some((result, outcome, Stopped::Cancelled)),
                    };
                    if let Some((mut result, outcome, stopped)) = ended {
                        progress.resume();
                        config.gave_up(progress, outcome, stopped, head_mut(&mut result));
                        state.set(State::Done);
                        return Poll::Ready(result);
                    }
                    // Retries that never wait must not keep a thread to themselves.
                    ready!(coop::poll_proceed(cx)).made_progress();
                    if let Err(error) = ready!(this.inner.poll_ready(cx)) {
                        let last = progress.last().unwrap_or(Outcome::local());
                        config.gave_up(progress, last, Stopped::NotReady, None);
                        state.set(State::Done);
                        return Poll::Ready(Err(error));
                    }
                    let mut request = next.request.take().expect("asked for before its time has come");
                    let mark = config.begin_attempt(progress, &mut request);
                    let attempt = match progress.scoped() {
                        None => this.inner.call(request),
                        Some(options) => scoped_call(options, this.inner, request),
                    };
                    state.set(State::Called { attempt });
                    progress.end_step(mark);
                }
                StateProj::Done => panic!("polled after it was ready"),
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
            State::Fresh => "fresh",
            State::Called { .. } => "called",
            State::Between { .. } => "between two attempts",
            State::Done => "done",
        };
        f.debug_struct("ResponseFuture")
            .field("state", &state)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}
