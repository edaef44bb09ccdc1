//! The one reader of the bytes, next to the client.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aplomb_core::{BoxError, CallOptions, Classify, Exchange, WallClock, find};
use aplomb_provider::{Head, Judgement, Provider};
use bytes::Bytes;
use http::response::Parts;
use http::{Method, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep};
use tower_service::Service;

use super::calibration::{Calibration, Guessed};
use super::observer::{Form, Observer};
use super::outbound::Outbound;
use super::spent::Spent;
use super::timeouts::{Awaited, Due, Stopwatch, Timeouts};
use super::watched::{Ahead, To, Watched};
use super::{BrokenAnswer, EndpointClassifier, ReadBody, TimedOut};
use crate::report::Judged;
use crate::{HttpClient, Report};

/// How much of an error's body is read: those of providers are below a kilobyte.
const ERROR_LIMIT: usize = 64 * 1024;

/// How long an error's body is waited for: everybody else may be waiting for what it says.
const ERROR_PATIENCE: Duration = Duration::from_secs(5);

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
/// With whole answers each is read to its end.
#[derive(Debug)]
pub(crate) struct Inspect<S> {
    inner: S,
    reading: Arc<Reading>,
    /// How long the client may take to get ready; set where it does.
    patience: Option<Pin<Box<Sleep>>>,
}

/// Each clone waits for its client by itself.
impl<S: Clone> Clone for Inspect<S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.reading))
    }
}

/// How an endpoint reads.
pub(super) struct Reading {
    pub(super) classifier: EndpointClassifier,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) clock: WallClock,
    pub(super) timeouts: Timeouts,
    pub(super) calibration: Arc<Calibration>,
    /// How much of an answer, and for how long, is looked into before the caller has it.
    pub(super) look_ahead: (usize, Duration),
    pub(super) whole_answers: Option<usize>,
    pub(super) judge: Option<Arc<Judge>>,
}

/// Judges a response again, by its head, its body and the provider's judgement.
pub(super) type Judge = dyn Fn(&Head<'_>, &[u8], Judgement) -> Judgement + Send + Sync;

impl<S> Inspect<S> {
    pub(super) const fn new(inner: S, reading: Arc<Reading>) -> Self {
        Self { inner, reading, patience: None }
    }
}

impl<S, A> Service<Outbound<A>> for Inspect<S>
where
    S: HttpClient<A>,
    A: Body + Clone,
{
    type Response = http::Response<ReadBody<S::Body>>;
    type Error = BoxError;
    type Future = InspectFuture<S, A, S::Body>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if let Poll::Ready(ready) = self.inner.poll_ready(cx) {
            return Poll::Ready(ready.map_err(Into::into));
        }
        // A client that waits for a connection of its pool, say: what it has been let through for is not held
        // for ever.
        let longest = self.reading.timeouts.head;
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(longest)));
        ready!(patience.as_mut().poll(cx));
        Poll::Ready(Err(TimedOut::head(longest).into()))
    }

    fn call(&mut self, Outbound { request, known }: Outbound<A>) -> Self::Future {
        let reader = Reader {
            reading: Arc::clone(&self.reading),
            report: known.report,
            deadline: CallOptions::of(&request).deadline(),
            guessed: known.guessed,
            method: request.method().clone(),
        };
        let state = State::Calling { watch: reader.send(), call: self.inner.call(request) };
        InspectFuture { state, reader }
    }
}

