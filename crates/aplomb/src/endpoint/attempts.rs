//! What each attempt is given on its way to the gates.

use std::task::{Context, Poll};

use tower_service::Service;

use super::outbound::{Known, Outbound};

/// Stands between the retry and the gates of one call: takes note of when an attempt begins to wait for its
/// turn, and says what it costs.
#[derive(Clone, Debug)]
pub(crate) struct Attempts<S> {
    inner: S,
    known: Known,
}

impl<S> Attempts<S> {
    pub(super) const fn new(inner: S, known: Known) -> Self {
        Self { inner, known }
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
        self.known.report.asks();
        self.inner.call(Outbound { request, known: self.known.clone() })
    }
}
