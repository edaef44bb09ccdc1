//! The service, and what a call goes through.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use aplomb_admission::Admission;
use aplomb_core::Copied;
use aplomb_retry::Retry;
use http_body::Body;
use tokio::time::Instant;
use tower_service::Service;

use super::attempts::Attempts;
use super::config::{Config, Setup};
use super::door::EndpointDoor;
use super::outbound::Known;
use super::shared::Shared;
use super::{EndpointBody, EndpointClassifier, EndpointFuture, Inspect, UntilRead, sent};
use crate::{EndpointError, HttpClient, Report};

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
pub(super) type Stack<S> = Retry<
    Attempts<Admission<Inspect<S>, EndpointDoor, EndpointClassifier, UntilRead>>,
    Copied,
    EndpointClassifier,
>;

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
        let provider = &*setup.reading.provider;
        let report = Report::new(provider.name(), Instant::now());
        if setup.include_usage {
            sent::include_usage(&mut request, provider);
        }
        let (charge, guessed) = sent::charge(&request, provider, &setup.reading.calibration, setup.room);
        let inspect = Inspect::new(client, Arc::clone(&setup.reading));
        let gated = Admission::new(inspect, Arc::clone(&setup.passage));
        let attempts = Attempts::new(gated, Known { charge, guessed, report: report.clone() });
        Self::new(setup.retries.call(attempts, request), report, shared.begin())
    }
}

impl<S> fmt::Debug for Endpoint<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("config", &self.config).finish_non_exhaustive()
    }
}
