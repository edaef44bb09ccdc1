//! What an admitted call holds until it ends.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Shared;
use super::line::Admitted;
use super::step::Step;
use crate::{End, Gate, Progress};
use aplomb_core::{Classification, Outcome, Reading};

/// The right to make one call, from a [`Queue`](crate::Queue).
///
/// Its gate is told how the call ended: by [`Permit::end`], or by dropping the permit, which means
/// [`End::Unsent`] before [`Permit::sent`] and [`End::Abandoned`] after it.
#[must_use = "dropping the permit gives it back"]
pub struct Permit<G: Gate> {
    shared: Arc<Shared<G>>,
    slip: Option<G::Token>,
    at: Instant,
    waited: Duration,
    sent: bool,
}

impl<G: Gate> Permit<G> {
    #[inline]
    pub(super) fn new(shared: Arc<Shared<G>>, admitted: Admitted<G::Token>) -> Self {
        let Admitted { slip, at, waited } = admitted;
        Self { shared, slip: Some(slip), at, waited, sent: false }
    }

    /// When the call was admitted.
    pub const fn admitted_at(&self) -> Instant {
        self.at
    }

    /// How long it had waited in line.
    pub const fn waited(&self) -> Duration {
        self.waited
    }

    /// Notes that the call is sent now, and tells the gate: the peer's time begins.
    pub fn sent(&mut self) {
        self.sent = true;
        self.on(Progress::Sent);
    }

    /// Notes that the call is sent right after its admission, of which the gate need not be told.
    pub const fn sent_at_once(&mut self) {
        self.sent = true;
    }

    /// Whether the call has been sent.
    pub const fn is_sent(&self) -> bool {
        self.sent
    }

    /// Tells the gate of the call's progress.
    pub fn on(&mut self, progress: Progress<'_>) {
        if let Some(slip) = &mut self.slip {
            self.shared.step(|line, now| line.gate().on(slip, progress, now));
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

    #[cold]
    fn finish_dropped(&mut self) {
        self.finish(if self.sent { End::Abandoned } else { End::Unsent });
    }

    /// Hands the slip back in the gate's own words: where it can be told more than an [`End`] says.
    /// `end` is called under the queue's lock.
    pub fn end_with(mut self, end: impl FnOnce(&mut G, G::Token, Instant)) {
        if let Some(slip) = self.slip.take() {
            self.shared.step(|line, now| end(line.gate(), slip, now));
        }
    }

    /// Tells the gate how the call ended. What is left can be dropped.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "the slip is read where it lies, instead of being moved twice"
    )]
    pub(crate) fn finish(&mut self, end: End) {
        if let Some(slip) = self.slip.take() {
            let mut step = Step::begin(&self.shared);
            let now = step.now;
            step.line().gate().end(slip, end, now);
            step.conclude();
        }
    }

    /// The same with what was read of the answer.
    #[inline(never)]
    pub(crate) fn finish_as(&mut self, classification: &Classification, outcome: Outcome) {
        self.finish(End::Judged { outcome, usage: classification.usage() });
    }
}

impl<G: Gate> Drop for Permit<G> {
    #[inline]
    fn drop(&mut self) {
        if self.slip.is_some() {
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
