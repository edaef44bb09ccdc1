//! Policies per service, and which requests they are for.

mod future;
mod layer;
pub mod route;
mod service;

use std::sync::Arc;

pub use self::future::PoliciesFuture;
pub use self::layer::{PoliciesHandle, PoliciesLayer};
use self::route::{InvalidRoute, Route, Table};
pub use self::service::{NoPolicy, PoliciesService};
use crate::endpoint::{Base, Entry};
use crate::{EndpointLayer, KeyedEndpointLayer};

/// Which requests are treated by which endpoint, as a plain value: a list of [routes](route), each with an
/// endpoint of its own provider, policy and state. A [`PoliciesLayer`] is made of it.
///
/// The first route that matches a request counts. What no route matches goes to the endpoint that is set as
/// [`otherwise`](Self::otherwise); where none is, it passes to the client untouched, or is
/// [refused](Self::refuse_unknown).
///
/// One endpoint may stand with several routes and shares its state among them: clones of an
/// [`EndpointLayer`] are one endpoint. Endpoints that are to share quotas alone, draw on one
/// [`Pool`](crate::rate_limit::Pool).
///
/// # Examples
///
/// ```
/// use aplomb::provider::{Anthropic, OpenAi};
/// use aplomb::{EndpointLayer, Policies, PoliciesLayer, Policy, route};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), aplomb::BoxError> {
/// let chat = Policy::interactive().requests_per_minute(500).tokens_per_minute(200_000);
/// let embeddings = Policy::batch().requests_per_minute(3_000).tokens_per_minute(1_000_000);
///
/// let openai = route::host("api.openai.com");
/// let policies = Policies::new()
///     .route(openai.clone().path("/v1/embeddings"), EndpointLayer::with_policy(OpenAi, embeddings)?)
///     .route(openai, EndpointLayer::with_policy(OpenAi, chat)?)
///     .route(route::host("api.anthropic.com"), EndpointLayer::new(Anthropic).by_account())
///     .refuse_unknown();
/// let layer = PoliciesLayer::new(policies)?;
/// # drop(layer);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Policies {
    routes: Vec<(Route, Base)>,
    unknown: Unknown<Base>,
}

/// What becomes of requests that no route matches.
#[derive(Clone, Copy, Debug, Default)]
enum Unknown<E> {
    #[default]
    Pass,
    Refuse,
    To(E),
}

impl Policies {
    /// No routes yet: everything passes to the client untouched.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route, behind those that are there.
    pub fn route(mut self, route: Route, endpoint: impl Into<PoliciesEntry>) -> Self {
        self.routes.push((route, endpoint.into().0));
        self
    }

    /// Sets the endpoint for what no route matches.
    pub fn otherwise(mut self, endpoint: impl Into<PoliciesEntry>) -> Self {
        self.unknown = Unknown::To(endpoint.into().0);
        self
    }

    /// Refuses what no route matches, with [`NoPolicy`].
    pub fn refuse_unknown(mut self) -> Self {
        self.unknown = Unknown::Refuse;
        self
    }

    fn table(self) -> Result<Routes, InvalidRoute> {
        let entry = |base| Arc::new(Entry::new(base));
        let table = Table::new(self.routes.into_iter().map(|(route, base)| (route, entry(base))))?;
        let unknown = match self.unknown {
            Unknown::Pass => Unknown::Pass,
            Unknown::Refuse => Unknown::Refuse,
            Unknown::To(base) => Unknown::To(entry(base)),
        };
        Ok(Routes { table, unknown })
    }
}

/// An endpoint as it stands in [`Policies`]: made of an [`EndpointLayer`] or a [`KeyedEndpointLayer`].
#[derive(Clone, Debug)]
pub struct PoliciesEntry(Base);

impl From<EndpointLayer> for PoliciesEntry {
    fn from(layer: EndpointLayer) -> Self {
        Self(layer.into())
    }
}

impl<K> From<KeyedEndpointLayer<K>> for PoliciesEntry {
    fn from(layer: KeyedEndpointLayer<K>) -> Self {
        Self(layer.into())
    }
}

/// The table in force.
#[derive(Debug)]
struct Routes {
    table: Table<Arc<Entry>>,
    unknown: Unknown<Arc<Entry>>,
}
