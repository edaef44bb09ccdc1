//! What a layer says about requests.

use std::pin::Pin;

use aplomb_core::{BoxError, CallOptions, KeyLabel, RequestView};

use crate::{Entries, Evictable, Gate, Rejected};

/// What a layer says about requests: what they cost, which queue they go to, and how a rejection is told.
pub trait RequestPolicy<Req> {
    /// The gate of the layer.
    type Gate: Gate + Evictable;

    /// The queues of the layer.
    fn entries(&self) -> &Entries<Self::Gate>;

    /// The view of a request from which its key is taken.
    fn view<'r>(&self, request: &'r Req) -> RequestView<'r>;

    /// The cost of a call.
    fn cost(&self, request: &Req, options: &CallOptions) -> <Self::Gate as Gate>::Cost;

    /// The error of a call that was rejected; `key` is the label of its key, if there is a gate for each.
    fn rejection(
        &self,
        rejected: Rejected<<Self::Gate as Gate>::Reason>,
        key: Option<KeyLabel>,
        options: &CallOptions,
    ) -> BoxError;

    /// How a request is prepared that has been admitted; `None` if it is sent as it is.
    fn prepare(&self) -> Option<&dyn Prepare<Req>>;
}

/// Prepares a request that has been admitted, before the service is readied for it. Until it is done nothing counts as
/// sent, and its failure is that of a call that was not sent.
pub trait Prepare<Req>: Send + Sync {
    /// Makes the request that is sent.
    fn prepare(&self, request: Req) -> Preparing<Req>;
}

/// A request that is being prepared.
pub type Preparing<Req> = Pin<Box<dyn Future<Output = Result<Req, BoxError>> + Send>>;
