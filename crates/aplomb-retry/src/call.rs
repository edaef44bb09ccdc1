//! The state of one call, from its arrival to its last attempt.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use aplomb_core::{
    AttemptStep, Classification, CurrentCall, Event, EventKind, FailedAttempt, Kind, Outcome, RequestHead,
    RequestView, ResponseHead, StopReason,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::attempts::Attempts;
use crate::budget::BudgetLease;
use crate::context::Context;
use crate::decision::{Conditions, decide, is_free};
use crate::settings::Settings;
use crate::{Repeatable, Retried, Upcoming, headers};

/// The state of one call.
#[derive(Debug)]
pub(crate) struct Call {
    attempts: Attempts,
    context: Context,
    lease: Option<BudgetLease>,
    /// Why the call will not be sent again, whatever happens.
    no_retry: Option<StopReason>,
    only_unprocessed: bool,
}

/// A call begins.
impl Call {
    /// A call that begins now. Its request may be given an idempotency key.
    #[inline]
    pub(crate) fn begin(request: &mut impl RequestHead, settings: &Settings) -> Self {
        let mut call = Self {
            attempts: Attempts::default(),
            context: Context::of(request),
            lease: None,
            no_retry: None,
            only_unprocessed: false,
        };
        call.no_retry = call.forbidden_by(settings);
        if call.may_retry() || settings.max_elapsed.is_some() {
            call.start_clock(settings);
        }
        if call.may_retry() {
            call.examine(request, settings);
        }
        call
    }

    /// Why the call is sent only once, whatever its request.
    #[inline]
    fn forbidden_by(&self, settings: &Settings) -> Option<StopReason> {
        if settings.rules.max_retries == 0 {
            Some(StopReason::MaxRetries)
        } else if !self.context.options().allows_retry() {
            Some(StopReason::Disabled)
        } else if settings.stands_down && self.context.is_nested() {
            Some(StopReason::Nested)
        } else {
            None
        }
    }

    #[inline]
    fn start_clock(&mut self, settings: &Settings) {
        let now = Instant::now();
        self.attempts.begin(now);
        // A time too long to be added is no limit.
        if let Some(deadline) = settings.max_elapsed.and_then(|longest| now.checked_add(longest)) {
            self.context.limit(deadline);
        }
    }

    /// Examines the request: whether it may be sent again, which budget pays for it, which key it gets.
    fn examine(&mut self, request: &mut impl RequestHead, settings: &Settings) {
        let key = settings.idempotency_key.as_ref();
        match settings.repeatable.of(request, key.is_some()) {
            Repeatable::Always => {}
            Repeatable::WhenUnprocessed => self.only_unprocessed = true,
            Repeatable::Never => {
                self.no_retry = Some(StopReason::NotRepeatable);
                return;
            }
        }
        if let Some(name) = key {
            // Never from the user's seed: a key that is used twice is worse than none.
            headers::add_key(request, name, &mut rand::rng());
        }
        if let (Some(budget), Some(now)) = (&settings.budget, self.attempts.began()) {
            let mut lease = budget.lease(&RequestView::head(request), now);
            // A request that the client in front of us sends again is a retry too. If the budget cannot pay
            // for it, it cannot pay for ours.
            if headers::is_retried_outside(request) && !lease.pay(Outcome::transient(), now) {
                self.no_retry = Some(StopReason::Budget);
            }
            self.lease = Some(lease);
        }
    }

    /// Called when the first attempt is about to be made, possibly inside an attempt of an outer retry layer
    /// in which this call was not created.
    #[inline]
    pub(crate) fn arrive(&mut self, settings: &Settings) {
        self.context.take_over_task_local();
        if self.no_retry.is_none() {
            self.no_retry = self.forbidden_by(settings);
        }
    }

    /// Notes that the request cannot be sent twice.
    pub(crate) fn cannot_replay(&mut self) {
        self.no_retry = self.no_retry.or(Some(StopReason::CannotReplay));
    }
}

