//! The service.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body::Body;
use tower_service::Service;

use super::body::EndpointBody;
use super::future::EndpointFuture;
use super::stack::Stack;
use super::state::EndpointState;
use crate::{EndpointError, HttpClient};

/// A client behind an [`EndpointLayer`](crate::EndpointLayer). Clones share everything but the client.
///
/// It is always ready: calls wait in their futures, and each attempt readies a clone of the client.
#[derive(Clone)]
pub struct Endpoint<S> {
    client: S,
    state: Arc<EndpointState>,
    /// The stack as it was when it was last used.
    stack: Arc<Stack>,
}

impl<S> Endpoint<S> {
    pub(super) fn new(client: S, state: Arc<EndpointState>) -> Self {
        let stack = state.stack();
        Self { client, state, stack }
    }

    /// Returns the same endpoint around another client: quotas, circuit, policy and everything else are shared. It
    /// costs two reference counts, so a client can be borrowed for a single call.
    pub fn with_client<C>(&self, client: C) -> Endpoint<C> {
        Endpoint { client, state: Arc::clone(&self.state), stack: Arc::clone(&self.stack) }
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
        if self.stack.version != self.state.version() {
            self.stack = self.state.stack();
        }
        self.stack.call(self.client.clone(), request, self.state.in_progress())
    }
}

impl<S> fmt::Debug for Endpoint<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("state", &self.state).finish_non_exhaustive()
    }
}
