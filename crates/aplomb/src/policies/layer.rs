//! The layer, and the handle by which its table is changed.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use aplomb_admission::Closing;
use tower_layer::Layer;

use super::route::InvalidRoute;
use super::{Policies, PoliciesService, Routes, Unknown};
use crate::endpoint::Entry;

/// Treats each request as [`Policies`] say: by the endpoint of the first route that matches it.
///
/// It goes around a client as an [`EndpointLayer`](crate::EndpointLayer) does, with the same responses and
/// errors; what passes without an endpoint is the client's answer, without a
/// [`Report`](crate::Report). **What clones share**: the table, and everything in it.
///
/// # Examples
///
/// ```
/// use aplomb::{EndpointLayer, Policies, PoliciesLayer, provider::Vllm, route};
/// use http_body_util::Full;
/// use tower::{Layer, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), aplomb::BoxError> {
/// # let client = aplomb_mock::Mock::builder().build();
/// let layer = PoliciesLayer::new(
///     Policies::new().route(route::host("gpu-1.internal").model("llama-*"), EndpointLayer::new(Vllm)),
/// )?;
/// let service = layer.layer(client);
///
/// let prompt = r#"{"model": "llama-3", "messages": [{"role": "user", "content": "Hello!"}]}"#;
/// let request = http::Request::post("http://gpu-1.internal/v1/chat/completions");
/// let response = service.oneshot(request.body(Full::<bytes::Bytes>::from(prompt))?).await?;
/// assert!(response.status().is_success());
///
/// // Another table, while calls run:
/// layer.handle().set(Policies::new().refuse_unknown())?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use]
pub struct PoliciesLayer {
    shared: Arc<Shared>,
}

/// What all services share: the table in force, and which one in a row it is.
pub(super) struct Shared {
    routes: RwLock<Arc<Routes>>,
    version: AtomicU64,
}

impl Shared {
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(super) fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.routes.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PoliciesLayer {
    /// Puts `policies` in force.
    ///
    /// # Errors
    ///
    /// [`InvalidRoute`] for the first route with a pattern that makes no sense.
    pub fn new(policies: Policies) -> Result<Self, InvalidRoute> {
        let routes = RwLock::new(Arc::new(policies.table()?));
        Ok(Self { shared: Arc::new(Shared { routes, version: AtomicU64::new(0) }) })
    }

    /// A handle, to change the table.
    #[must_use]
    pub fn handle(&self) -> PoliciesHandle {
        PoliciesHandle { shared: Arc::clone(&self.shared) }
    }
}

impl<S> Layer<S> for PoliciesLayer {
    type Service = PoliciesService<S>;

    fn layer(&self, client: S) -> PoliciesService<S> {
        PoliciesService::new(client, Arc::clone(&self.shared))
    }
}

impl fmt::Debug for PoliciesLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoliciesLayer").field("routes", &self.shared.routes()).finish()
    }
}

/// A handle on a [`PoliciesLayer`].
///
/// Clones are handles on the same table.
#[derive(Clone)]
pub struct PoliciesHandle {
    shared: Arc<Shared>,
}

impl PoliciesHandle {
    /// Puts another table in force, also for services that have been made. Calls that have begun go on where
    /// they are. An endpoint that stands in both tables keeps its state: its queue, its quotas, its circuit.
    ///
    /// # Errors
    ///
    /// [`InvalidRoute`] for the first route with a pattern that makes no sense; then nothing changes.
    pub fn set(&self, policies: Policies) -> Result<(), InvalidRoute> {
        let next = Arc::new(policies.table()?);
        let mut routes = self.shared.routes.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *routes, next);
        self.shared.version.fetch_add(1, Ordering::Release);
        drop(routes);
        // It may be the last to know of some endpoints: dropped outside of the lock.
        drop(before);
        Ok(())
    }

    /// Closes every endpoint in the table, as [`EndpointHandle::close`](crate::EndpointHandle::close) does.
    /// What passes without an endpoint goes on passing.
    pub fn close(&self, closing: Closing) {
        let routes = self.shared.routes();
        routes.entries().for_each(|entry| entry.close(closing));
    }

    /// Waits until no call of any endpoint in the table is under way, the bodies of responses included. For
    /// after [`close`](Self::close): while new calls come it may never end.
    pub async fn drained(&self) {
        let routes = self.shared.routes();
        for entry in routes.entries() {
            entry.drained().await;
        }
    }
}

impl Routes {
    fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        let otherwise = match &self.unknown {
            Unknown::To(entry) => Some(entry),
            Unknown::Pass | Unknown::Refuse => None,
        };
        self.table.iter().map(|(_, entry)| entry).chain(otherwise)
    }
}

impl fmt::Debug for PoliciesHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoliciesHandle").field("routes", &self.shared.routes()).finish()
    }
}
