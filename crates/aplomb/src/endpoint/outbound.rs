//! A request on its way to the gates.

use aplomb_core::RequestHead;
use aplomb_rate_limit::Charge;
use http::{Extensions, HeaderMap, Method};

use super::calibration::Guessed;
use crate::Report;

/// A request, and what is known of its call: beside it, since in its extensions it would cost three allocations
/// for every attempt, and the client would see it.
#[derive(Debug)]
pub(crate) struct Outbound<A> {
    pub(super) request: http::Request<A>,
    pub(super) known: Known,
}

/// What each attempt of a call is given along.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) charge: Charge,
    /// What the prompt was taken for, where its answer may tell.
    pub(super) guessed: Option<Guessed>,
    pub(super) report: Report,
}

impl<A> RequestHead for Outbound<A> {
    fn method(&self) -> Option<&Method> {
        RequestHead::method(&self.request)
    }

    fn host(&self) -> Option<&str> {
        self.request.host()
    }

    fn port(&self) -> Option<u16> {
        self.request.port()
    }

    fn path(&self) -> Option<&str> {
        self.request.path()
    }

    fn headers(&self) -> Option<&HeaderMap> {
        RequestHead::headers(&self.request)
    }

    fn headers_mut(&mut self) -> Option<&mut HeaderMap> {
        RequestHead::headers_mut(&mut self.request)
    }

    fn extensions(&self) -> Option<&Extensions> {
        RequestHead::extensions(&self.request)
    }

    fn extensions_mut(&mut self) -> Option<&mut Extensions> {
        RequestHead::extensions_mut(&mut self.request)
    }
}
