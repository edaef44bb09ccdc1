//! The default classifier for HTTP.

use std::io;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::{
    Classification, Classify, Exchange, Outcome, Rejection, ResponseHead, WallClock, error, find_in,
    transport, unsendable,
};

/// The header with which a server says whether to retry. A static name need not be parsed for each lookup.
static SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Judges HTTP responses by the [`Exchange`] in their extensions, or else by status and headers; and errors.
///
/// | status | outcome |
/// | --- | --- |
/// | 1xx, 2xx, 3xx | success |
/// | 408, and all 5xx except 501 and 505 | transient |
/// | 409, 425 | busy |
/// | 429 | throttled |
/// | 401, 403 | unauthorized |
/// | other 4xx, 501, 505 | permanent |
///
/// `retry-after-ms` and `Retry-After` become the hint, see [`WallClock::retry_after`]. `x-should-retry: false` forbids a retry
/// whatever the status; `x-should-retry: true` allows a retry of a permanent failure.
///
/// An error is transient and [unanswered](Outcome::is_unanswered), or unprocessed if no connection could be made. A
/// rejection by an aplomb layer is local. What cannot succeed by waiting is permanent: a request that the client
/// cannot send (an invalid URL, a scheme it does not speak), and a refused TLS handshake.
///
/// A server that answers 429, 503 or 529 has not begun to process the request, and neither has a server that could not be
/// connected to: these outcomes are [unprocessed](Outcome::is_unprocessed). Failed connections are recognized by the
/// errors of the operating system and, with the features of these names, of reqwest and hyper-util.
///
/// Neither has it begun where hyper says that the request was canceled before it was written, or h2 that the server refused
/// the stream (`REFUSED_STREAM`) or closes the connection and will not act on it (`GOAWAY`). All but a refused stream say nothing
/// about the server: their scope is the request.
#[derive(Clone, Debug, Default)]
pub struct HttpClassifier {
    clock: WallClock,
}

impl HttpClassifier {
    /// The default rules.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the clock for dates in `Retry-After`, for responses without a `Date`.
    #[must_use]
    pub fn clock(mut self, clock: WallClock) -> Self {
        self.clock = clock;
        self
    }

    #[inline]
    fn by_head<Res: ResponseHead>(&self, response: &Res) -> Classification {
        let mut classification = Classification::new(self.judge(response));
        if let Some(status) = response.status() {
            classification.set_status(status);
        }
        classification
    }

    #[inline]
    fn judge<Res: ResponseHead>(&self, response: &Res) -> Outcome {
        match response.status() {
            Some(status) if !is_success(status) => self.judge_failure(response.headers(), by_status(status)),
            _ => Outcome::success(),
        }
    }

    #[cold]
    fn judge_failure(&self, headers: Option<&HeaderMap>, outcome: Outcome) -> Outcome {
        let Some(headers) = headers else {
            return outcome;
        };
        let outcome = match headers.get(&SHOULD_RETRY).map(HeaderValue::as_bytes) {
            Some(b"false") => outcome.forbid_retry(),
            Some(b"true") if outcome.kind() == crate::Kind::Permanent => Outcome::busy(),
            _ => outcome,
        };
        match self.clock.retry_after(headers) {
            Some(hint) => outcome.with_retry_after(hint),
            None => outcome,
        }
    }
}

impl<Res: ResponseHead, Err: 'static> Classify<Res, Err> for HttpClassifier {
    #[inline]
    fn classify(&self, result: Result<&Res, &Err>) -> Classification {
        match result {
            Ok(response) => match response.extensions().and_then(|found| found.get::<Exchange>()) {
                Some(exchange) => by_exchange(exchange, response.status()),
                None => self.by_head(response),
            },
            Err(error) => of_error(error),
        }
    }

    #[inline]
    fn has_succeeded(&self, result: Result<&Res, &Err>) -> bool {
        result.is_ok_and(|response| match response.extensions().and_then(|found| found.get::<Exchange>()) {
            Some(exchange) => exchange.is_success(),
            None => response.status().is_none_or(is_success),
        })
    }
}

