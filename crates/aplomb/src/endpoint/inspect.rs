//! The one reader of the bytes, next to the client.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aplomb_core::{BoxError, Exchange, WallClock};
use aplomb_provider::{Head, Provider, StreamEnd};
use bytes::Bytes;
use http::StatusCode;
use http::response::Parts;
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tower_service::Service;

use super::BrokenAnswer;
use super::read::{ReadAhead, ReadBody, Reading, Then};

/// How much of an error's body is read: those of providers are below a kilobyte.
const ERROR_LIMIT: usize = 64 * 1024;

/// How long an error's body is waited for: everybody else may be waiting for what it says.
const ERROR_PATIENCE: Duration = Duration::from_secs(5);

/// Reads what has to be known of a response before it is judged, and leaves what it found in the
/// extensions, as an [`Exchange`]: nobody further out reads the bytes again.
///
/// The body of an error is read, at most 64 KiB of it and for at most 5 s, and handed on as it came. That of an answer is
/// left alone, or read to its end where whole answers are asked for.
#[derive(Clone, Debug)]
pub struct Inspect<S> {
    inner: S,
    provider: Arc<dyn Provider>,
    clock: WallClock,
    whole_answers: Option<usize>,
}

impl<S> Inspect<S> {
    pub(super) const fn new(
        inner: S,
        provider: Arc<dyn Provider>,
        clock: WallClock,
        whole_answers: Option<usize>,
    ) -> Self {
        Self { inner, provider, clock, whole_answers }
    }
}

impl<S, Req, B> Service<Req> for Inspect<S>
where
    S: Service<Req, Response = http::Response<B>>,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Response = http::Response<ReadBody<B>>;
    type Error = BoxError;
    type Future = InspectFuture<S::Future, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        InspectFuture {
            call: self.inner.call(request),
            reading: None,
            patience: None,
            reader: Reader {
                provider: Arc::clone(&self.provider),
                clock: self.clock.clone(),
                whole_answers: self.whole_answers,
            },
        }
    }
}

pin_project! {
    /// The future of [`Inspect`]: waits for the head, then reads what has to be read.
    pub struct InspectFuture<F, B>
    where
        B: Body,
    {
        #[pin]
        call: F,
        reading: Option<(Parts, Reading<B>)>,
        #[pin]
        patience: Option<Sleep>,
        reader: Reader,
    }
}

impl<F, B, E> Future for InspectFuture<F, B>
where
    F: Future<Output = Result<http::Response<B>, E>>,
    E: Into<BoxError>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Output = Result<http::Response<ReadBody<B>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // Calling → Reading where the body has to be known, or done.
        if this.reading.is_none() {
            let response = ready!(this.call.poll(cx)).map_err(Into::into)?;
            let failed = is_error(response.status());
            let limit = match response.status() {
                _ if failed => Some(ERROR_LIMIT),
                // Neither is an answer, and nothing about them is broken.
                StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT => None,
                status if status.is_success() => this.reader.whole_answers,
                _ => None,
            };
            let Some(limit) = limit else {
                return Poll::Ready(Ok(response.map(ReadBody::untouched)));
            };
            let (parts, body) = response.into_parts();
            *this.reading = Some((parts, Reading::new(body, limit)));
            this.patience.set(failed.then(|| sleep(ERROR_PATIENCE)));
        }
        // Reading → done when there is enough, or when it takes too long.
        if let Some((_, reading)) = this.reading {
            let read = match (reading.poll(cx), this.patience.as_pin_mut()) {
                (Poll::Ready(read), _) => read,
                (Poll::Pending, None) => return Poll::Pending,
                (Poll::Pending, Some(patience)) => {
                    ready!(patience.poll(cx));
                    reading.stop()
                }
            };
            if let Some((parts, _)) = this.reading.take() {
                return Poll::Ready(this.reader.inspect(parts, read));
            }
        }
        panic!("polled after it was ready");
    }
}

fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

impl<F, B: Body> fmt::Debug for InspectFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InspectFuture")
            .field("reads", &self.reading.is_some())
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Reader {
    provider: Arc<dyn Provider>,
    clock: WallClock,
    whole_answers: Option<usize>,
}

impl Reader {
    fn inspect<B>(
        &self,
        mut parts: Parts,
        read: ReadAhead<B>,
    ) -> Result<http::Response<ReadBody<B>>, BoxError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let head = Head::new(parts.status, &parts.headers, &self.clock);
        if is_error(parts.status) {
            // An error whose body broke off is still that error, by what was read of it.
            let exchange = Exchange::new(self.provider.judge(&head, read.data()).outcome());
            parts.extensions.insert(exchange);
            return Ok(http::Response::from_parts(parts, read.into()));
        }
        let read = read.into_result().map_err(Into::into)?;
        if let (Then::Rest(_), Some(limit)) = (read.then(), self.whole_answers) {
            return Err(BrokenAnswer::too_large(limit).into());
        }
        // What is compressed can not be read here: that it ended without an error has to do.
        let readable = head.header("content-encoding").is_none_or(|coding| coding == "identity");
        let end = if readable {
            self.provider.whole(&head, read.data())
        } else {
            StreamEnd::Complete
        };
        match end {
            StreamEnd::Complete => {}
            end => return Err(BrokenAnswer::ended(end).into()),
        }
        let exchange = Exchange::new(aplomb_core::Outcome::success());
        if let Some(usage) = self.provider.usage(&head, read.data()) {
            exchange.add_usage(usage);
        }
        parts.extensions.insert(exchange);
        Ok(http::Response::from_parts(parts, read.into()))
    }
}
