//! An endpoint that is one of many, without a client.

use std::sync::{Arc, PoisonError, RwLock};

use aplomb_admission::Closing;
use http_body::Body;

use super::config::Setup;
use super::{Base, EndpointFuture};
use crate::HttpClient;

/// What calls through whatever client go through, made ready once for each policy.
#[derive(Debug)]
pub(crate) struct Entry {
    base: Base,
    setup: RwLock<Arc<Setup>>,
}

impl Entry {
    pub(crate) fn new(base: Base) -> Self {
        let setup = RwLock::new(base.config.set_up(&base.shared));
        Self { base, setup }
    }

    /// Begins a call through `client`.
    pub(crate) fn call<S, A>(&self, client: S, request: http::Request<A>) -> EndpointFuture<S, A>
    where
        S: HttpClient<A>,
        A: Body + Clone + 'static,
    {
        EndpointFuture::begin(client, request, &self.setup(), &self.base.shared)
    }

    /// Refuses new calls from now on.
    pub(crate) fn close(&self, closing: Closing) {
        self.base.shared.close(closing);
    }

    /// Waits until no call is under way.
    pub(crate) async fn drained(&self) {
        self.base.shared.drained().await;
    }

    fn setup(&self) -> Arc<Setup> {
        let setup = Arc::clone(&self.setup.read().unwrap_or_else(PoisonError::into_inner));
        if setup.version == self.base.shared.version() {
            return setup;
        }
        let setup = self.base.config.set_up(&self.base.shared);
        *self.setup.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&setup);
        setup
    }
}
