//! The layer, and the handle that replaces its routes.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use aplomb_admission::Closing;
use tower_layer::Layer;

use super::Router;
use crate::route::{CompiledRoutes, InvalidRoute, Routes};

/// Leads each request to the endpoint of the first of its [`Routes`] that matches.
///
/// It goes around a client as an [`EndpointLayer`](crate::EndpointLayer) does, with the same responses and
/// errors. A request that passes without an endpoint gets the client's response, without a
/// [`Report`](crate::Report). **Clones share** the routes and their endpoints.
///
/// # Examples
///
/// ```
/// use aplomb::route::{Route, Routes};
/// use aplomb::{EndpointLayer, RouterLayer, provider::Vllm};
/// use http_body_util::Full;
/// use tower::{Layer, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), aplomb::BoxError> {
/// # let client = aplomb_mock::Mock::builder().build();
/// let layer = RouterLayer::new(
///     Routes::new().route(Route::new().host("gpu-1.internal").model("llama-*"), EndpointLayer::new(Vllm)),
/// )?;
/// let service = layer.layer(client);
///
/// let prompt = r#"{"model": "llama-3", "messages": [{"role": "user", "content": "Hello!"}]}"#;
/// let request = http::Request::post("http://gpu-1.internal/v1/chat/completions");
/// let response = service.oneshot(request.body(Full::<bytes::Bytes>::from(prompt))?).await?;
/// assert!(response.status().is_success());
///
/// // Replaces the routes while calls run:
/// layer.handle().set_routes(Routes::new().reject_unmatched())?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use]
pub struct RouterLayer {
    shared: Arc<SharedRoutes>,
}

/// The routes in force, shared by all services of a layer, and their version.
pub(super) struct SharedRoutes {
    routes: RwLock<Arc<CompiledRoutes>>,
    version: AtomicU64,
}

impl SharedRoutes {
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(super) fn routes(&self) -> Arc<CompiledRoutes> {
        Arc::clone(&self.routes.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl RouterLayer {
    /// A router with these routes.
    ///
    /// # Errors
    ///
    /// [`InvalidRoute`] for the first route with an invalid pattern.
    pub fn new(routes: Routes) -> Result<Self, InvalidRoute> {
        let routes = RwLock::new(Arc::new(routes.compile()?));
        Ok(Self { shared: Arc::new(SharedRoutes { routes, version: AtomicU64::new(0) }) })
    }

    /// A handle that replaces the routes.
    #[must_use]
    pub fn handle(&self) -> RouterHandle {
        RouterHandle { shared: Arc::clone(&self.shared) }
    }
}

impl<S> Layer<S> for RouterLayer {
    type Service = Router<S>;

    fn layer(&self, client: S) -> Router<S> {
        Router::new(client, Arc::clone(&self.shared))
    }
}

impl fmt::Debug for RouterLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouterLayer").field("routes", &self.shared.routes()).finish()
    }
}

/// A handle on a [`RouterLayer`]. Clones are handles on the same router.
#[derive(Clone)]
pub struct RouterHandle {
    shared: Arc<SharedRoutes>,
}

impl RouterHandle {
    /// Replaces the routes, also for existing services. Calls that have begun are not affected. An endpoint that is
    /// in both sets of routes keeps its state: queue, quotas, circuit.
    ///
    /// # Errors
    ///
    /// [`InvalidRoute`] for the first route with an invalid pattern; then nothing changes.
    pub fn set_routes(&self, routes: Routes) -> Result<(), InvalidRoute> {
        let next = Arc::new(routes.compile()?);
        let mut routes = self.shared.routes.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *routes, next);
        self.shared.version.fetch_add(1, Ordering::Release);
        drop(routes);
        // It may hold the last reference to an endpoint, which is dropped outside of the lock.
        drop(before);
        Ok(())
    }

    /// Closes every endpoint, as [`EndpointHandle::close`](crate::EndpointHandle::close) does. Requests that pass
    /// without an endpoint still pass.
    pub fn close(&self, closing: Closing) {
        let routes = self.shared.routes();
        routes.endpoints().for_each(|endpoint| endpoint.close(closing));
    }

    /// Waits until no call of any endpoint is in progress, response bodies included. Call it after
    /// [`close`](Self::close): otherwise new calls may keep it waiting forever.
    pub async fn drained(&self) {
        let routes = self.shared.routes();
        for endpoint in routes.endpoints() {
            endpoint.drained().await;
        }
    }
}

impl fmt::Debug for RouterHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouterHandle").field("routes", &self.shared.routes()).finish()
    }
}
