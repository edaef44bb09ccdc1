//! The request of one attempt, with the context of its call.

use aplomb_core::{CallOptions, Copyable, RequestHead};
use http::{Extensions, HeaderMap, Method};

use crate::context::CallContext;

/// The request of one attempt, and the record of its call.
///
/// The record stands beside the request rather than in its extensions: there it would cost three allocations for each
/// attempt, and the client would see it.
#[derive(Clone)]
pub(crate) struct AttemptRequest<A> {
    pub(super) request: http::Request<A>,
    pub(super) call: CallContext,
}

impl<A: Clone> Copyable for AttemptRequest<A> {
    #[inline]
    fn copy(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl<A> RequestHead for AttemptRequest<A> {
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

    fn call_options(&self) -> Option<CallOptions> {
        self.call.options()
    }

    fn set_call_options(&mut self, options: CallOptions) -> bool {
        self.call.set_options(options);
        // Only for a retry, so that other attempts do not pay for it: hook and client see which attempt it is.
        if options.attempts() > 0 {
            self.request.extensions_mut().insert(options);
        }
        true
    }
}
