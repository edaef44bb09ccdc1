//! The one reader of the bytes, next to the client.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aplomb_core::{BoxError, RequestHead, WallClock};
use aplomb_provider::{Head, Provider};
use bytes::Bytes;
use http::response::Parts;
use http::{Method, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_service::Service;

use super::deadline::CallSoFar;
use super::observer::{Form, Observer};
use super::timeouts::{Awaited, Due, Stopwatch, Timeouts};
use super::watched::{Ahead, To, Watched};
use super::{BrokenAnswer, ReadBody};

/// How much of an error's body is read: those of providers are below a kilobyte.
const ERROR_LIMIT: usize = 64 * 1024;

/// How long an error's body is waited for: everybody else may be waiting for what it says.
const ERROR_PATIENCE: Duration = Duration::from_secs(5);

/// How much is kept of an answer that tells only as a whole what it consumed and whether it is whole.
const ANSWER_LIMIT: usize = 1024 * 1024;

/// Reads what has to be known of a response before it is judged, looks at the rest as it flows, and leaves
/// what it finds in the extensions, as an [`Exchange`](aplomb_core::Exchange): nobody further out reads the
/// bytes again. It also limits the time that each part of an attempt takes, see [`TimedOut`](super::TimedOut).
///
/// | response | read before the caller has it | as it flows |
/// | --- | --- | --- |
/// | an error | its body, 64 KiB of it and for 5 s at most | |
/// | an event stream, JSON line by line | up to its first content, or to an error | usage, errors, its end |
/// | JSON that is announced with a small size | all of it | |
/// | other JSON | | usage and its end, of up to 1 MiB |
/// | anything else | | that it ends |
///
/// With whole answers each is read to its end. What was read is handed on frame by frame, as it came.
#[derive(Clone, Debug)]
pub struct Inspect<S> {
    inner: S,
    setup: Arc<Setup>,
}

/// How an endpoint reads.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) clock: WallClock,
    pub(super) timeouts: Timeouts,
    /// How much of an answer, and for how long, is looked into before the caller has it.
    pub(super) look_ahead: (usize, Duration),
    pub(super) whole_answers: Option<usize>,
}

impl<S> Inspect<S> {
    pub(super) const fn new(inner: S, setup: Arc<Setup>) -> Self {
        Self { inner, setup }
    }
}

impl<S, Req, B> Service<Req> for Inspect<S>
where
    S: Service<Req, Response = http::Response<B>>,
    S::Error: Into<BoxError>,
    Req: RequestHead,
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
        let now = Instant::now();
        let call = CallSoFar::of(&request, now);
        let watch = Stopwatch::new(self.setup.timeouts, call.deadline(), now);
        let reader = Reader {
            setup: Arc::clone(&self.setup),
            call,
            has_body: request.method() != Some(&Method::HEAD),
        };
        InspectFuture {
            call: self.inner.call(request),
            state: State::Calling { watch: Some(watch) },
            reader,
        }
    }
}

pin_project! {
    /// The future of [`Inspect`]: waits for the head, then reads what has to be read.
    pub struct InspectFuture<F, B> {
        #[pin]
        call: F,
        state: State<B>,
        reader: Reader,
    }
}

enum State<B> {
    Calling {
        watch: Option<Stopwatch>,
    },
    Reading {
        response: Option<(Parts, Pin<Box<Watched<B>>>)>,
        ahead: Ahead,
    },
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
        loop {
            match this.state {
                // Calling → Reading where something has to be known first, or done.
                State::Calling { watch } => {
                    let Poll::Ready(response) = this.call.as_mut().poll(cx) else {
                        let due = watch.as_mut().map(|watch| watch.poll(Awaited::Head, cx));
                        return match due {
                            Some(Poll::Ready(Due::Timeout(timed_out))) => Poll::Ready(Err(timed_out.into())),
                            _ => Poll::Pending,
                        };
                    };
                    let response = response.map_err(Into::into)?;
                    let Some(watch) = watch.take() else {
                        panic!("polled after it was ready");
                    };
                    match this.reader.begin(response, watch) {
                        (parts, Begun::Known(body)) => {
                            return Poll::Ready(Ok(http::Response::from_parts(parts, body)));
                        }
                        (parts, Begun::Reads(body, ahead)) => {
                            *this.state = State::Reading { response: Some((parts, body)), ahead };
                        }
                    }
                }
                // Reading → done when there is enough.
                State::Reading { response, ahead } => {
                    if let Some((_, body)) = response {
                        ready!(body.as_mut().poll_ahead(*ahead, cx));
                    }
                    let Some((parts, body)) = response.take() else {
                        panic!("polled after it was ready");
                    };
                    return Poll::Ready(this.reader.conclude(parts, body, ahead.to));
                }
            }
        }
    }
}