/// The classification by what was read of the body, with the status of the head.
fn by_exchange(exchange: &Exchange, status: Option<StatusCode>) -> Classification {
    let result = exchange.result();
    match status.filter(|_| result.status().is_none()) {
        Some(status) => result.with_status(status),
        None => result,
    }
}

/// The classification of an error, with the text of its innermost cause.
#[cold]
fn of_error<E: 'static>(error: &E) -> Classification {
    let classification = Classification::new(by_error(error));
    match error::innermost_text(error) {
        Some(cause) => classification.with_cause(&cause),
        None => classification,
    }
}

#[inline]
fn is_success(status: StatusCode) -> bool {
    status.as_u16() < 400
}

/// The outcome of a status, see the table of [`HttpClassifier`].
fn by_status(status: StatusCode) -> Outcome {
    match status.as_u16() {
        100..=399 => Outcome::success(),
        409 | 425 => Outcome::busy(),
        429 => Outcome::throttled(),
        401 | 403 => Outcome::unauthorized(),
        501 | 505 => Outcome::permanent(),
        503 | 529 => Outcome::transient().mark_unprocessed(),
        408 | 500..=599 => Outcome::transient(),
        _ => Outcome::permanent(),
    }
}

/// The outcome of an error: see [`HttpClassifier`].
///
/// A connection that could not be made or was lost, and an attempt that timed out, may succeed next time.
fn by_error<E: 'static>(error: &E) -> Outcome {
    if let Some(refused) = find_in::<Rejection, E>(error) {
        let outcome = Outcome::local();
        return refused.retry_after().map_or(outcome, |hint| outcome.with_retry_after(hint));
    }
    if unsendable::is_in(error) {
        return Outcome::permanent().mark_unprocessed();
    }
    if is_connect(error) {
        return Outcome::transient().mark_unprocessed();
    }
    if let Some(not_begun) = transport::not_begun(error) {
        return not_begun;
    }
    if transport::is_connection_lost(error) {
        Outcome::transient().mark_connection_lost()
    } else {
        Outcome::transient().mark_unanswered()
    }
}