pin_project! {
    /// The future of [`Inspect`]: waits for the head, then reads what has to be read.
    pub(crate) struct InspectFuture<S, A, B>
    where
        S: Service<http::Request<A>>,
        B: Body,
    {
        #[pin]
        state: State<S::Future, B>,
        reader: Reader,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, B>
    where
        B: Body,
    {
        Calling { watch: Stopwatch, #[pin] call: F },
        Reading { response: Option<(Parts, Pin<Box<Watched<B>>>)>, ahead: Ahead },
        Done,
    }
}

impl<S, A, B> Future for InspectFuture<S, A, B>
where
    S: Service<http::Request<A>, Response = http::Response<B>>,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Output = Result<http::Response<ReadBody<B>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let ended = loop {
            let next = match this.state.as_mut().project() {
                // Calling → Reading where something has to be known first, → Done otherwise.
                StateProj::Calling { watch, call } => match call.poll(cx) {
                    Poll::Pending => match ready!(watch.poll(Awaited::Head, cx)) {
                        Due::Timeout(timed_out) => break Err(timed_out.into()),
                        _ => return Poll::Pending,
                    },
                    Poll::Ready(Err(error)) => break Err(error.into()),
                    Poll::Ready(Ok(response)) => match this.reader.begin(response, watch.take()) {
                        (parts, Begun::Known(body)) => break Ok(http::Response::from_parts(parts, body)),
                        (parts, Begun::Reads(body, ahead)) => {
                            State::Reading { response: Some((parts, body)), ahead }
                        }
                    },
                },
                // Reading → Done when there is enough.
                StateProj::Reading { response, ahead } => {
                    if let Some((_, body)) = response {
                        ready!(body.as_mut().poll_ahead(*ahead, cx));
                    }
                    let Some((parts, body)) = response.take() else {
                        panic!("polled after it was ready");
                    };
                    break this.reader.conclude(parts, body, ahead.to);
                }
                StateProj::Done => panic!("polled after it was ready"),
            };
            this.state.set(next);
        };
        this.state.set(State::Done);
        this.reader.report(ended.as_ref());
        Poll::Ready(ended)
    }
}

impl<S: Service<http::Request<A>>, A, B: Body> fmt::Debug for InspectFuture<S, A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Calling { .. } => "InspectFuture(calling)",
            State::Reading { .. } => "InspectFuture(reading)",
            State::Done => "InspectFuture(done)",
        })
    }
}

struct Reader {
    reading: Arc<Reading>,
    report: Report,
    deadline: Option<Instant>,
    guessed: Option<Guessed>,
    method: Method,
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("provider", &self.provider).finish_non_exhaustive()
    }
}

enum Begun<B: Body> {
    /// There is nothing to wait for.
    Known(ReadBody<B>),
    Reads(Pin<Box<Watched<B>>>, Ahead),
}

impl Reader {
    /// Notes that the attempt is sent now, and measures it.
    fn send(&self) -> Stopwatch {
        let now = Instant::now();
        self.report.sends(now);
        Stopwatch::new(self.reading.timeouts, self.deadline, now)
    }

    /// Decides by the head how the body is read.
    fn begin<B>(&self, response: http::Response<B>, watch: Stopwatch) -> (Parts, Begun<B>)
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (mut parts, body) = response.into_parts();
        let setup = &*self.reading;
        let watched = |body, observer| {
            let body = Watched::new(body, observer, watch, self.report.clone());
            Box::pin(body.teaches(self.guessed.map(|guessed| (guessed, Arc::clone(&setup.calibration)))))
        };
        if is_error(parts.status, &self.method) {
            let until = Instant::now().checked_add(ERROR_PATIENCE);
            let ahead = Ahead { to: To::Explanation, bytes: ERROR_LIMIT, until };
            return (parts, Begun::Reads(watched(body, Observer::opaque()), ahead));
        }
        if self.method == Method::HEAD || !is_answer(parts.status) {
            return (parts, Begun::Known(ReadBody::untouched(body)));
        }
        let form = Form::of(&parts.headers);
        let head = Head::new(parts.status, &parts.headers, &setup.clock);
        if let Some(limit) = setup.whole_answers {
            let observer = Observer::of_answer(form, &head, &setup.provider);
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
        let body = watched(body, Observer::of_answer(form, &head, &setup.provider));
        let Some(to) = to else {
            parts.extensions.insert(body.exchange().clone());
            return (parts, Begun::Known(ReadBody::watched(body)));
        };
        let until = Instant::now().checked_add(patience);
        (parts, Begun::Reads(body, Ahead { to, bytes, until }))
    }

