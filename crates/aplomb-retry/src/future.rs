//! The future of a call.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aplomb_core::{Classification, Classify, Outcome, Replay, RequestHead, ResponseHead, StopReason};
use pin_project_lite::pin_project;
use tokio::task::coop;
use tokio::time::Instant;
use tower_service::Service;

use crate::Discard;
use crate::backoff_wait::{BackoffWait, WaitEnd};
use crate::call::Call;
use crate::settings::Config;

/// A wait of this length is endless: thirty years, which tokio's clock can still count.
const FOREVER: Duration = Duration::from_secs(86_400 * 365 * 30);

pin_project! {
    /// The future of a call through [`Retry`](crate::Retry).
    ///
    /// Dropping it drops the attempt that is running, or ends the wait; nothing is sent again.
    pub struct RetryFuture<S, Req, K, C>
    where
        S: Service<K::Sent>,
        S::Response: Discard,
        K: Replay<Req>,
    {
        // Each attempt's call uses up its readiness: none is held while the call waits.
        inner: S,
        // The request, for all attempts. In one place, since it is large and each move of it costs.
        kept: Option<K::Kept>,
        call: Call,
        config: Arc<Config<K, C>>,
        #[pin]
        state: State<S::Future, K::Sent, Wait<S::Response, S::Error>>,
    }
}

type Wait<Res, E> = BackoffWait<<Res as Discard>::Discarding, Result<Res, E>>;

pin_project! {
    #[project = StateProj]
    enum State<F, T, W> {
        // The inner service is not ready for the first attempt yet.
        Fresh,
        // An attempt is running.
        Called { #[pin] attempt: F },
        // An attempt has failed: the delay passes, then the inner service gets ready for the next one. In a
        // box, since most calls never come here.
        Waiting { next: Pin<Box<Next<T, W>>> },
        // The call has ended between two attempts.
        Done,
    }
}

pin_project! {
    struct Next<T, W> {
        // How the attempt before ended.
        failed: Classification,
        request: Option<T>,
        #[pin]
        wait: W,
    }
}

impl<S, Req, K, C> RetryFuture<S, Req, K, C>
where
    S: Service<K::Sent>,
    S::Response: Discard,
    K: Replay<Req>,
{
    #[inline]
    pub(crate) fn begin(inner: S, mut request: Req, config: Arc<Config<K, C>>) -> Self
    where
        Req: RequestHead,
    {
        let call = Call::begin(&mut request, &config.settings);
        let kept = Some(config.replay.keep(request));
        Self { inner, kept, call, config, state: State::Fresh }
    }

    /// The number of attempts that have begun.
    pub fn attempts(&self) -> u32 {
        self.call.attempts()
    }

    /// The deadline of the call: the layer's or the caller's, whichever is earlier. Options from the
    /// task-local are known from the first poll on.
    pub fn deadline(&self) -> Option<Instant> {
        self.call.deadline()
    }

    /// The outcome of the attempt before the one that is running or waits to be sent.
    pub fn last(&self) -> Option<Outcome> {
        self.call.last()
    }
}

impl<S, Req, K, C> Future for RetryFuture<S, Req, K, C>
where
    K: Replay<Req>,
    K::Sent: RequestHead,
    S: Service<K::Sent>,
    S::Response: ResponseHead + Discard,
    C: Classify<S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (call, config, mut state) = (this.call, &**this.config, this.state);
        let settings = &config.settings;
        loop {
            match state.as_mut().project() {
                // → `Called`; or the end, if the inner service has failed.
                StateProj::Fresh => {
                    if let Err(error) = ready!(this.inner.poll_ready(cx)) {
                        call.gave_up(Outcome::local().into(), StopReason::NotReady, None, settings);
                        return Poll::Ready(Err(error));
                    }
                    call.arrive(settings);
                    // A request that cannot be sent again anyway is not copied.
                    let copy = this.kept.as_mut().filter(|_| call.may_retry());
                    let copy = copy.and_then(|kept| config.replay.again(kept));
                    let mut request = copy.unwrap_or_else(|| {
                        call.cannot_replay();
                        config.replay.once(this.kept.take().expect("taken here only"))
                    });
                    let step = call.begin_attempt(&mut request, settings);
                    let attempt = call.call(this.inner, request);
                    state.set(State::Called { attempt });
                    call.end_step(step);
                }
                // → `Waiting` if the request will be sent again; otherwise the end.
                StateProj::Called { attempt } => {
                    let mut polled = call.poll(attempt, cx);
                    // Examined in place: each move of a response costs.
                    let Poll::Ready(result) = &mut polled else {
                        return Poll::Pending;
                    };
                    // Nobody needs more of a success than that it is one.
                    if settings.observer.is_none() && config.classifier.has_succeeded(result.as_ref()) {
                        call.succeeded(head_mut(result), settings);
                        return polled;
                    }
                    let classification = config.classifier.classify(result.as_ref());
                    let classification = call.end_attempt(classification, settings);
                    if classification.outcome().is_success() {
                        call.succeeded(head_mut(result), settings);
                        return polled;
                    }
                    let now = Instant::now();
                    let next = next_attempt(call, config, this.kept.as_mut(), &classification, result, now);
                    let (delay, request) = match next {
                        Ok(next) => next,
                        Err(why) => {
                            call.gave_up(classification, why, head_mut(result), settings);
                            return polled;
                        }
                    };
                    let until = now.checked_add(delay).unwrap_or_else(|| now + FOREVER);
                    let wait = match (ready!(polled), &settings.cancellation) {
                        (result, Some(token)) => BackoffWait::cancellable(result, token, until),
                        (Ok(response), None) if settings.drains => {
                            BackoffWait::discarding(response.discard(), now, call.deadline(), until)
                        }
                        (_, None) => BackoffWait::waiting(until),
                    };
                    call.wait(classification.clone(), delay, settings, now);
                    let next = Next { failed: classification, request, wait };
                    state.set(State::Waiting { next: Box::pin(next) });
                }
                // → `Called`; or the end, if the wait is cancelled, the body cannot be sent again after all,
                // or the inner service has failed.
                StateProj::Waiting { next } => {
                    let mut next = next.as_mut().project();
                    let ended = match ready!(next.wait.as_mut().poll(cx)) {
                        WaitEnd::Over(None) => None,
                        WaitEnd::Over(Some(result)) => {
                            *next.request = this.kept.as_mut().and_then(|kept| config.replay.again(kept));
                            if next.request.is_some() {
                                if let (Ok(response), true) = (result, settings.drains) {
                                    let now = Instant::now();
                                    let discarding = response.discard();
                                    let wait = BackoffWait::discarding(discarding, now, call.deadline(), now);
                                    next.wait.set(wait);
                                }
                                continue;
                            }
                            Some((result, StopReason::CannotReplay))
                        }
                        WaitEnd::Cancelled(result) => Some((result, StopReason::Cancelled)),
                    };
                    if let Some((mut result, why)) = ended {
                        call.cancel_wait();
                        call.gave_up(next.failed.clone(), why, head_mut(&mut result), settings);
                        state.set(State::Done);
                        return Poll::Ready(result);
                    }
                    // Retries that never wait must not monopolize a thread.
                    ready!(coop::poll_proceed(cx)).made_progress();
                    if let Err(error) = ready!(this.inner.poll_ready(cx)) {
                        call.gave_up(next.failed.clone(), StopReason::NotReady, None, settings);
                        state.set(State::Done);
                        return Poll::Ready(Err(error));
                    }
                    let mut request = next.request.take().expect("made before the wait was over");
                    let step = call.begin_attempt(&mut request, settings);
                    let attempt = call.call(this.inner, request);
                    state.set(State::Called { attempt });
                    call.end_step(step);
                }
                StateProj::Done => panic!("polled after it was ready"),
            }
        }
    }
}

