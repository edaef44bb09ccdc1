//! Clients of the server: workers with prompts, with or without a limit.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use aplomb::BoxError;
use aplomb::concurrency::{ConcurrencyLimitLayer, ConcurrencyLimiter, Limit};
use aplomb::retry::RetryLayer;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use super::server::{Overloaded, Server};

/// The time limit of an attempt at a second of work.
pub(super) const ATTEMPT: Duration = Duration::from_secs(10);

type Body = Full<bytes::Bytes>;

/// The length of each piece of work; `None` when there is none left.
pub(super) type Work = Arc<dyn Fn(usize) -> Option<Duration> + Send + Sync>;

/// A client: workers that take one piece of work after another.
#[derive(Clone, Debug)]
pub struct Client {
    answered: Arc<AtomicUsize>,
    limiter: Option<ConcurrencyLimiter>,
}

impl Client {
    /// Starts workers behind a limit. Failures are retried outside the limit.
    pub fn limited(
        server: &Server,
        limit: impl Into<Limit>,
        attempt: Duration,
        workers: usize,
        work: &Work,
    ) -> Self {
        let limiter = ConcurrencyLimiter::new(limit);
        let service = ServiceBuilder::new()
            .layer(RetryLayer::new().max_retries(20).random_seed(1))
            .layer(ConcurrencyLimitLayer::with_limiter(limiter.clone()))
            .timeout(attempt)
            .service(service(server));
        Self::start(&service, Some(limiter), workers, work)
    }

    /// Starts workers without a limit, which wait a second after each failure and try again.
    pub fn naive(server: &Server, workers: usize, work: &Work) -> Self {
        let forever = RetryLayer::new().max_retries(u32::MAX).backoff(Duration::from_secs(1));
        let service = ServiceBuilder::new().layer(forever).timeout(ATTEMPT).service(service(server));
        Self::start(&service, None, workers, work)
    }

    fn start<S, B>(service: &S, limiter: Option<ConcurrencyLimiter>, workers: usize, work: &Work) -> Self
    where
        S: Service<Request<Duration>, Response = Response<B>, Error = BoxError> + Clone + Send + 'static,
        S::Future: Send,
        B: http_body_util::BodyExt<Error = Infallible> + Send,
        B::Data: Send,
    {
        let client = Self { answered: Arc::default(), limiter };
        let taken = Arc::new(AtomicUsize::new(0));
        for _ in 0..workers {
            let (service, work) = (service.clone(), Arc::clone(work));
            let (taken, answered) = (Arc::clone(&taken), Arc::clone(&client.answered));
            tokio::spawn(async move {
                while let Some(length) = work(taken.fetch_add(1, Relaxed)) {
                    let answer = service.clone().oneshot(Request::new(length)).await;
                    if let Ok(answer) = answer.map(|answer| answer.map(http_body_util::BodyExt::collect)) {
                        let (head, body) = answer.into_parts();
                        let _read = body.await;
                        answered.fetch_add(usize::from(head.status.is_success()), Relaxed);
                    }
                }
            });
        }
        client
    }

    /// The number of answers so far.
    pub fn answered(&self) -> usize {
        self.answered.load(Relaxed)
    }

    /// The limit of calls in flight.
    pub fn limit(&self) -> usize {
        self.limiter.as_ref().map_or(0, |limiter| limiter.snapshot().limit())
    }
}

/// The server as a service.
fn service(
    server: &Server,
) -> impl Service<Request<Duration>, Response = Response<Body>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    let server = server.clone();
    service_fn(move |request: Request<Duration>| {
        let server = server.clone();
        async move {
            let status = match server.ask(*request.body()).await {
                Ok(()) => StatusCode::OK,
                Err(Overloaded) => StatusCode::SERVICE_UNAVAILABLE,
            };
            let mut response = Response::new(Body::default());
            *response.status_mut() = status;
            Ok(response)
        }
    })
}
