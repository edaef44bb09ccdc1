//! What an admitted call holds until it ends.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Shared;
use super::line::Admitted;
use super::step::Step;
use crate::{End, Gate};
use aplomb_core::{Classification, Outcome, Reading, Usage};

/// The right to make one call, from a [`Queue`](crate::Queue).
///
/// Its gate is told how the call ended: by [`Permit::end`], or by dropping the permit, which means
/// [`End::Unsent`] before [`Permit::sent`] and [`End::Abandoned`] after it.
#[must_use = "dropping the permit gives it back"]
pub struct Permit<G: Gate> {
    shared: Arc<Shared<G>>,
    slip: Option<G::Slip>,
    at: Instant,
    waited: Duration,
    sent: bool,
}

impl<G: Gate> Permit<G> {
    #[inline]
    pub(super) fn new(shared: Arc<Shared<G>>, admitted: Admitted<G::Slip>) -> Self {
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

    /// Notes that the call is on its way: from here on it counts with the peer.
    pub const fn sent(&mut self) {
        self.sent = true;
    }

    /// The same; where it is `late`, some time after the call was admitted, the gate is told, which may measure the
    /// peer.
    pub fn sent_when(&mut self, late: bool) {
        self.sent = true;
        if late {
            self.tell(G::sent);
        }
    }

    /// Whether the call is on its way.
    pub const fn is_sent(&self) -> bool {
        self.sent
    }

    /// Tells the gate that the first content of the answer has arrived.
    pub fn content(&mut self) {
        self.tell(G::content);
    }

    /// Tells the gate what the head of the answer says about the server's own limits.
    #[inline]
    pub fn heard(&mut self, readings: &[Reading]) {
        if !readings.is_empty() {
            self.tell(|gate, slip, now| gate.heard(slip, readings, now));
        }
    }

    /// Tells the gate what the answer has consumed so far, before the permit is dropped.
    pub fn used(&mut self, usage: Usage) {
        self.tell(|gate, slip, now| gate.used(slip, usage, now));
    }

    fn tell(&mut self, tell: impl FnOnce(&mut G, &mut G::Slip, Instant)) {
        if let Some(slip) = &mut self.slip {
            self.shared.step(|line, now| tell(line.gate(), slip, now));
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
    pub fn end_with(mut self, end: impl FnOnce(&mut G, G::Slip, Instant)) {
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
