//! What an admitted call holds until it ends.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Shared;
use super::line::Admitted;
use crate::{End, Gate};

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

    /// Whether the call is on its way.
    pub const fn is_sent(&self) -> bool {
        self.sent
    }

    /// Tells the gate that the first content of the answer has arrived.
    pub fn content(&mut self) {
        if let Some(slip) = &mut self.slip {
            self.shared.step(|line, now, _| line.gate().content(slip, now));
        }
    }

    /// Tells the gate how the call ended.
    pub fn end(mut self, end: End) {
        self.finish(end);
    }

    fn finish(&mut self, end: End) {
        if let Some(slip) = self.slip.take() {
            self.shared.step(|line, now, _| line.gate().end(slip, end, now));
        }
    }
}

impl<G: Gate> Drop for Permit<G> {
    fn drop(&mut self) {
        self.finish(if self.sent { End::Abandoned } else { End::Unsent });
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
