//! What a route sees of a request.

use std::cell::OnceCell;
use std::fmt;

use aplomb_core::{Account, InMemory, RequestHead};
use aplomb_provider::model;
use bytes::Bytes;
use http::header::HOST;
use http::{Extensions, HeaderMap, Method};

use super::hosts;

/// What a route sees of a request: its head, and the model it asks for.
///
/// The model is looked for when it is first asked for, and once. `Debug` shows nothing of the request.
///
/// # Examples
///
/// ```
/// use aplomb::route::RequestView;
///
/// let request = http::Request::post("/v1/chat/completions").header("host", "localhost:8000");
/// let request = request.body(r#"{"model": "llama-3"}"#.to_owned()).unwrap();
/// let view = RequestView::of(&request);
/// assert_eq!((view.host(), view.port()), (Some("localhost"), Some(8000)));
/// assert_eq!(view.model(), Some("llama-3"));
/// ```
pub struct RequestView<'a> {
    head: &'a dyn RequestHead,
    body: Body<'a>,
    model: OnceCell<Option<Box<str>>>,
}

/// Where the bytes of the body are.
enum Body<'a> {
    Unknown,
    Bytes(Bytes),
    Of(&'a dyn InMemory),
}

impl<'a> RequestView<'a> {
    /// No model is looked for in a body longer than this: 64 MiB, twice what a provider takes.
    pub const LONGEST_BODY: usize = 64 << 20;

    /// Sees a request with its body, where that is in memory.
    #[must_use]
    pub const fn of<R: RequestHead + InMemory>(request: &'a R) -> Self {
        Self::new(request, Body::Of(request))
    }

    /// Sees the head of a request: no model but one in the path.
    ///
    /// ```
    /// use aplomb::route::RequestView;
    ///
    /// let request = http::Request::post("/model/amazon.nova-lite-v1%3A0/converse").body(()).unwrap();
    /// assert_eq!(RequestView::head(&request).model(), Some("amazon.nova-lite-v1:0"));
    /// ```
    #[must_use]
    pub const fn head<R: RequestHead>(request: &'a R) -> Self {
        Self::new(request, Body::Unknown)
    }

    /// Sees the head of a request, and these bytes as its body.
    ///
    /// ```
    /// use aplomb::route::RequestView;
    ///
    /// let request = http::Request::post("/v1/messages").body(()).unwrap();
    /// let body = bytes::Bytes::from_static(br#"{"model": "claude-haiku-4-5"}"#);
    /// assert_eq!(RequestView::with_body(&request, body).model(), Some("claude-haiku-4-5"));
    /// ```
    #[must_use]
    pub const fn with_body<R: RequestHead>(request: &'a R, body: Bytes) -> Self {
        Self::new(request, Body::Bytes(body))
    }

    const fn new(head: &'a dyn RequestHead, body: Body<'a>) -> Self {
        Self { head, body, model: OnceCell::new() }
    }

    /// The method, where it is known.
    #[must_use]
    pub fn method(&self) -> Option<&Method> {
        self.head.method()
    }

    /// The host, as it is written: that of the address, or else that of the `Host` header. Without the port.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.head.host().or_else(|| Some(hosts::split(self.host_header()?).0))
    }

    /// The port: that of the address or the usual one of its scheme; where the address has no host, that of the `Host`
    /// header.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self.head.host() {
            Some(_) => self.head.port(),
            None => hosts::split(self.host_header()?).1,
        }
    }

    /// The path, without the query.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.head.path()
    }

    /// The headers, where they are known.
    #[must_use]
    pub fn headers(&self) -> Option<&HeaderMap> {
        self.head.headers()
    }

    /// The extensions, where there are any.
    #[must_use]
    pub fn extensions(&self) -> Option<&Extensions> {
        self.head.extensions()
    }

    /// The model, as [`provider::model`](crate::provider::model()) finds it: in the path, or else in the body where that
    /// is in memory and no longer than [`LONGEST_BODY`](Self::LONGEST_BODY).
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.model.get_or_init(|| self.find_model()).as_deref()
    }

    /// The account that the request is sent on: the server and the credential, of which a hash is kept.
    #[must_use]
    pub fn account(&self) -> Account {
        Account::of(self.head)
    }

    fn find_model(&self) -> Option<Box<str>> {
        let path = self.path().unwrap_or_default();
        let in_path = model(path, &[]).map(Into::into);
        in_path.or_else(|| {
            let body = match &self.body {
                Body::Unknown => None,
                Body::Bytes(bytes) => Some(bytes.clone()),
                Body::Of(request) => request.body_bytes(),
            };
            let body = body.filter(|body| body.len() <= Self::LONGEST_BODY)?;
            model(path, &body).map(Into::into)
        })
    }

    fn host_header(&self) -> Option<&str> {
        self.headers()?.get(HOST)?.to_str().ok()
    }
}

impl fmt::Debug for RequestView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestView").finish_non_exhaustive()
    }
}