/// Returns whether no connection could be made.
fn is_connect<E: 'static>(error: &E) -> bool {
    #[cfg(feature = "reqwest-0-13")]
    if find_in::<reqwest::Error, E>(error).is_some_and(reqwest::Error::is_connect) {
        return true;
    }
    #[cfg(feature = "hyper-util-0-1")]
    if find_in::<hyper_util::client::legacy::Error, E>(error)
        .is_some_and(hyper_util::client::legacy::Error::is_connect)
    {
        return true;
    }
    // A host may also become unreachable after the request was sent.
    find_in::<io::Error, E>(error).is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BoxError, Kind, LayerName, Scope};
    use std::time::Duration;

    fn judged(status: u16, headers: &[(&'static str, &'static str)]) -> Outcome {
        let mut response = http::Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let response = response.body(()).unwrap();
        HttpClassifier::new().classify(Ok::<_, &io::Error>(&response)).outcome()
    }

    #[test]
    fn every_status_has_its_kind() {
        for (kind, statuses) in [
            (Kind::Success, &[200, 201, 204, 206, 304][..]),
            (Kind::Transient, &[408, 500, 502, 503, 504, 520, 524, 529]),
            (Kind::Busy, &[409, 425]),
            (Kind::Throttled, &[429]),
            (Kind::Unauthorized, &[401, 403]),
            (Kind::Permanent, &[400, 402, 404, 405, 410, 413, 422, 451, 501, 505, 600, 999]),
        ] {
            for status in statuses {
                assert_eq!(judged(*status, &[]).kind(), kind, "{status}");
            }
        }
    }

    #[test]
    fn the_header_about_retrying_outranks_the_status() {
        let forbidden = judged(500, &[("x-should-retry", "false")]);
        assert_eq!((forbidden.kind(), forbidden.scope()), (Kind::Transient, Scope::Server));
        assert!(!forbidden.is_retryable());
        assert!(judged(400, &[("x-should-retry", "true")]).is_retryable());
        assert!(!judged(401, &[("x-should-retry", "true")]).is_retryable());
        assert!(!judged(400, &[("x-should-retry", "perhaps")]).is_retryable());
    }

    #[test]
    fn only_a_request_that_was_turned_away_at_once_is_unprocessed() {
        for (status, unprocessed) in [(429, true), (503, true), (529, true), (500, false), (409, false)] {
            assert_eq!(judged(status, &[]).is_unprocessed(), unprocessed, "{status}");
        }
        let classifier = HttpClassifier::new();
        for (kind, unprocessed) in [
            (io::ErrorKind::ConnectionRefused, true),
            (io::ErrorKind::ConnectionReset, false),
        ] {
            let error: BoxError = Box::new(io::Error::from(kind));
            let result: Result<&http::Response<()>, _> = Err(&error);
            assert_eq!(classifier.classify(result).outcome().is_unprocessed(), unprocessed, "{kind}");
        }
    }

    #[test]
    fn a_success_is_told_without_a_classification() {
        let classifier = HttpClassifier::new();
        for status in (100..1_000).filter_map(|status| StatusCode::from_u16(status).ok()) {
            let mut response = http::Response::new(());
            *response.status_mut() = status;
            let agree = |response: &http::Response<()>| {
                let result = Ok::<_, &io::Error>(response);
                let expected = classifier.classify(result).outcome().is_success();
                assert_eq!(classifier.has_succeeded(result), expected, "{status}");
            };
            agree(&response);
            response.extensions_mut().insert(Exchange::new(Outcome::transient()));
            agree(&response);
        }
        let lost = io::Error::other("connection reset");
        assert!(!Classify::<http::Response<()>, _>::has_succeeded(&classifier, Err(&lost)));
    }

    #[test]
    fn a_hint_is_kept_and_a_success_has_none() {
        assert_eq!(judged(503, &[("retry-after", "7")]).retry_after(), Some(Duration::from_secs(7)));
        assert_eq!(judged(200, &[("retry-after", "7")]), Outcome::success());
    }

    #[test]
    fn the_result_of_reading_the_body_outranks_the_head() {
        let mut response = http::Response::new(());
        let exchange = Exchange::new(Outcome::success());
        response.extensions_mut().insert(exchange.clone());
        let classification = HttpClassifier::new().classify(Ok::<_, &io::Error>(&response));
        assert!(classification.outcome().is_success());
        exchange.set_outcome(Outcome::transient());
        assert_eq!(classification.outcome(), Outcome::transient());
    }

    #[test]
    fn rejections_by_layers_are_local_and_other_errors_transient() {
        let classifier = HttpClassifier::new();
        let classify = |error: BoxError| {
            let result: Result<&http::Response<()>, _> = Err(&error);
            classifier.classify(result).outcome()
        };
        let hint = Some(Duration::from_secs(3));
        let refused = io::Error::other(Rejection::by(LayerName::Other("gate")).with_retry_after(hint));
        let outcome = classify(Box::new(refused));
        assert_eq!((outcome.kind(), outcome.retry_after()), (Kind::Local, hint));
        let unknown = classify("connection reset".into());
        assert_eq!((unknown.kind(), unknown.is_unanswered()), (Kind::Transient, true));
        assert!(!unknown.is_connection_lost());
        let reset = classify(Box::new(io::Error::from(io::ErrorKind::ConnectionReset)));
        assert!(reset.is_unanswered() && reset.is_connection_lost());
        assert!(!judged(503, &[]).is_unanswered());
    }
}
