//! A client that counts what is sent.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use aplomb::CallOptions;
use http::{Request, Response};
use tower_service::Service;

use super::ask::story;
use super::signs::Signs;

/// The requests sent for one prompt: put into a request's extensions, and read when it has ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempts(Arc<AtomicU32>);

impl Attempts {
    /// How many there have been.
    pub(crate) fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Stands between aplomb and the client, where every request that is really sent comes by.
#[derive(Clone, Debug)]
pub(crate) struct Counted<S> {
    inner: S,
    signs: Arc<Signs>,
}

impl<S> Counted<S> {
    pub(crate) fn new(inner: S, signs: Arc<Signs>) -> Self {
        Self { inner, signs }
    }
}

impl<S, A, B> Service<Request<A>> for Counted<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Error: Error + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        if let Some(Attempts(count)) = request.extensions().get() {
            count.fetch_add(1, Ordering::Relaxed);
        }
        // The retry layer tells what the attempt before this one came to.
        self.signs.sent(CallOptions::of(&request).last());
        let (signs, answer) = (Arc::clone(&self.signs), self.inner.call(request));
        Box::pin(async move {
            let answer = answer.await;
            match &answer {
                Ok(response) => signs.answered(response.status()),
                Err(error) => signs.failed(story(error)),
            }
            answer
        })
    }
}
