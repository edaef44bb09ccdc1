//! The service.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use aplomb_core::{Backoff, Classify, Copied, HttpClassifier, Observe, Replay, RequestHead, ResponseHead};
use tower_service::Service;

use crate::config::Config;
use crate::future::ResponseFuture;
use crate::{ByKind, Discard, Drain, Event, RetryLayer};

/// Sends a failed request again, later: the service of a [`RetryLayer`](crate::RetryLayer).
///
/// It is always ready, so that nothing is held for a call that waits: each attempt readies the inner
/// service just before it is sent, and an inner service that is finished shows in the call's future.
///
/// Clones share the configuration. Dropping the future of a call drops its attempt or ends its wait.
///
/// # Errors
///
/// Those of the inner service, untouched: there are none of its own.
pub struct Retry<S, K = Copied, C = HttpClassifier, B = ByKind, D = Drain, O = ()> {
    inner: S,
    config: Arc<Config<K, C, B, D, O>>,
}

impl<S, K, C, B, D, O> Retry<S, K, C, B, D, O> {
    pub(crate) fn new(inner: S, config: Arc<Config<K, C, B, D, O>>) -> Self {
        Self { inner, config }
    }
}

impl<S, Req, K, C, B, D, O> Service<Req> for Retry<S, K, C, B, D, O>
where
    K: Replay<Req>,
    Req: RequestHead,
    K::Sent: RequestHead,
    S: Service<K::Sent> + Clone,
    S::Response: ResponseHead,
    C: Classify<S::Response, S::Error>,
    B: Backoff,
    D: Discard<S::Response>,
    O: Observe<Event>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, K, C, B, D, O>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        ResponseFuture::begin(self.inner.clone(), request, Arc::clone(&self.config))
    }
}

impl<K, C, B, D, O> RetryLayer<K, C, B, D, O> {
    /// Calls `inner` as its service of this layer would, without a clone of it: for who puts a service
    /// together for a single call.
    #[inline]
    pub fn call<S, Req>(&self, inner: S, request: Req) -> ResponseFuture<S, Req, K, C, B, D, O>
    where
        S: Service<K::Sent>,
        K: Replay<Req>,
        Req: RequestHead,
        D: Discard<S::Response>,
    {
        ResponseFuture::begin(inner, request, Arc::clone(&self.config))
    }
}

impl<S: Clone, K, C, B, D, O> Clone for Retry<S, K, C, B, D, O> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), config: Arc::clone(&self.config) }
    }
}

impl<S: fmt::Debug, K, C, B, D, O> fmt::Debug for Retry<S, K, C, B, D, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("inner", &self.inner)
            .field("settings", &self.config.settings)
            .finish_non_exhaustive()
    }
}
