//! The steps of a call: an attempt begins, is polled, and is followed by another.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use aplomb_core::{Backoff, CallOptions, Observe, Outcome, Replay, RequestHead, ResponseHead, SetMark};
use tokio::time::Instant;
use tower_service::Service;

use crate::between::Between;
use crate::config::Config;
use crate::progress::Progress;
use crate::{Discard, Event, Stopped};

impl<K, C, B: Backoff, D, O: Observe<Event>> Config<K, C, B, D, O> {
    /// How long to wait before the next attempt, and what is sent then; or why there is none.
    ///
    /// The next request is asked for when the retry is paid for, since the attempt before can then no
    /// longer read its body; and while the failed response is still there, since a body that turns out
    /// to be gone returns it. Where the wait may be cancelled, the response is there until its end, and
    /// the request is asked for then.
    pub(crate) fn again<Req>(
        &self,
        progress: &mut Progress,
        kept: Option<&mut K::Kept>,
        outcome: Outcome,
        head: Option<&dyn ResponseHead>,
        now: Instant,
    ) -> Result<(Duration, Option<K::Sent>), Stopped>
    where
        K: Replay<Req>,
    {
        let wait = self.decide(progress, outcome, head, now)?;
        let kept = kept.ok_or(Stopped::CannotReplay)?;
        progress.pay(outcome, &self.settings.rules, now)?;
        if self.settings.cancellation.is_some() {
            return Ok((wait, None));
        }
        let next = self.replay.again(kept).ok_or(Stopped::CannotReplay)?;
        Ok((wait, Some(next)))
    }
}

impl<K, C, B, D, O> Config<K, C, B, D, O> {
    /// What happens until the next attempt, which begins at `until`.
    pub(crate) fn between<Res, E>(
        &self,
        failed: Result<Res, E>,
        outcome: Outcome,
        deadline: Option<Instant>,
        now: Instant,
        until: Instant,
    ) -> Between<D::Discarding, Result<Res, E>>
    where
        D: Discard<Res>,
    {
        match (failed, &self.settings.cancellation) {
            (failed, Some(token)) => Between::cancellable(failed, outcome, token, until),
            (Ok(response), None) => Between::discarding(self.discard.discard(response), now, deadline, until),
            (Err(_), None) => Between::waiting(until),
        }
    }
}

impl<K, C, B, D, O: Observe<Event>> Config<K, C, B, D, O> {
    /// Begins an attempt, and its first step.
    #[inline]
    pub(crate) fn begin_attempt(
        &self,
        progress: &mut Progress,
        request: &mut impl RequestHead,
    ) -> Option<SetMark> {
        progress.begin_attempt(request, &self.settings);
        let (attempt, waited) = (progress.attempts(), progress.waited());
        self.observer.on_event(&Event::Started { attempt, waited });
        progress.begin_step()
    }
}

/// Polls an attempt where the layers inside find what they are to know.
#[inline]
pub(crate) fn poll_step<F: Future>(
    attempt: Pin<&mut F>,
    progress: &mut Progress,
    cx: &mut Context<'_>,
) -> Poll<F::Output> {
    let mark = progress.begin_step();
    let polled = match progress.scoped() {
        None => attempt.poll(cx),
        Some(options) => options.sync_scope(|| attempt.poll(cx)),
    };
    progress.end_step(mark);
    polled
}

/// Apart, and rare: a closure that takes the request would move it once more on every call.
#[cold]
pub(crate) fn scoped_call<S: Service<T>, T>(options: CallOptions, inner: &mut S, request: T) -> S::Future {
    options.sync_scope(|| inner.call(request))
}