/// The state of a call, as its future reads it.
impl Call {
    /// Returns whether the request may have to be sent again.
    #[inline]
    pub(crate) fn may_retry(&self) -> bool {
        self.no_retry.is_none()
    }

    /// The number of attempts that were started.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts.count()
    }

    /// The earlier one of the caller's deadline and the layer's.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.context.options().deadline()
    }

    /// The outcome of the attempt before this one.
    pub(crate) fn last(&self) -> Option<Outcome> {
        self.attempts.previous_delay().and(self.context.options().last())
    }

    fn retried(&self, stopped: Option<StopReason>) -> Retried {
        Retried { attempts: self.attempts.count(), waited: self.attempts.waited(), stopped }
    }
}

/// An attempt begins, runs and ends.
impl Call {
    /// Begins an attempt with `request`: pass the result to [`end_step`](Self::end_step) when it has been
    /// called.
    #[inline]
    pub(crate) fn begin_attempt(
        &mut self,
        request: &mut impl RequestHead,
        settings: &Settings,
    ) -> Option<AttemptStep> {
        self.attempts.start();
        if let Some(name) = &settings.retry_count {
            headers::count(request, name, self.attempts.next_retry());
        }
        if let Some(lease) = &mut self.lease {
            lease.sent();
        }
        self.context.pass_on(request);
        if settings.observer.is_some() {
            settings.notify(&Event::attempt_started(self.attempts.count(), self.attempts.waited()));
        }
        self.begin_step()
    }

    /// Calls `inner` for an attempt that has begun.
    #[inline]
    pub(crate) fn call<S: Service<T>, T>(&self, inner: &mut S, request: T) -> S::Future {
        self.context.call(inner, request)
    }

    /// Polls an attempt.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a response is large, and made in its place instead of being moved"
    )]
    pub(crate) fn poll<F: Future>(
        &mut self,
        attempt: Pin<&mut F>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<F::Output> {
        let step = self.begin_step();
        let polled = self.context.poll(attempt, cx);
        self.end_step(step);
        polled
    }

    /// Runs `make`, which creates an attempt.
    pub(crate) fn make<T>(&self, make: impl FnOnce() -> T) -> T {
        self.context.run(make)
    }

    /// Begins a step of the attempt. Retry layers inside see it and stand down.
    #[inline]
    fn begin_step(&self) -> Option<AttemptStep> {
        self.may_retry().then(CurrentCall::attempt)
    }

    /// Ends a step. If a gate made the attempt wait for its turn, the retry puts no load on the server and
    /// costs nothing.
    #[inline]
    pub(crate) fn end_step(&mut self, step: Option<AttemptStep>) {
        if let Some(lease) = &mut self.lease {
            if step.is_some_and(|step| step.was_queued()) {
                lease.refund();
            }
        }
    }

    /// Reports how an attempt ended.
    #[inline]
    pub(crate) fn end_attempt(&self, result: Classification, settings: &Settings) -> Classification {
        if settings.observer.is_none() {
            return result;
        }
        let event = Event::attempt_ended(self.attempts.count(), result);
        settings.notify(&event);
        match event.into_kind() {
            EventKind::AttemptEnded { result, .. } => result,
            _ => unreachable!("the kind it was created with"),
        }
    }
}

