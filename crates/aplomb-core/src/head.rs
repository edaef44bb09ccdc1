//! The heads of requests and responses.

use http::{Extensions, HeaderMap, Method, StatusCode};

use crate::CallOptions;

/// The parts of a request that a layer can read without its body.
///
/// Each method has a default that means "not known", so any type can be a request:
/// `impl RequestHead for MyRequest {}`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a request that layers can read",
    label = "not a `RequestHead`",
    note = "`http::Request` is one, and `reqwest::Request` with the feature `reqwest-0-13`; for a type of your own write \
            `impl RequestHead for {Self} {{}}`"
)]
pub trait RequestHead {
    /// The method.
    fn method(&self) -> Option<&Method> {
        None
    }

    /// The host, without the port.
    fn host(&self) -> Option<&str> {
        None
    }

    /// The port: that of the URI, or the default of its scheme.
    fn port(&self) -> Option<u16> {
        None
    }

    /// The path.
    fn path(&self) -> Option<&str> {
        None
    }

    /// The headers.
    fn headers(&self) -> Option<&HeaderMap> {
        None
    }

    /// The headers, mutable.
    fn headers_mut(&mut self) -> Option<&mut HeaderMap> {
        None
    }

    /// The extensions, which may contain [`CallOptions`](crate::CallOptions).
    fn extensions(&self) -> Option<&Extensions> {
        None
    }

    /// The extensions, mutable.
    fn extensions_mut(&mut self) -> Option<&mut Extensions> {
        None
    }

    /// The options of the call that this request carries. Default: those in its extensions.
    fn call_options(&self) -> Option<CallOptions> {
        self.extensions()?.get().copied()
    }

    /// Sets the options of the call. Returns whether the request carries them now. Default: they are put into the
    /// extensions.
    fn set_call_options(&mut self, options: CallOptions) -> bool {
        match self.extensions_mut() {
            Some(extensions) => {
                extensions.insert(options);
                true
            }
            None => false,
        }
    }
}

/// The parts of a response that a layer can read without its body.
///
/// Each method has a default that means "not known": `impl ResponseHead for MyResponse {}`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a response that layers can read",
    label = "not a `ResponseHead`",
    note = "`http::Response` is one, and `reqwest::Response` with the feature `reqwest-0-13`; for a type of your own \
            write `impl ResponseHead for {Self} {{}}`"
)]
pub trait ResponseHead {
    /// The status.
    fn status(&self) -> Option<StatusCode> {
        None
    }

    /// The headers.
    fn headers(&self) -> Option<&HeaderMap> {
        None
    }

    /// The headers, mutable.
    fn headers_mut(&mut self) -> Option<&mut HeaderMap> {
        None
    }

    /// The extensions.
    fn extensions(&self) -> Option<&Extensions> {
        None
    }

    /// The extensions, mutable.
    fn extensions_mut(&mut self) -> Option<&mut Extensions> {
        None
    }
}

impl<B> RequestHead for http::Request<B> {
    fn method(&self) -> Option<&Method> {
        Some(self.method())
    }

    fn host(&self) -> Option<&str> {
        self.uri().host()
    }

    fn port(&self) -> Option<u16> {
        let usual = match self.uri().scheme_str() {
            Some("https") => Some(443),
            Some("http") => Some(80),
            _ => None,
        };
        self.uri().port_u16().or(usual)
    }

    fn path(&self) -> Option<&str> {
        Some(self.uri().path())
    }

    fn headers(&self) -> Option<&HeaderMap> {
        Some(self.headers())
    }

    fn headers_mut(&mut self) -> Option<&mut HeaderMap> {
        Some(self.headers_mut())
    }

    fn extensions(&self) -> Option<&Extensions> {
        Some(self.extensions())
    }

    fn extensions_mut(&mut self) -> Option<&mut Extensions> {
        Some(self.extensions_mut())
    }
}

impl<B> ResponseHead for http::Response<B> {
    fn status(&self) -> Option<StatusCode> {
        Some(self.status())
    }

    fn headers(&self) -> Option<&HeaderMap> {
        Some(self.headers())
    }

    fn headers_mut(&mut self) -> Option<&mut HeaderMap> {
        Some(self.headers_mut())
    }

    fn extensions(&self) -> Option<&Extensions> {
        Some(self.extensions())
    }

    fn extensions_mut(&mut self) -> Option<&mut Extensions> {
        Some(self.extensions_mut())
    }
}

#[cfg(feature = "reqwest-0-13")]
impl RequestHead for reqwest::Request {
    fn method(&self) -> Option<&Method> {
        Some(self.method())
    }

    fn host(&self) -> Option<&str> {
        self.url().host_str()
    }

    fn port(&self) -> Option<u16> {
        self.url().port_or_known_default()
    }

    fn path(&self) -> Option<&str> {
        Some(self.url().path())
    }

    fn headers(&self) -> Option<&HeaderMap> {
        Some(self.headers())
    }

    fn headers_mut(&mut self) -> Option<&mut HeaderMap> {
        Some(self.headers_mut())
    }
}

#[cfg(feature = "reqwest-0-13")]
impl ResponseHead for reqwest::Response {
    fn status(&self) -> Option<StatusCode> {
        Some(self.status())
    }

    fn headers(&self) -> Option<&HeaderMap> {
        Some(self.headers())
    }

    fn headers_mut(&mut self) -> Option<&mut HeaderMap> {
        Some(self.headers_mut())
    }

    fn extensions(&self) -> Option<&Extensions> {
        Some(self.extensions())
    }

    fn extensions_mut(&mut self) -> Option<&mut Extensions> {
        Some(self.extensions_mut())
    }
}

/// Types without a head, for services that do not use HTTP.
macro_rules! headless {
    ($($type:ty),*) => {$(
        impl RequestHead for $type {}
        impl ResponseHead for $type {}
    )*};
}

headless!((), &str, String, bytes::Bytes, Vec<u8>, u8, u16, u32, u64, usize, i32, i64);
