//! The service, and the error of who is not known.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use aplomb_core::{LayerName, Rejection};
use http_body::Body;
use tower_service::Service;

use super::layer::Shared;
use super::route::RequestView;
use super::{PoliciesFuture, Routes, Unknown};
use crate::{EndpointBody, EndpointError, HttpClient};

/// A client behind a [`PoliciesLayer`](crate::PoliciesLayer). Clones share everything but the client.
///
/// It is always ready, as the endpoints in its table are.
#[derive(Clone)]
pub struct PoliciesService<S> {
    client: S,
    shared: Arc<Shared>,
    /// The table that was in force when it was last looked at.
    routes: Arc<Routes>,
    version: u64,
}

impl<S> PoliciesService<S> {
    pub(super) fn new(client: S, shared: Arc<Shared>) -> Self {
        // In this order: a table that comes in between is found at the next look.
        let version = shared.version();
        let routes = shared.routes();
        Self { client, shared, routes, version }
    }
}

impl<S, A> Service<http::Request<A>> for PoliciesService<S>
where
    S: HttpClient<A>,
    A: Body + Clone + 'static,
{
    type Response = http::Response<EndpointBody<S::Body>>;
    type Error = EndpointError;
    type Future = PoliciesFuture<S, A>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), EndpointError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<A>) -> Self::Future {
        let version = self.shared.version();
        if self.version != version {
            self.routes = self.shared.routes();
            self.version = version;
        }
        let entry = self.routes.table.find(&request);
        let client = self.client.clone();
        match (entry, &self.routes.unknown) {
            (Some(entry), _) | (None, Unknown::To(entry)) => {
                PoliciesFuture::treated(entry.call(client, request))
            }
            (None, Unknown::Pass) => PoliciesFuture::passes(client, request),
            (None, Unknown::Refuse) => PoliciesFuture::refused(NoPolicy::of(&RequestView::head(&request))),
        }
    }
}

impl<S> fmt::Debug for PoliciesService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoliciesService").field("routes", &self.routes).finish_non_exhaustive()
    }
}

/// No route matches a request, and what is unknown is refused: it was not sent.
///
/// Its `source()` is the [`Rejection`] that everything which ends a call on this side shares.
#[derive(Clone, Debug)]
pub struct NoPolicy {
    host: Option<Box<str>>,
    refused: Rejection,
}

impl NoPolicy {
    fn of(request: &RequestView<'_>) -> Self {
        Self { host: request.host().map(Into::into), refused: Rejection::by(LayerName::Router) }
    }

    /// The host that the request was for, if it named one.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }
}

impl fmt::Display for NoPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) => write!(f, "there is no policy for this request to {host}"),
            None => f.write_str("there is no policy for this request"),
        }
    }
}

impl Error for NoPolicy {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.refused)
    }
}
