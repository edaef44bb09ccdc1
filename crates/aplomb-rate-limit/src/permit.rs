//! What a caller of a limiter holds while it makes its call.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aplomb_admission::{Acquire, End};
use aplomb_core::{CallOptions, Outcome, Reading};
use tokio::time::Instant;

use crate::source::Source;
use crate::{Charge, Exceeded, Quotas};

/// Waits for a [`Permit`]. Made by [`Limiter::acquire`](crate::Limiter::acquire).
#[derive(Debug)]
pub struct Acquiring<G: Source = Quotas> {
    acquire: Acquire<G>,
    options: CallOptions,
}

impl<G: Source> Acquiring<G> {
    pub(crate) const fn new(acquire: Acquire<G>, options: CallOptions) -> Self {
        Self { acquire, options }
    }
}

impl<G: Source> Future for Acquiring<G> {
    type Output = Result<Permit<G>, Exceeded>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let settled = ready!(Pin::new(&mut self.acquire).poll(cx));
        Poll::Ready(match settled {
            Ok(permit) => Ok(Permit { permit }),
            Err(turned) => Err(Exceeded::new(&turned, &self.options)),
        })
    }
}

/// The right to make one call, from a [`Limiter`](crate::Limiter), and its charge.
///
/// Dropping it before [`sent`](Permit::sent) gives the whole charge back; dropping it later keeps it,
/// since the peer has counted the call.
#[must_use = "dropping the permit gives its charge back"]
pub struct Permit<G: Source = Quotas> {
    permit: aplomb_admission::Permit<G>,
}

impl<G: Source> Permit<G> {
    /// When the call was admitted.
    pub const fn admitted_at(&self) -> Instant {
        self.permit.admitted_at()
    }

    /// How long it had waited in line.
    pub const fn waited(&self) -> Duration {
        self.permit.waited()
    }

    /// Notes that the call is on its way: from here on it counts with the peer.
    pub fn sent(&mut self) {
        self.permit.sent();
    }

    /// Takes in what the answer says about the peer's own limits.
    pub fn heard(&mut self, readings: &[Reading]) {
        self.permit.limits(readings);
    }

    /// The call went well, and was `actual` in the end: every quota settles the difference to what was
    /// reserved in its own way, see [`Settle`](crate::Settle).
    pub fn settle(self, actual: &Charge) {
        self.permit.end_with(|gate, drawn, now| {
            gate.quotas(now, |quotas, now| quotas.settle(drawn, actual, now));
        });
    }

    /// The call came to `outcome`: one that was throttled pauses everybody, one that was refused for
    /// reasons of money or keys gives its charge back.
    pub fn end(self, outcome: Outcome) {
        self.permit.end(End::Judged { outcome, usage: None });
    }
}

impl<G: Source> fmt::Debug for Permit<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.permit.fmt(f)
    }
}
