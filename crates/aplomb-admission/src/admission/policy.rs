//! The part of a layer that concerns requests.

use aplomb_core::{BoxError, CallOptions, KeyLabel, RequestView};

use crate::{Entries, Evictable, Gate, Rejected};

/// The part of a layer that concerns requests: their cost, their queue, and the wording of a rejection.
pub trait RequestPolicy<Req> {
    /// The gate of the layer.
    type Gate: Gate + Evictable;

    /// A request that is being prepared: [`Pending`](std::future::Pending), which takes no room, if none is.
    type Preparing: Future<Output = Result<Req, BoxError>>;

    /// The queues of the layer.
    fn entries(&self) -> &Entries<Self::Gate>;

    /// The view of a request from which its key is taken.
    fn view<'r>(&self, request: &'r Req) -> RequestView<'r>;

    /// The cost of a call.
    fn cost(&self, request: &Req, options: &CallOptions) -> <Self::Gate as Gate>::Cost;

    /// The error of a call that was rejected; `key` is the label of its key, if there is a gate for each.
    fn rejection(
        &self,
        rejected: &Rejected<<Self::Gate as Gate>::Reason>,
        key: Option<KeyLabel>,
        options: &CallOptions,
    ) -> BoxError;

    /// Prepares requests that have been admitted, before the service is readied for them; `None` if they are sent as they
    /// are. Until a request is prepared nothing counts as sent, and its failure is that of a call that was not sent.
    fn preparation(&self) -> Option<impl FnOnce(Req) -> Self::Preparing>;
}
