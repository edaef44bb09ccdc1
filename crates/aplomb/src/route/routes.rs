//! Routes with their endpoints.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use aplomb_core::{LayerName, Rejection};

use super::{InvalidRoute, RequestView, Route, Table};
use crate::EndpointLayer;
use crate::endpoint::EndpointState;

/// A list of [routes](Route), each with an endpoint of its own provider, policy and state. A
/// [`RouterLayer`](crate::RouterLayer) is made of it.
///
/// A request goes to the endpoint of the first route that matches it. A request that no route matches goes to the
/// [`fallback`](Self::fallback) endpoint; without one it passes to the client untouched, or is
/// [rejected](Self::reject_unmatched).
///
/// Clones of an [`EndpointLayer`] are the same endpoint, so several routes can share one. Endpoints that should
/// share only quotas draw on one [`Pool`](crate::rate_limit::Pool).
///
/// # Examples
///
/// ```
/// use aplomb::provider::{Anthropic, OpenAi};
/// use aplomb::route::{Route, Routes};
/// use aplomb::{EndpointLayer, Policy, RouterLayer};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), aplomb::BoxError> {
/// let chat = Policy::interactive().requests_per_minute(500).tokens_per_minute(200_000);
/// let embeddings = Policy::batch().requests_per_minute(3_000).tokens_per_minute(1_000_000);
///
/// let openai = Route::new().host("api.openai.com");
/// let routes = Routes::new()
///     .route(openai.clone().path("/v1/embeddings"), EndpointLayer::with_policy(OpenAi, embeddings)?)
///     .route(openai, EndpointLayer::with_policy(OpenAi, chat)?)
///     .route(Route::new().host("api.anthropic.com"), EndpointLayer::new(Anthropic).by_account())
///     .reject_unmatched();
/// let layer = RouterLayer::new(routes)?;
/// # drop(layer);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Routes {
    routes: Vec<(Route, Arc<EndpointState>)>,
    unmatched: Unmatched<Arc<EndpointState>>,
}

/// The treatment of a request that no route matches.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Unmatched<E> {
    #[default]
    Pass,
    Reject,
    Fallback(E),
}

impl Routes {
    /// No routes: every request passes to the client untouched.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route after the others.
    pub fn route(mut self, route: Route, endpoint: EndpointLayer) -> Self {
        self.routes.push((route, endpoint.into()));
        self
    }

    /// Sets the endpoint of requests that no route matches.
    pub fn fallback(mut self, endpoint: EndpointLayer) -> Self {
        self.unmatched = Unmatched::Fallback(endpoint.into());
        self
    }

    /// Rejects requests that no route matches, with [`NoRoute`].
    pub fn reject_unmatched(mut self) -> Self {
        self.unmatched = Unmatched::Reject;
        self
    }

    pub(crate) fn compile(self) -> Result<CompiledRoutes, InvalidRoute> {
        Ok(CompiledRoutes { table: Table::new(self.routes)?, unmatched: self.unmatched })
    }
}

/// Routes ready for use.
#[derive(Debug)]
pub(crate) struct CompiledRoutes {
    pub(crate) table: Table<Arc<EndpointState>>,
    pub(crate) unmatched: Unmatched<Arc<EndpointState>>,
}

impl CompiledRoutes {
    /// All endpoints; one that has several routes comes several times.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &Arc<EndpointState>> {
        let fallback = match &self.unmatched {
            Unmatched::Fallback(endpoint) => Some(endpoint),
            Unmatched::Pass | Unmatched::Reject => None,
        };
        self.table.iter().map(|(_, endpoint)| endpoint).chain(fallback)
    }
}

/// No route matches a request, and [`Routes::reject_unmatched`] is set. The request was not sent.
///
/// Its `source()` is a [`Rejection`].
#[derive(Clone, Debug)]
pub struct NoRoute {
    host: Option<Box<str>>,
    rejection: Rejection,
}

impl NoRoute {
    pub(crate) fn of(request: &RequestView<'_>) -> Self {
        Self {
            host: request.host().map(Into::into),
            rejection: Rejection::by(LayerName::Router),
        }
    }

    /// The host of the request, if it names one.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }
}

impl fmt::Display for NoRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) => write!(f, "no route for this request to {host}"),
            None => f.write_str("no route for this request"),
        }
    }
}

impl Error for NoRoute {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.rejection)
    }
}
