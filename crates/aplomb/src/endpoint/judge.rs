//! The one judge of attempts: by the head, by what was read of the body, or by the error.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aplomb_core::{
    BoxError, Classification, Classify, Exchange, HttpClassifier, Outcome, Reason, WallClock, find,
};
use aplomb_provider::{Head, Provider};
use bytes::Bytes;
use http::response::Parts;
use http::{Method, StatusCode};
use http_body::Body;
use tokio::time::Instant;

use super::answer_reader::{AnswerReader, Form};
use super::attempt_error::AttemptError;
use super::body::EndpointBody;
use super::broken_answer::BrokenAnswer;
use super::calibration::Calibration;
use super::connections::{IdleConnections, was_closed_before};
use super::inspected_body::{InspectedBody, LookAhead, ReadTo};
use super::timeouts::{Stopwatch, Timeouts};
use crate::context::CallContext;

/// How much of an error's body is read: those of providers are below a kilobyte.
const ERROR_LIMIT: usize = 64 * 1024;

/// Time limit for reading an error body; it may carry the hint other callers wait for.
const ERROR_PATIENCE: Duration = Duration::from_secs(5);

/// How the responses of an endpoint are read and judged.
pub(super) struct Inspection {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) clock: WallClock,
    pub(super) timeouts: Arc<Timeouts>,
    pub(super) calibration: Arc<Calibration>,
    /// How much of a response, and for how long, is read before the caller gets it.
    pub(super) look_ahead: (usize, Duration),
    pub(super) whole_answers: Option<usize>,
    pub(super) judge: Option<Arc<JudgeFn>>,
    pub(super) connections: IdleConnections,
    /// How often an answer without content is asked for again.
    pub(super) empty_answers: u32,
}

