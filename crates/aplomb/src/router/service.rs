//! The service.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body::Body;
use tower_service::Service;

use super::RouterFuture;
use super::layer::SharedRoutes;
use crate::RequestView;
use crate::route::{CompiledRoutes, NoRoute, Unmatched};
use crate::{EndpointBody, EndpointError, HttpClient};

/// A client behind a [`RouterLayer`](crate::RouterLayer). Clones share everything but the client.
///
/// It is always ready, like the endpoints of its routes.
#[derive(Clone)]
pub struct Router<S> {
    client: S,
    shared: Arc<SharedRoutes>,
    /// The routes of this version.
    routes: Arc<CompiledRoutes>,
    version: u64,
}

impl<S> Router<S> {
    pub(super) fn new(client: S, shared: Arc<SharedRoutes>) -> Self {
        // The version first: routes that are replaced in between are found by the next call.
        let version = shared.version();
        let routes = shared.routes();
        Self { client, shared, routes, version }
    }
}

impl<S, A> Service<http::Request<A>> for Router<S>
where
    S: HttpClient<A>,
    A: Body + Clone + 'static,
{
    type Response = http::Response<EndpointBody<S::Body>>;
    type Error = EndpointError;
    type Future = RouterFuture<S, A>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), EndpointError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<A>) -> Self::Future {
        let version = self.shared.version();
        if self.version != version {
            self.routes = self.shared.routes();
            self.version = version;
        }
        let endpoint = self.routes.table.find(&request);
        let client = self.client.clone();
        match (endpoint, &self.routes.unmatched) {
            (Some(endpoint), _) | (None, Unmatched::Fallback(endpoint)) => {
                RouterFuture::endpoint(endpoint.call(client, request))
            }
            (None, Unmatched::Pass) => RouterFuture::pass(client, request),
            (None, Unmatched::Reject) => RouterFuture::reject(NoRoute::of(&RequestView::head(&request))),
        }
    }
}

impl<S> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("routes", &self.routes).finish_non_exhaustive()
    }
}
