//! The parts of reqwest's request that `http::Request` has no place for.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aplomb::BoxError;
use http::Uri;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use reqwest::{Body, Request, Url};

use crate::RequestFactory;
use crate::factory::MadeRequest;

/// Stands beside the request in an endpoint. All attempts of a call share it.
pub(crate) enum Origin {
    /// There is no request: it could not be made.
    Unsendable(Taken<BoxError>),
    /// A request with its body in memory.
    InMemory(Target),
    /// A request with a body that can be sent once, and then made again if there is a factory.
    Streamed(Target, Taken<Body>, Option<RequestFactory>),
}

/// Where the request goes, and how long an attempt may take.
pub(crate) struct Target {
    /// As the endpoint sees it.
    pub(crate) uri: Uri,
    pub(crate) url: Url,
    pub(crate) timeout: Option<Duration>,
}

/// A value that the first who comes gets.
pub(crate) struct Taken<T>(Mutex<Option<T>>);

impl<T> Taken<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Mutex::new(Some(value)))
    }

    pub(crate) fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The request of an attempt.
pub(crate) enum Attempt {
    Ready(Request),
    /// It has to be made first. Then its body is put behind this head.
    Making(MadeRequest, Request),
}

impl Origin {
    /// The request of an attempt with this head, and with these bytes as its body if there are any.
    pub(crate) fn attempt(&self, head: Parts, body: Option<Body>) -> Result<Attempt, BoxError> {
        let (target, body, factory) = match self {
            Self::Unsendable(error) => {
                return Err(error.take().unwrap_or_else(|| "the request could not be made".into()));
            }
            Self::InMemory(target) => (target, body, None),
            Self::Streamed(target, stream, factory) => {
                (target, body.or_else(|| stream.take()), factory.as_ref())
            }
        };
        let mut request = target.request(head)?;
        match (body, factory) {
            (None, Some(factory)) => return Ok(Attempt::Making(factory.make(), request)),
            (body, _) => *request.body_mut() = body,
        }
        Ok(Attempt::Ready(request))
    }
}

impl Target {
    fn request(&self, head: Parts) -> Result<Request, BoxError> {
        // A hook may have changed it.
        let url = if head.uri == self.uri {
            self.url.clone()
        } else {
            Url::parse(&head.uri.to_string())?
        };
        let mut request = Request::new(head.method, url);
        *request.headers_mut() = head.headers;
        *request.version_mut() = head.version;
        if self.timeout.is_some() {
            *request.timeout_mut() = self.timeout;
        }
        Ok(request)
    }
}

/// The request of a further attempt: the head of `request`, and the body of `made`, which may be in other pieces.
pub(crate) fn with_body_of(mut made: Request, mut request: Request) -> Request {
    for name in [CONTENT_TYPE, CONTENT_LENGTH] {
        match made.headers_mut().remove(&name) {
            Some(value) => request.headers_mut().insert(name, value),
            None => request.headers_mut().remove(name),
        };
    }
    *request.body_mut() = made.body_mut().take();
    request
}
