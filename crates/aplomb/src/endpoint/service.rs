//! The service, and what a call goes through.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use aplomb_admission::Admission;
use aplomb_core::{Copied, RequestHead};
use aplomb_retry::Retry;
use http_body::Body;
use tokio::time::Instant;
use tower_service::Service;

use super::attempt_request::AttemptRequest;
use super::config::{Config, Setup};
use super::door::EndpointDoor;
use super::shared::Shared;
use super::{EndpointBody, EndpointClassifier, EndpointFuture, Inspect, UntilRead, estimate};
use crate::context::CallContext;
use crate::{EndpointError, HttpClient};

/// A client behind an [`EndpointLayer`](crate::EndpointLayer). Clones share everything but the client.
///
/// It is always ready: a call waits in its future, and readies a clone of the client for each attempt.
#[derive(Clone)]
pub struct Endpoint<S> {
    client: S,
    config: Config,
    shared: Arc<Shared>,
    setup: Arc<Setup>,
}

/// What one call goes through, put together around its own account.
pub(super) type Stack<S> =
    Retry<Admission<Inspect<S>, EndpointDoor, EndpointClassifier, UntilRead>, Copied, EndpointClassifier>;

impl<S> Endpoint<S> {
    pub(super) fn new(client: S, config: Config, shared: Arc<Shared>) -> Self {
        let setup = config.set_up(&shared);
        Self { client, config, shared, setup }
    }

    /// The same endpoint around another client: quotas, circuit, policy and everything else are shared with this
    /// one. It costs a few reference counts, so a client may be borrowed for a single call.
    pub fn with_client<C>(&self, client: C) -> Endpoint<C> {
        Endpoint {
            client,
            config: self.config.clone(),
            shared: Arc::clone(&self.shared),
            setup: Arc::clone(&self.setup),
        }
    }
}

impl<S, A> Service<http::Request<A>> for Endpoint<S>
where
    S: HttpClient<A>,
    A: Body + Clone + 'static,
{
    type Response = http::Response<EndpointBody<S::Body>>;
    type Error = EndpointError;
    type Future = EndpointFuture<S, A>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), EndpointError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<A>) -> Self::Future {
        if self.setup.version != self.shared.version() {
            self.setup = self.config.set_up(&self.shared);
        }
        EndpointFuture::begin(self.client.clone(), request, &self.setup, &self.shared)
    }
}

impl<S, A> EndpointFuture<S, A>
where
    S: HttpClient<A>,
    A: Body + Clone + 'static,
{
    /// A call that arrives now. Put together in its place: it is large, and each move of it counts.
    #[inline]
    pub(super) fn begin(client: S, mut request: http::Request<A>, setup: &Setup, shared: &Shared) -> Self {
        let provider = &*setup.inspection.provider;
        let call = CallContext::new(provider.name(), Instant::now(), request.call_options());
        if setup.include_usage {
            estimate::include_usage(&mut request, provider);
        }
        let (charge, estimate) =
            estimate::charge(&request, provider, &setup.inspection.calibration, setup.limits);
        let inspect = Inspect::new(client, Arc::clone(&setup.inspection));
        let admission = Admission::new(inspect, Arc::clone(&setup.passage));
        let attempt = AttemptRequest { request, call: call.clone(), charge, estimate };
        Self::new(setup.retries.call(admission, attempt), call, shared.begin())
    }
}

impl<S> fmt::Debug for Endpoint<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("config", &self.config).finish_non_exhaustive()
    }
}
