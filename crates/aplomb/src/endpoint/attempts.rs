//! What each attempt is given on its way to the gates.

use std::task::{Context, Poll};

use aplomb_rate_limit::Charge;
use tower_service::Service;

use crate::Report;

/// Stands between the retry and the gates of one call: takes note of when an attempt begins to wait for its
/// turn, and says what it costs.
#[derive(Clone, Debug)]
pub struct Attempts<S> {
    inner: S,
    report: Report,
    /// Put into each attempt, and not into the request that they are copied from.
    charge: Option<Charge>,
    /// Who lets it through has to take note of that in the account.
    is_hooked: bool,
}

impl<S> Attempts<S> {
    pub(super) const fn new(inner: S, report: Report, charge: Option<Charge>, is_hooked: bool) -> Self {
        Self { inner, report, charge, is_hooked }
    }
}

impl<S: Service<http::Request<A>>, A> Service<http::Request<A>> for Attempts<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, mut request: http::Request<A>) -> S::Future {
        if let Some(charge) = &self.charge {
            request.extensions_mut().insert(charge.clone());
        }
        if self.is_hooked {
            request.extensions_mut().insert(self.report.clone());
        }
        self.report.asks();
        self.inner.call(request)
    }
}
