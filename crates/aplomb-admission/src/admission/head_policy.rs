//! The policy of a layer whose calls cost nothing but their place.

use std::fmt;
use std::future::Pending;

use aplomb_core::{BoxError, CallOptions, KeyLabel, RequestHead, RequestView};

use crate::{Entries, Gate, LayerState, Rejected, RequestPolicy};

/// Leads every request to the queue of the key in its head, at no cost. Clones share the state of the layer.
#[derive(Clone)]
pub struct HeadPolicy<S>(S);

impl<S: LayerState> HeadPolicy<S> {
    /// The policy of a layer with this state.
    pub const fn new(state: S) -> Self {
        Self(state)
    }
}

impl<Req, S> RequestPolicy<Req> for HeadPolicy<S>
where
    Req: RequestHead,
    S: LayerState<Gate: Gate<Cost = ()>, Error: Into<BoxError>>,
{
    type Gate = S::Gate;
    type Preparing = Pending<Result<Req, BoxError>>;

    #[inline]
    fn entries(&self) -> &Entries<S::Gate> {
        self.0.entries()
    }

    fn view<'r>(&self, request: &'r Req) -> RequestView<'r> {
        RequestView::head(request)
    }

    #[inline]
    fn cost(&self, _: &Req, _: &CallOptions) {}

    fn rejection(
        &self,
        rejected: &Rejected<<S::Gate as Gate>::Reason>,
        key: Option<KeyLabel>,
        options: &CallOptions,
    ) -> BoxError {
        self.0.rejection(rejected, key, options).into()
    }

    #[inline]
    fn preparation(&self) -> Option<impl FnOnce(Req) -> Self::Preparing> {
        None::<fn(Req) -> Self::Preparing>
    }
}

impl<S: LayerState> fmt::Debug for HeadPolicy<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HeadPolicy").field(self.0.entries()).finish()
    }
}
