//! What the limit says about requests.

use aplomb_admission::{Entries, Rejected, RequestPolicy};
use aplomb_core::{BoxError, CallOptions, Event, KeyLabel, LayerName, RequestHead, RequestView, notify};
use std::future::{Ready, ready};

use crate::layer::Observer;
use crate::{AtCapacity, Limiter, Occupancy, Slots};

/// Every call takes one place, and a rejection is an [`AtCapacity`].
pub struct ConcurrencyPolicy {
    entries: Entries<Slots>,
    observer: Observer,
}

impl ConcurrencyPolicy {
    pub(crate) fn new(limiter: &Limiter) -> Self {
        let observer = limiter.settings().observer.clone();
        Self { entries: limiter.entries().clone(), observer }
    }
}

impl<Req: RequestHead> RequestPolicy<Req> for ConcurrencyPolicy {
    type Gate = Slots;
    type Preparing = Ready<Result<Req, BoxError>>;

    #[inline]
    fn entries(&self) -> &Entries<Slots> {
        &self.entries
    }

    fn view<'r>(&self, request: &'r Req) -> RequestView<'r> {
        RequestView::head(request)
    }

    #[inline]
    fn cost(&self, _: &Req, _: &CallOptions) {}

    fn rejection(
        &self,
        rejected: Rejected<Occupancy>,
        key: Option<KeyLabel>,
        options: &CallOptions,
    ) -> BoxError {
        let error = AtCapacity::new(&rejected, options).with_key(key);
        let event = Event::rejected(LayerName::ConcurrencyLimit, error.short_reason(), error.retry_after());
        notify(&self.observer, &event.with_key(error.key().cloned()));
        Box::new(error)
    }

    #[inline]
    fn prepares(&self) -> bool {
        false
    }

    fn prepare(&self, request: Req) -> Ready<Result<Req, BoxError>> {
        ready(Ok(request))
    }
}

impl std::fmt::Debug for ConcurrencyPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConcurrencyPolicy")
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}
