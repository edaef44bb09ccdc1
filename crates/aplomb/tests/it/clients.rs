//! Clients that do one thing.

use std::io;

use bytes::Bytes;
use http_body_util::Full;
use tower::{Service, service_fn};

type Request = http::Request<Full<Bytes>>;
type Response = http::Response<Full<Bytes>>;

/// Answers at once.
pub(crate) fn quick() -> impl Service<Request, Response = Response, Error = io::Error, Future: Send> + Clone {
    service_fn(|_: Request| async { Ok(Response::new(Full::from("{}"))) })
}

/// Never answers.
pub(crate) fn silent() -> impl Service<Request, Response = Response, Error = io::Error, Future: Send> + Clone
{
    service_fn(|_: Request| std::future::pending::<io::Result<Response>>())
}
