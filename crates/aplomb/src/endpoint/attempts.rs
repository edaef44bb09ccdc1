//! What each attempt is given on its way to the gates.

use std::task::{Context, Poll};

use aplomb_rate_limit::Charge;
use tower_service::Service;

use super::outbound::Outbound;
use crate::Report;

/// Stands between the retry and the gates of one call: takes note of when an attempt begins to wait for its
/// turn, and says what it costs.
#[derive(Clone, Debug)]
pub(crate) struct Attempts<S> {
    inner: S,
    report: Report,
    charge: Charge,
}

impl<S> Attempts<S> {
    pub(super) const fn new(inner: S, report: Report, charge: Charge) -> Self {
        Self { inner, report, charge }
    }
}

impl<S: Service<Outbound<A>>, A> Service<http::Request<A>> for Attempts<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: http::Request<A>) -> S::Future {
        self.report.asks();
        self.inner
            .call(Outbound { request, charge: self.charge.clone(), report: self.report.clone() })
    }
}