    /// Judges what was read.
    fn conclude<B: Body>(
        &self,
        mut parts: Parts,
        mut body: Pin<Box<Watched<B>>>,
        to: To,
    ) -> Result<http::Response<ReadBody<B>>, BoxError> {
        if to == To::Explanation {
            // An error whose body broke off is still that error, by what was read of it.
            let judgement = self.judge(&parts, &body.data());
            body.exchange().set_outcome(judgement.outcome());
            parts.extensions.insert(judgement);
        } else if let Some(error) = self.failure(&parts, body.as_mut()) {
            return Err(Spent::wrap(error, body.exchange()));
        }
        parts.extensions.insert(body.exchange().clone());
        Ok(http::Response::from_parts(parts, ReadBody::watched(body)))
    }

    /// Judges a response by its head and the bytes that were read of its body.
    fn judge(&self, parts: &Parts, data: &[u8]) -> Judgement {
        let head = Head::new(parts.status, &parts.headers, &self.reading.clock);
        let judgement = self.reading.provider.judge(&head, data);
        self.rejudge(&head, data, judgement)
    }

    fn rejudge(&self, head: &Head<'_>, data: &[u8], judgement: Judgement) -> Judgement {
        match &self.reading.judge {
            Some(judge) => judge(head, data, judgement),
            None => judgement,
        }
    }

    /// Why what was read ahead is not an answer.
    fn failure<B: Body>(&self, parts: &Parts, mut body: Pin<&mut Watched<B>>) -> Option<BoxError> {
        if let Some(error) = body.error().cloned() {
            let head = Head::new(parts.status, &parts.headers, &self.reading.clock);
            let judgement = self.rejudge(&head, &body.data(), error);
            return self.by_judgement(judgement, body);
        }
        if let Some(error) = body.as_mut().take_failure() {
            return Some(error);
        }
        if body.has_rest() {
            return self.reading.whole_answers.map(|limit| BrokenAnswer::too_large(limit).into());
        }
        if body.is_legible() {
            let judgement = self.judge(parts, &body.data());
            return self.by_judgement(judgement, body);
        }
        None
    }

    /// The error of an answer that was judged to be one.
    fn by_judgement<B: Body>(&self, judgement: Judgement, body: Pin<&mut Watched<B>>) -> Option<BoxError> {
        if judgement.outcome().is_success() {
            body.forgive();
            return None;
        }
        body.exchange().set_outcome(judgement.outcome());
        Some(BrokenAnswer::failed(judgement).into())
    }

    /// Writes the attempt into the account of its call.
    fn report<B>(&self, ended: Result<&http::Response<B>, &BoxError>) {
        let judged = match ended {
            Ok(response) => {
                let (status, extensions) = (response.status(), response.extensions());
                let exchange = extensions.get::<Exchange>().cloned();
                let outcome = match &exchange {
                    Some(exchange) => exchange.outcome(),
                    None => self.reading.classifier.classify(ended).outcome(),
                };
                let reason = extensions.get::<Judgement>().map(Judgement::reason);
                Judged { status: Some(status), outcome, reason, cause: None, exchange }
            }
            Err(error) => {
                let told = find::<BrokenAnswer>(&**error).and_then(BrokenAnswer::judgement);
                let classification = self.reading.classifier.classify(ended);
                let outcome = classification.outcome();
                let exchange = error.downcast_ref().map(|Spent { exchange, .. }| exchange.clone());
                let reason = told.map(|told| told.reason());
                let cause = classification.cause().filter(|_| reason.is_none()).map(Arc::from);
                Judged { status: None, outcome, reason, cause, exchange }
            }
        };
        self.report.judged(judged);
    }
}

/// Whether a response is an error by its status. A request that changes something is not answered by a redirect
/// or by another protocol.
fn is_error(status: StatusCode, method: &Method) -> bool {
    status.is_client_error()
        || status.is_server_error()
        || (!method.is_safe() && (status.is_redirection() || status.is_informational()))
}

/// Whether a response has an answer in its body, which can be broken.
fn is_answer(status: StatusCode) -> bool {
    status.is_success() && status != StatusCode::NO_CONTENT && status != StatusCode::RESET_CONTENT
}
