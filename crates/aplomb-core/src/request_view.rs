//! The view of a request for routes and keys.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

use bytes::Bytes;
use http::header::HOST;
use http::{Extensions, HeaderMap, Method};

use crate::{Account, InMemory, RequestHead};

/// A view of a request for routes and keys: its head, and its body if that is in memory.
///
/// A layer by itself sees the head only; an endpoint sees the body too, and finds the [`model`](Self::model) in it.
/// `Debug` shows nothing of the request.
///
/// # Examples
///
/// ```
/// use aplomb_core::RequestView;
///
/// let request = http::Request::post("/v1/chat/completions").header("host", "localhost:8000").body(()).unwrap();
/// let view = RequestView::head(&request);
/// assert_eq!((view.host(), view.port()), (Some("localhost"), Some(8000)));
/// assert_eq!(view.path(), Some("/v1/chat/completions"));
/// ```
pub struct RequestView<'a> {
    head: &'a dyn RequestHead,
    body: Body<'a>,
    find_model: Option<FindModel>,
    model: OnceCell<Option<Box<str>>>,
}

/// Finds the model in a path and a body.
type FindModel = for<'a> fn(&'a str, &'a [u8]) -> Option<Cow<'a, str>>;

enum Body<'a> {
    Unknown,
    Bytes(Bytes),
    Of(&'a dyn InMemory),
}

impl<'a> RequestView<'a> {
    /// The longest body in which a model is looked for: 64 MiB, twice what a provider takes.
    pub const LONGEST_BODY: usize = 64 << 20;

    /// A view of a request with its body, if that is in memory.
    #[must_use]
    pub const fn of<R: RequestHead + InMemory>(request: &'a R) -> Self {
        Self::new(request, Body::Of(request))
    }

    /// A view of the head of a request: of models it shows only one in the path.
    #[must_use]
    pub const fn head<R: RequestHead>(request: &'a R) -> Self {
        Self::new(request, Body::Unknown)
    }

    /// A view of the head of a request, and of these bytes as its body.
    #[must_use]
    pub const fn with_body<R: RequestHead>(request: &'a R, body: Bytes) -> Self {
        Self::new(request, Body::Bytes(body))
    }

    const fn new(head: &'a dyn RequestHead, body: Body<'a>) -> Self {
        Self { head, body, find_model: None, model: OnceCell::new() }
    }

    /// Sets how a model is found in a path and a body: for layers that know the providers.
    #[doc(hidden)]
    #[must_use]
    pub fn finding_model_by(mut self, find_model: FindModel) -> Self {
        self.find_model = Some(find_model);
        self
    }

    /// The method, if it is known.
    #[must_use]
    pub fn method(&self) -> Option<&Method> {
        self.head.method()
    }

    /// The host as it is written, without the port: that of the URI, or else that of the `Host` header.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.head.host().or_else(|| Some(split_authority(self.host_header()?).0))
    }

    /// The port: that of the URI, or the usual one of its scheme; if the URI has no host, that of the `Host` header.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self.head.host() {
            Some(_) => self.head.port(),
            None => split_authority(self.host_header()?).1,
        }
    }

    /// The path, without the query.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.head.path()
    }

    /// The headers, if they are known.
    #[must_use]
    pub fn headers(&self) -> Option<&HeaderMap> {
        self.head.headers()
    }

    /// The extensions, if there are any.
    #[must_use]
    pub fn extensions(&self) -> Option<&Extensions> {
        self.head.extensions()
    }

    /// The model that the request names: in its path, or else in its body if that is in memory and no longer than
    /// [`LONGEST_BODY`](Self::LONGEST_BODY).
    ///
    /// It is looked for once. `None` in a layer by itself, which knows no provider.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        match self.find_model {
            Some(find_model) => self.model_found_by(find_model),
            None => self.model.get()?.as_deref(),
        }
    }

    /// The model as `find_model` finds it, if it has not been found before.
    #[doc(hidden)]
    #[must_use]
    pub fn model_found_by(&self, find_model: FindModel) -> Option<&str> {
        self.model.get_or_init(|| self.look_for_model(find_model)).as_deref()
    }

    /// The account that pays for the request: the server and the credential, of which only a hash is kept.
    #[must_use]
    pub fn account(&self) -> Account {
        Account::of(self.head)
    }

    fn look_for_model(&self, find_model: FindModel) -> Option<Box<str>> {
        let path = self.path().unwrap_or_default();
        let in_path = find_model(path, &[]).map(Into::into);
        in_path.or_else(|| {
            let body = match &self.body {
                Body::Unknown => None,
                Body::Bytes(bytes) => Some(bytes.clone()),
                Body::Of(request) => request.body_bytes(),
            };
            let body = body.filter(|body| body.len() <= Self::LONGEST_BODY)?;
            find_model(path, &body).map(Into::into)
        })
    }

    fn host_header(&self) -> Option<&str> {
        self.headers()?.get(HOST)?.to_str().ok()
    }
}

/// The host and the port of an authority, as in a `Host` header.
#[doc(hidden)]
#[must_use]
pub fn split_authority(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, "")) => (host, None),
        Some((host, port)) => port.parse().map_or((authority, None), |port| (host, Some(port))),
        None => (authority, None),
    }
}

impl fmt::Debug for RequestView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestView").finish_non_exhaustive()
    }
}
