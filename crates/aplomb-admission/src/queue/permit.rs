//! The right to make one call.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aplomb_core::{Outcome, Reading, Usage};
use tokio::time::Instant;

use super::Shared;
use super::critical_section::CriticalSection;
use super::wait_queue::Admitted;
use crate::{End, Gate, Progress};

/// The right to make one call, from a [`Queue`](crate::Queue).
///
/// Its gate learns how the call ended: by [`end`](Permit::end), or when the permit is dropped, which means
/// [`End::Unsent`] before [`sent`](Permit::sent) and [`End::Abandoned`] after it.
#[must_use = "dropping the permit gives it back"]
pub struct Permit<G: Gate> {
    shared: Arc<Shared<G>>,
    token: Option<G::Token>,
    at: Instant,
    waited: Duration,
    sent: bool,
}

impl<G: Gate> Permit<G> {
    #[inline]
    pub(super) fn new(shared: Arc<Shared<G>>, admitted: Admitted<G::Token>) -> Self {
        let Admitted { token, at, waited } = admitted;
        Self { shared, token: Some(token), at, waited, sent: false }
    }

    /// The permit of a call that did not wait.
    #[inline]
    pub(super) fn at_once(shared: &Arc<Shared<G>>, token: G::Token, now: Instant) -> Self {
        Self {
            shared: Arc::clone(shared),
            token: Some(token),
            at: now,
            waited: Duration::ZERO,
            sent: false,
        }
    }

    /// When the call was admitted.
    pub const fn admitted_at(&self) -> Instant {
        self.at
    }

    /// How long it had waited in the queue.
    pub const fn waited(&self) -> Duration {
        self.waited
    }

    /// Notes that the call is sent now, and tells the gate: the server's time begins.
    pub fn sent(&mut self) {
        self.sent = true;
        self.on(Progress::Sent);
    }

    /// Notes that the call is sent right after its admission, which the gate need not be told.
    pub const fn sent_at_once(&mut self) {
        self.sent = true;
    }

    /// The permit of a call that its caller sends now.
    pub fn sent_by_caller(mut self) -> Self {
        if self.waited.is_zero() {
            self.sent_at_once();
        } else {
            // It may have been admitted before the caller was polled.
            self.sent();
        }
        self
    }

    /// Returns whether the call has been sent.
    pub const fn is_sent(&self) -> bool {
        self.sent
    }

    /// Returns whether the gate has been told how the call ended.
    #[inline]
    pub(crate) const fn has_ended(&self) -> bool {
        self.token.is_none()
    }

    /// Tells the gate about the progress of the call.
    pub fn on(&mut self, progress: Progress<'_>) {
        if let Some(token) = &mut self.token {
            self.shared.locked(|state, now| state.gate.on(token, progress, now));
        }
    }

    /// Tells the gate what the head of the response says about the server's own limits, if it says anything.
    #[inline]
    pub fn limits(&mut self, readings: &[Reading]) {
        if !readings.is_empty() {
            self.on(Progress::Limits(readings));
        }
    }

    /// Tells the gate how the call ended.
    pub fn end(mut self, end: End) {
        self.finish(end);
    }

    /// Returns the token to the gate in the gate's own words, if they say more than an [`End`]. `end` is called under
    /// the queue's lock.
    pub fn end_with(mut self, end: impl FnOnce(&mut G, G::Token, Instant)) {
        if let Some(token) = self.token.take() {
            self.shared.locked(|state, now| end(&mut state.gate, token, now));
        }
    }

    /// Tells the gate how the call ended. What is left can be dropped.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "the token is read in its place instead of being moved twice"
    )]
    pub(crate) fn finish(&mut self, end: End) {
        if let Some(token) = self.token.take() {
            let mut section = CriticalSection::enter(&self.shared);
            let now = section.now;
            section.state().gate.end(token, end, now);
            section.leave();
        }
    }

    /// The same with what was read of the response.
    #[inline(never)]
    pub(crate) fn finish_judged(&mut self, outcome: Outcome, usage: Option<Usage>) {
        self.finish(End::Judged { outcome, usage });
    }

    #[cold]
    fn finish_dropped(&mut self) {
        self.finish(if self.sent { End::Abandoned } else { End::Unsent });
    }
}

impl<G: Gate> Drop for Permit<G> {
    #[inline]
    fn drop(&mut self) {
        if self.token.is_some() {
            self.finish_dropped();
        }
    }
}

impl<G: Gate> fmt::Debug for Permit<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("at", &self.at)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}