/// Returns the delay and the request of the next attempt, or why there is none.
///
/// The request is made after the retry has been paid for, since from then on the attempt before can no longer
/// read its body; and while the failed response is still there, since the caller gets it if the body cannot
/// be sent again. If the wait can be cancelled, the response is kept, and the request is made after the wait.
fn next_attempt<Req, K, C, Res: ResponseHead, E>(
    call: &mut Call,
    config: &Config<K, C>,
    kept: Option<&mut K::Kept>,
    failed: &Classification,
    result: &Result<Res, E>,
    now: Instant,
) -> Result<(Duration, Option<K::Sent>), StopReason>
where
    K: Replay<Req>,
{
    let settings = &config.settings;
    let head = result.as_ref().ok().map(|response| response as &dyn ResponseHead);
    let delay = call.decide(failed.outcome(), head, settings, now)?;
    let kept = kept.ok_or(StopReason::CannotReplay)?;
    call.pay(failed.outcome(), settings, now)?;
    if settings.cancellation.is_some() {
        return Ok((delay, None));
    }
    let request = config.replay.again(kept).ok_or(StopReason::CannotReplay)?;
    Ok((delay, Some(request)))
}

fn head_mut<Res: ResponseHead, E>(result: &mut Result<Res, E>) -> Option<&mut dyn ResponseHead> {
    result.as_mut().ok().map(|response| response as &mut dyn ResponseHead)
}

impl<S, Req, K, C> fmt::Debug for RetryFuture<S, Req, K, C>
where
    S: Service<K::Sent>,
    S::Response: Discard,
    K: Replay<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Fresh => "fresh",
            State::Called { .. } => "called",
            State::Waiting { .. } => "waiting",
            State::Done => "done",
        };
        f.debug_struct("RetryFuture")
            .field("state", &state)
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}
