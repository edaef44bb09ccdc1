//! The future of a call.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aplomb_core::{
    Backoff, CallOptions, Classify, Observe, Outcome, Replay, RequestHead, ResponseHead, SetMark,
};
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
    pub(crate) fn new(
        inner: S,
        request: Req,
        progress: Progress,
        config: Arc<Config<K, C, B, D, O>>,
    ) -> Self {
        Self {
            inner,
            kept: Some(config.replay.keep(request)),
            progress,
            config,
            state: State::Fresh,
        }
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
                StateProj::Fresh => {
                    if let Err(error) = ready!(this.inner.poll_ready(cx)) {
                        config.gave_up(progress, Outcome::local(), Stopped::NotReady, None);
                        return Poll::Ready(Err(error));
                    }
                    // A request that can not be sent again anyway is not copied.
                    let copy = this.kept.as_mut().filter(|_| progress.may_repeat());
                    let mut request = match copy.and_then(|kept| config.replay.again(kept)) {
                        Some(copy) => copy,
                        None => config.replay.once(this.kept.take().expect("not polled after it was ready")),
                    };
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
                    let mark = progress.begin_step();
                    let mut polled = match progress.scoped() {
                        None => attempt.poll(cx),
                        Some(options) => options.sync_scope(|| attempt.poll(cx)),
                    };
                    progress.end_step(mark);
                    // Looked at in place: each move of a response counts as well.
                    let Poll::Ready(result) = &mut polled else {
                        return Poll::Pending;
                    };
                    let outcome = config.classifier.classify(result.as_ref()).outcome();
                    let attempt = progress.attempts();
                    config.observer.observe(&Event::Ended { attempt, outcome });
                    if outcome.is_success() {
                        config.succeeded(progress, head_mut(result));
                        return polled;
                    }
                    let now = Instant::now();
                    let head = result.as_ref().ok().map(|response| response as &dyn ResponseHead);
                    // The next request is asked for while the failed response is still there: a
                    // body that turns out to be gone returns that response.
                    let again = config.decide(progress, outcome, head, now).and_then(|wait| {
                        let next = this.kept.as_mut().and_then(|kept| config.replay.again(kept));
                        let next = next.ok_or(Stopped::CannotReplay)?;
                        progress.pay(outcome, &settings.rules, now)?;
                        Ok((wait, next))
                    });
                    let (wait, request) = match again {
                        Ok(again) => again,
                        Err(stopped) => {
                            config.gave_up(progress, outcome, stopped, head_mut(result));
                            return polled;
                        }
                    };
                    progress.wait(outcome, wait);
                    config.observer.observe(&Event::Waiting { attempt, outcome, wait });
                    let until = now.checked_add(wait).unwrap_or_else(|| now + FOR_EVER);
                    let between = match (ready!(polled), &settings.cancellation) {
                        (result, Some(token)) => Between::cancellable(result, outcome, token, until),
                        (Ok(response), None) => {
                            let discarding = config.discard.discard(response);
                            Between::discarding(discarding, now, progress.deadline(), until)
                        }
                        (Err(_), None) => Between::waiting(until),
                    };
                    state.set(State::Between { next: Box::pin(Next { request: Some(request), between }) });
                }
                // → `Called`; or the end, where the wait is cancelled or the inner service is finished.
                StateProj::Between { next } => {
                    let next = next.as_mut().project();
                    if let Some((mut result, outcome)) = ready!(next.between.poll(cx)) {
                        config.gave_up(progress, outcome, Stopped::Cancelled, head_mut(&mut result));
                        return Poll::Ready(result);
                    }
                    // Retries that never wait must not keep a thread to themselves.
                    ready!(coop::poll_proceed(cx)).made_progress();
                    if let Err(error) = ready!(this.inner.poll_ready(cx)) {
                        config.gave_up(progress, Outcome::local(), Stopped::NotReady, None);
                        return Poll::Ready(Err(error));
                    }
                    let mut request = next.request.take().expect("not polled after it was ready");
                    let mark = config.begin_attempt(progress, &mut request);
                    let attempt = match progress.scoped() {
                        None => this.inner.call(request),
                        Some(options) => scoped_call(options, this.inner, request),
                    };
                    state.set(State::Called { attempt });
                    progress.end_step(mark);
                }
            }
        }
    }
}

impl<K, C, B, D, O: Observe<Event>> Config<K, C, B, D, O> {
    /// Begins an attempt, and its first step.
    #[inline]
    fn begin_attempt(&self, progress: &mut Progress, request: &mut impl RequestHead) -> Option<SetMark> {
        progress.begin_attempt(request, &self.settings);
        let (attempt, waited) = (progress.attempts(), progress.waited());
        self.observer.observe(&Event::Started { attempt, waited });
        progress.begin_step()
    }
}

/// Apart, and rare: a closure that takes the request would move it once more on every call.
#[cold]
fn scoped_call<S: Service<T>, T>(options: CallOptions, inner: &mut S, request: T) -> S::Future {
    options.sync_scope(|| inner.call(request))
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
        };
        f.debug_struct("ResponseFuture")
            .field("state", &state)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}
