//! The context of a call, for the layers inside: its options, and that it will be retried.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use aplomb_core::{CallOptions, CurrentCall, Outcome, RequestHead};
use tokio::time::Instant;
use tower_service::Service;

/// The options of one call, and how they reach the layers inside.
#[derive(Debug)]
pub(crate) struct Context {
    /// The caller's options with the earliest deadline; from the first retry on also with the attempts made.
    options: CallOptions,
    /// True if the request carries options of its own.
    has_own_options: bool,
    passing: Passing,
}

/// How the options are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passing {
    /// Not at all: the request carries the same ones.
    Unchanged,
    /// With the request: they contain a deadline of our own, or the attempts made.
    WithRequest,
    /// In the task-local while the attempt is polled, because the request cannot carry them.
    TaskLocal,
}

impl Context {
    #[inline]
    pub(crate) fn of(request: &impl RequestHead) -> Self {
        let options = request.call_options();
        Self {
            has_own_options: options.is_some(),
            options: options.unwrap_or_default(),
            passing: Passing::Unchanged,
        }
    }

    #[inline]
    pub(crate) fn options(&self) -> &CallOptions {
        &self.options
    }

    /// Returns whether this call is an attempt of a retry layer further out.
    #[inline]
    pub(crate) fn is_nested(&self) -> bool {
        CurrentCall::is_attempt() || self.options.attempts() > 0
    }

    /// Adds a deadline; the earliest applies.
    pub(crate) fn limit(&mut self, deadline: Instant) {
        self.options = self.options.with_deadline(deadline);
        self.passing = Passing::WithRequest;
    }

    /// Takes over options from the task-local. Called when the first attempt begins, since
    /// `options.scope(service.call(request))` sets the task-local only while the call is polled.
    #[inline]
    pub(crate) fn take_over_task_local(&mut self) {
        if self.has_own_options {
            return;
        }
        if let Some(current) = CallOptions::current() {
            let deadline = self.options.deadline();
            self.options = deadline.map_or(current, |deadline| current.with_deadline(deadline));
        }
    }

    /// Adds that an attempt failed and the call will be sent again.
    pub(crate) fn add_attempt(&mut self, outcome: Outcome, began: Option<Instant>) {
        // Added to those of an outer retry layer.
        let attempts = self.options.attempts().saturating_add(1);
        self.options = self.options.with_attempts(attempts, outcome);
        if let Some(arrived) = self.options.arrived().or(began) {
            self.options = self.options.with_arrival(arrived);
        }
        self.passing = Passing::WithRequest;
    }

    /// Puts the options into a request that is about to be sent.
    #[inline]
    pub(crate) fn pass_on(&mut self, request: &mut impl RequestHead) {
        if self.passing == Passing::Unchanged {
            return;
        }
        if !request.set_call_options(self.options) {
            self.passing = Passing::TaskLocal;
        }
    }

    /// Calls `inner`. Layers inside find the options.
    #[inline]
    pub(crate) fn call<S: Service<T>, T>(&self, inner: &mut S, request: T) -> S::Future {
        match self.task_local() {
            None => inner.call(request),
            Some(options) => scoped_call(options, inner, request),
        }
    }

    /// Polls an attempt. Layers inside find the options.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a response is large, and made in its place instead of being moved"
    )]
    pub(crate) fn poll<F: Future>(&self, attempt: Pin<&mut F>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        match self.task_local() {
            None => attempt.poll(cx),
            Some(options) => scoped_poll(options, attempt, cx),
        }
    }

    /// Runs `make`, which creates an attempt. Layers inside find the options.
    pub(crate) fn run<T>(&self, make: impl FnOnce() -> T) -> T {
        match self.task_local() {
            None => make(),
            Some(options) => options.sync_scope(make),
        }
    }

    #[inline]
    fn task_local(&self) -> Option<CallOptions> {
        (self.passing == Passing::TaskLocal).then_some(self.options)
    }
}

/// Apart, and rare: in place, the closure would move the response once more on every call.
#[cold]
fn scoped_poll<F: Future>(
    options: CallOptions,
    attempt: Pin<&mut F>,
    cx: &mut TaskContext<'_>,
) -> Poll<F::Output> {
    options.sync_scope(|| attempt.poll(cx))
}

/// Apart, and rare: in place, the closure would move the request once more on every call.
#[cold]
fn scoped_call<S: Service<T>, T>(options: CallOptions, inner: &mut S, request: T) -> S::Future {
    options.sync_scope(|| inner.call(request))
}