impl<F, B> fmt::Debug for InspectFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reads = matches!(self.state, State::Reading { .. });
        f.debug_struct("InspectFuture").field("reads", &reads).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Reader {
    setup: Arc<Setup>,
    call: CallSoFar,
    has_body: bool,
}

enum Begun<B> {
    /// There is nothing to wait for.
    Known(ReadBody<B>),
    Reads(Pin<Box<Watched<B>>>, Ahead),
}

impl Reader {
    /// Decides by the head how the body is read.
    fn begin<B>(&self, response: http::Response<B>, watch: Stopwatch) -> (Parts, Begun<B>)
    where
        B: Body<Data = Bytes>,
    {
        let (mut parts, body) = response.into_parts();
        let setup = &*self.setup;
        let watched = |body, observer| Box::pin(Watched::new(body, observer, watch, self.call));
        if is_error(parts.status) {
            let until = Instant::now().checked_add(ERROR_PATIENCE);
            let ahead = Ahead { to: To::Explanation, bytes: ERROR_LIMIT, until };
            return (parts, Begun::Reads(watched(body, Observer::opaque()), ahead));
        }
        if !self.has_body || !is_answer(parts.status) {
            return (parts, Begun::Known(ReadBody::untouched(body)));
        }
        let form = Form::of(&parts.headers);
        let head = Head::new(parts.status, &parts.headers, &setup.clock);
        if let Some(limit) = setup.whole_answers {
            let observer = Observer::of_answer(form, &head, &setup.provider, usize::MAX);
            let ahead = Ahead { to: To::End, bytes: limit, until: None };
            return (parts, Begun::Reads(watched(body, observer), ahead));
        }
        // Announced as empty, it is nothing but its head.
        if body.is_end_stream() {
            return (parts, Begun::Known(ReadBody::untouched(body)));
        }
        let (bytes, patience) = setup.look_ahead;
        let is_small = body.size_hint().exact().is_some_and(|size| size <= bytes as u64);
        let to = match form {
            Form::Stream => Some(To::Content),
            Form::Whole if is_small => Some(To::End),
            Form::Whole | Form::Opaque => None,
        };
        let body = watched(body, Observer::of_answer(form, &head, &setup.provider, ANSWER_LIMIT));
        let Some(to) = to else {
            parts.extensions.insert(body.exchange().clone());
            return (parts, Begun::Known(ReadBody::watched(body)));
        };
        let until = Instant::now().checked_add(patience);
        (parts, Begun::Reads(body, Ahead { to, bytes, until }))
    }

    /// Judges what was read.
    fn conclude<B>(
        &self,
        mut parts: Parts,
        mut body: Pin<Box<Watched<B>>>,
        to: To,
    ) -> Result<http::Response<ReadBody<B>>, BoxError> {
        if to == To::Explanation {
            // An error whose body broke off is still that error, by what was read of it.
            let head = Head::new(parts.status, &parts.headers, &self.setup.clock);
            let judgement = self.setup.provider.judge(&head, &body.data());
            body.exchange().set_outcome(judgement.outcome());
        } else if let Some(error) = body.as_mut().take_failure() {
            return Err(error);
        } else if let Some(error) = body.error() {
            return Err(BrokenAnswer::failed(error.clone()).into());
        } else if let (Some(limit), true) = (self.setup.whole_answers, body.has_rest()) {
            return Err(BrokenAnswer::too_large(limit).into());
        }
        parts.extensions.insert(body.exchange().clone());
        Ok(http::Response::from_parts(parts, ReadBody::watched(body)))
    }
}

fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// Whether a response has an answer in its body, which can be broken.
fn is_answer(status: StatusCode) -> bool {
    status.is_success() && status != StatusCode::NO_CONTENT && status != StatusCode::RESET_CONTENT
}
