//! The permit of a caller that makes its own call.

use std::fmt;
use std::time::Duration;

use aplomb_admission::{End, Permit};
use aplomb_core::{Outcome, Reading, Usage};
use tokio::time::Instant;

use crate::Charge;
use crate::limiter_gate::LimiterGate;

/// The right to make one call, from a [`RateLimiter`](crate::RateLimiter), and its charge.
///
/// Dropping it before [`sent`](RateLimitPermit::sent) gives the whole charge back; dropping it later keeps it,
/// since the server has counted the call.
#[must_use = "dropping the permit gives its charge back"]
pub struct RateLimitPermit {
    permit: Permit<LimiterGate>,
}

impl RateLimitPermit {
    pub(crate) const fn new(permit: Permit<LimiterGate>) -> Self {
        Self { permit }
    }

    /// When the call was admitted.
    pub const fn admitted_at(&self) -> Instant {
        self.permit.admitted_at()
    }

    /// How long it had waited.
    pub const fn waited(&self) -> Duration {
        self.permit.waited()
    }

    /// Notes that the call is being sent: from now on the server counts it.
    pub fn sent(&mut self) {
        self.permit.sent();
    }

    /// Takes in what the answer reports of the server's limits.
    pub fn limits(&mut self, readings: &[Reading]) {
        self.permit.limits(readings);
    }

    /// Ends a successful call that cost `actual`: every quota settles the difference to the
    /// estimate in its own way, see [`Settle`](crate::Settle).
    pub fn settle(self, actual: &Charge) {
        self.permit.end_with(|gate, reservation, now| {
            gate.quotas(now, |quotas, now| quotas.settle(reservation, actual, now));
        });
    }

    /// Ends a call that was judged, with its usage if that is known.
    #[doc(hidden)]
    pub fn end_judged(self, outcome: Outcome, usage: Option<Usage>) {
        self.permit.end(End::Judged { outcome, usage });
    }

    /// Ends the call with `outcome`: a throttled call pauses all callers, and one that was refused for
    /// reasons of money or keys gets its charge back.
    pub fn end(self, outcome: Outcome) {
        self.permit.end(End::Judged { outcome, usage: None });
    }
}

impl fmt::Debug for RateLimitPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.permit.fmt(f)
    }
}