/// An attempt failed: again, or not.
impl Call {
    /// Returns the delay before the next attempt, or why there is none.
    pub(crate) fn decide(
        &mut self,
        outcome: Outcome,
        response: Option<&dyn ResponseHead>,
        settings: &Settings,
        now: Instant,
    ) -> Result<Duration, StopReason> {
        if outcome.kind() == Kind::Local {
            // The attempt was never sent.
            if let Some(lease) = &mut self.lease {
                lease.refund();
            }
        }
        let failed = FailedAttempt::new(self.attempts.counted(), outcome)
            .with_previous(self.attempts.previous_delay())
            .with_response(response);
        let conditions = Conditions {
            left: self.deadline().map(|deadline| deadline.saturating_duration_since(now)),
            no_retry: self.no_retry,
            only_unprocessed: self.only_unprocessed,
            elapsed: self.attempts.elapsed(now),
            attempts: self.attempts.count(),
            unanswered: self.attempts.unanswered(),
        };
        let retry = self.attempts.next_retry();
        let delay = settings.random.with(self.attempts.number_mut(), retry, |random| {
            decide(&settings.rules, &failed, &conditions, &*settings.backoff, random)
        })?;
        if settings.cancellation.as_ref().is_some_and(CancellationToken::is_cancelled) {
            return Err(StopReason::Cancelled);
        }
        let upcoming = Upcoming { failed: &failed, delay, elapsed: self.attempts.elapsed(now) };
        let stopped = settings.stop.as_ref().and_then(|stop| stop.stop(&upcoming));
        stopped.map_or(Ok(delay), Err)
    }

    /// Pays for a retry, unless it waits in the queue of a rate limit, or the server never began: then it is free.
    pub(crate) fn pay(
        &mut self,
        outcome: Outcome,
        settings: &Settings,
        now: Instant,
    ) -> Result<(), StopReason> {
        let Some(lease) = &mut self.lease else {
            return Ok(());
        };
        let is_free = settings.rules.is_requeued(outcome) || is_free(outcome, self.attempts.count());
        if is_free || lease.pay(outcome, now) {
            Ok(())
        } else {
            Err(StopReason::Budget)
        }
    }

    /// Reports that the request will be sent again after `delay`.
    pub(crate) fn wait(
        &mut self,
        failed: Classification,
        delay: Duration,
        settings: &Settings,
        now: Instant,
    ) {
        if !settings.rules.counts(failed.outcome(), self.attempts.elapsed(now), self.attempts.count()) {
            self.attempts.add_free();
        }
        if failed.outcome().is_unanswered() {
            self.attempts.add_unanswered();
        }
        self.attempts.wait(delay, now);
        self.context.add_attempt(failed.outcome(), self.attempts.began());
        settings.notify(&Event::retrying(self.attempts.count(), delay, failed));
    }

    /// Ends a wait early.
    pub(crate) fn cancel_wait(&mut self) {
        self.attempts.end_wait();
    }
}

/// A call ends.
impl Call {
    /// The last attempt succeeded.
    #[inline]
    pub(crate) fn succeeded(&mut self, response: Option<&mut dyn ResponseHead>, settings: &Settings) {
        if let Some(lease) = &mut self.lease {
            lease.succeeded();
        }
        if self.attempts.count() > 1 {
            self.recovered(response, settings);
        }
    }

    #[cold]
    fn recovered(&self, response: Option<&mut dyn ResponseHead>, settings: &Settings) {
        let retried = self.retried(None);
        settings.notify(&Event::recovered(retried.attempts, retried.waited));
        if let Some(extensions) = response.and_then(ResponseHead::extensions_mut) {
            extensions.insert(retried);
        }
    }

    /// The last attempt failed, and its result is handed to the caller.
    pub(crate) fn gave_up(
        &self,
        failed: Classification,
        why: StopReason,
        response: Option<&mut dyn ResponseHead>,
        settings: &Settings,
    ) {
        let retried = self.retried(Some(why));
        settings.notify(&Event::gave_up(retried.attempts, retried.waited, why, failed));
        let Some(response) = response else { return };
        if settings.marks_final && is_final(why) {
            headers::forbid_retry(response);
        }
        // Under an outer retry layer, the attempts are counted there.
        if why == StopReason::Nested {
            return;
        }
        if let Some(extensions) = response.extensions_mut() {
            extensions.insert(retried);
        }
    }
}

/// Returns whether a failure was retried enough, so that a client in front should not start over. It was not if this
/// layer did not try, or was prevented from it.
fn is_final(why: StopReason) -> bool {
    use StopReason::{Cancelled, CannotReplay, Disabled, Nested, NotRepeatable};
    !matches!(why, Nested | Disabled | Cancelled | CannotReplay | NotRepeatable)
}
