//! The service.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use aplomb_core::{Classify, Copied, HttpClassifier, Replay, RequestHead, ResponseHead};
use tower_service::Service;

use crate::future::RetryFuture;
use crate::settings::Config;
use crate::{Discard, RetryLayer};

/// Sends failed requests again: the service of a [`RetryLayer`].
///
/// It is always ready, so that nothing is held by a call that waits: each attempt waits for the inner service
/// to be ready just before it is sent. If the inner service fails to become ready, the call ends with its
/// error.
///
/// Clones share the configuration. Dropping the future of a call drops its attempt or ends its wait.
///
/// The type of a field that holds one is short, unless replay or classifier were set:
///
/// ```
/// # #[cfg(feature = "reqwest-0-13")]
/// struct Client {
///     http: aplomb_retry::Retry<reqwest::Client>,
/// }
/// ```
///
/// # Errors
///
/// Those of the inner service, unchanged. It has none of its own.
pub struct Retry<S, K = Copied, C = HttpClassifier> {
    inner: S,
    config: Arc<Config<K, C>>,
}

impl<S, K, C> Retry<S, K, C> {
    pub(crate) fn new(inner: S, config: Arc<Config<K, C>>) -> Self {
        Self { inner, config }
    }
}

impl<S, Req, K, C> Service<Req> for Retry<S, K, C>
where
    K: Replay<Req>,
    Req: RequestHead,
    K::Sent: RequestHead,
    S: Service<K::Sent> + Clone,
    S::Response: ResponseHead + Discard,
    C: Classify<S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RetryFuture<S, Req, K, C>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        RetryFuture::begin(self.inner.clone(), request, Arc::clone(&self.config))
    }
}

impl<K, C> RetryLayer<K, C> {
    /// Calls `inner` as a service of this layer would, without cloning it: for a service that is put together
    /// for a single call.
    #[inline]
    pub fn call<S, Req>(&self, inner: S, request: Req) -> RetryFuture<S, Req, K, C>
    where
        S: Service<K::Sent>,
        S::Response: Discard,
        K: Replay<Req>,
        Req: RequestHead,
    {
        RetryFuture::begin(inner, request, Arc::clone(&self.config))
    }
}

impl<S: Clone, K, C> Clone for Retry<S, K, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), config: Arc::clone(&self.config) }
    }
}

impl<S: fmt::Debug, K, C> fmt::Debug for Retry<S, K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("inner", &self.inner)
            .field("settings", &self.config.settings)
            .finish_non_exhaustive()
    }
}