/// Changes the provider's classification of a response.
pub(super) type JudgeFn = dyn Fn(&Head<'_>, &[u8], Classification) -> Classification + Send + Sync;

/// Judges one attempt, once, and writes the result into its record.
pub(super) struct Judge {
    pub(super) inspection: Arc<Inspection>,
    pub(super) call: CallContext,
    pub(super) exchange: Exchange,
    pub(super) method: Method,
    /// When it was sent, if that was on a connection that may have been used before.
    pub(super) reused: Option<Instant>,
}

/// The next step for a response, as its head decides it.
pub(super) enum Started<B: Body> {
    /// Nothing is read before the caller gets it.
    Ready(http::Response<EndpointBody<B>>),
    /// Some of its body is read first, to judge it.
    Reads(Parts, Pin<Box<InspectedBody<B>>>, LookAhead),
}

impl Judge {
    /// Decides by the head how the body is read. So far the attempt is a success.
    pub(super) fn start<B>(&self, response: http::Response<B>, watch: Stopwatch) -> Started<B>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (mut parts, body) = response.into_parts();
        parts.extensions.insert(self.exchange.clone());
        self.exchange.set_status(parts.status);
        self.inspection.connections.answered();
        let Some((form, ahead)) = self.reading_of(&parts, &body) else {
            return Started::Ready(http::Response::from_parts(parts, EndpointBody::untouched(body)));
        };
        let inspection = &*self.inspection;
        let head = Head::new(parts.status, &parts.headers, &inspection.clock);
        let reader = || AnswerReader::new(form, &head, &*inspection.provider, self.exchange.clone());
        let body = InspectedBody::new(body, reader, watch, self.call.clone(), &inspection.calibration);
        let body = Box::pin(body);
        match ahead {
            Some(ahead) => Started::Reads(parts, body, ahead),
            None => Started::Ready(http::Response::from_parts(parts, EndpointBody::inspected(body))),
        }
    }

    /// How the body of a response is read, and how much of it before the caller gets it; `None` if it is not read.
    fn reading_of<B: Body>(&self, parts: &Parts, body: &B) -> Option<(Form, Option<LookAhead>)> {
        let in_time = |patience| Instant::now().checked_add(patience);
        if is_error(parts.status, &self.method) {
            let until = in_time(ERROR_PATIENCE);
            return Some((Form::Opaque, Some(LookAhead { to: ReadTo::ErrorEnd, bytes: ERROR_LIMIT, until })));
        }
        if self.method == Method::HEAD || !has_answer(parts.status) {
            return None;
        }
        let form = Form::of(&parts.headers);
        if let Some(limit) = self.inspection.whole_answers {
            return Some((form, Some(LookAhead { to: ReadTo::End, bytes: limit, until: None })));
        }
        // A response that is announced as empty is nothing but its head.
        if body.is_end_stream() {
            return None;
        }
        let (bytes, patience) = self.inspection.look_ahead;
        let is_small = || body.size_hint().exact().is_some_and(|size| size <= bytes as u64);
        let to = match form {
            Form::Stream => Some(ReadTo::Content),
            Form::Whole if is_small() || self.inspection.empty_answers > 0 => Some(ReadTo::End),
            Form::Whole | Form::Opaque => None,
        };
        Some((form, to.map(|to| LookAhead { to, bytes, until: in_time(patience) })))
    }

    /// Judges a response by what was read of it.
    pub(super) fn conclude<B: Body>(
        &self,
        mut parts: Parts,
        mut body: Pin<Box<InspectedBody<B>>>,
        read_to: ReadTo,
    ) -> Result<http::Response<EndpointBody<B>>, BoxError> {
        if read_to == ReadTo::ErrorEnd {
            // An error whose body broke off is still that error, by what was read of it.
            let judged = self.by_body(&parts, &body.data()).with_status(parts.status);
            self.exchange.set_result(judged.clone());
            parts.extensions.insert(judged);
        } else if let Some(error) = self.failure(&parts, body.as_mut()) {
            return Err(error);
        }
        Ok(http::Response::from_parts(parts, EndpointBody::inspected(body)))
    }

    /// Judges an attempt that ended with an error, and notes that the attempt is judged.
    pub(super) fn end<T>(&self, ended: Result<T, BoxError>) -> Result<T, BoxError> {
        let ended = ended.map_err(|error| {
            self.exchange.set_result(self.by_error(&error));
            AttemptError::new(error, self.exchange.clone()).into()
        });
        self.call.judged();
        ended
    }

    /// The error in what was read ahead, if it is not a response.
    fn failure<B: Body>(&self, parts: &Parts, mut body: Pin<&mut InspectedBody<B>>) -> Option<BoxError> {
        let judged = if let Some(error) = body.error().cloned() {
            self.rejudged(parts, &body.data(), error)
        } else if let Some(error) = body.as_mut().take_failure() {
            return Some(error);
        } else if body.has_rest() {
            return self.inspection.whole_answers.map(|limit| BrokenAnswer::too_large(limit).into());
        } else if body.is_empty_answer() && self.call.asks_again(self.inspection.empty_answers) {
            let empty = Classification::new(Outcome::busy()).with_status(parts.status);
            empty.with_reason(Reason::Truncated).with_cause(&"the answer has no content")
        } else if body.is_legible() && self.inspection.judges_success() {
            self.by_body(parts, &body.data())
        } else {
            return None;
        };
        if judged.outcome().is_success() {
            body.forgive();
            return None;
        }
        Some(BrokenAnswer::failed(judged).into())
    }

    /// How the provider judges a response, by its head and the bytes that were read of its body.
    fn by_body(&self, parts: &Parts, data: &[u8]) -> Classification {
        let head = Head::new(parts.status, &parts.headers, &self.inspection.clock);
        let judged = self.inspection.provider.judge(&head, data);
        self.rejudged(parts, data, judged)
    }

    /// How the user judges it, if the user does.
    fn rejudged(&self, parts: &Parts, data: &[u8], judged: Classification) -> Classification {
        let judged = match &self.inspection.judge {
            Some(judge) => {
                judge(&Head::new(parts.status, &parts.headers, &self.inspection.clock), data, judged)
            }
            None => judged,
        };
        judged.with_provider(self.call.provider())
    }

    fn by_error(&self, error: &BoxError) -> Classification {
        let judged = match find::<BrokenAnswer>(&**error) {
            Some(broken) => broken
                .classification()
                .unwrap_or_else(|| Classification::new(broken.outcome()).with_cause(broken)),
            None => self.by_client(error),
        };
        judged.with_provider(self.call.provider())
    }

    /// The classification of an error of the client.
    fn by_client(&self, error: &BoxError) -> Classification {
        let judged = Classify::<http::Response<()>, _>::classify(&HttpClassifier::new(), Err(error));
        // Once the head has come, the server has seen the request.
        let is_headless = self.exchange.result().status().is_none();
        match judged.cause() {
            Some(cause) if is_headless && was_closed_before(error, self.reused) => {
                Classification::new(Outcome::never_begun()).with_cause(&cause)
            }
            _ => {
                self.inspection.connections.failed();
                judged
            }
        }
    }
}

impl Inspection {
    /// Returns whether anybody judges responses that look like a success.
    fn judges_success(&self) -> bool {
        self.judge.is_some() || self.provider.judges_success()
    }
}

impl fmt::Debug for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspection").field("provider", &self.provider).finish_non_exhaustive()
    }
}

/// Returns whether a response is an error by its status. A request that changes something is not answered by a redirect
/// or by another protocol.
fn is_error(status: StatusCode, method: &Method) -> bool {
    status.is_client_error()
        || status.is_server_error()
        || (!method.is_safe() && (status.is_redirection() || status.is_informational()))
}

/// Returns whether a response of this status has a body that can be broken.
fn has_answer(status: StatusCode) -> bool {
    status.is_success() && status != StatusCode::NO_CONTENT && status != StatusCode::RESET_CONTENT
}
