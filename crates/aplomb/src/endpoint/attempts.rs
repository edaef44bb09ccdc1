//! Takes note of when an attempt begins to wait for its turn.

use std::task::{Context, Poll};

use tower_service::Service;

use crate::Report;

/// Stands between the retry and the gates of one call.
#[derive(Clone, Debug)]
pub struct Attempts<S> {
    inner: S,
    report: Report,
}

impl<S> Attempts<S> {
    pub(super) const fn new(inner: S, report: Report) -> Self {
        Self { inner, report }
    }
}

impl<S: Service<Req>, Req> Service<Req> for Attempts<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> S::Future {
        self.report.asks();
        self.inner.call(request)
    }
}
