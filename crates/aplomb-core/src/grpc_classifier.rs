//! Classification of gRPC's responses.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::{Classification, Classify, Exchange, HttpClassifier, Outcome, ResponseHead};

/// Judges the responses of gRPC by `grpc-status`, where [`HttpClassifier`] sees nothing but HTTP's 200; others, and errors, as
/// [`HttpClassifier`] does.
///
/// | status | outcome |
/// | --- | --- |
/// | `OK` | success |
/// | `UNAVAILABLE` | transient, unprocessed |
/// | `RESOURCE_EXHAUSTED` | throttled |
/// | `ABORTED` | busy |
/// | `DEADLINE_EXCEEDED` | transient |
/// | `UNKNOWN`, `INTERNAL`, `DATA_LOSS` | transient, but not to be retried |
/// | `UNAUTHENTICATED`, `PERMISSION_DENIED` | unauthorized |
/// | all others | permanent |
///
/// The hint is `grpc-retry-pushback-ms` (gRFC A6; a negative one forbids a retry), or else the `google.rpc.RetryInfo` in
/// `grpc-status-details-bin`.
///
/// It reads the head of a response. A server that fails a call at once answers with the status there ("Trailers-Only"); a status in
/// trailers after a body is not seen.
///
/// # Examples
///
/// For tonic's channel, or any other service of gRPC, as the classifier of a layer:
///
/// ```
/// use aplomb_core::{Classify, GrpcClassifier};
///
/// let unavailable = http::Response::builder().header("grpc-status", "14").body(()).unwrap();
/// let judged = GrpcClassifier::new().classify(Ok::<_, &std::io::Error>(&unavailable));
/// assert!(judged.outcome().is_retryable());
/// ```
#[derive(Clone, Debug, Default)]
pub struct GrpcClassifier {
    http: HttpClassifier,
}

impl GrpcClassifier {
    /// The rules above.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl<Res: ResponseHead, Err: 'static> Classify<Res, Err> for GrpcClassifier {
    fn classify(&self, result: Result<&Res, &Err>) -> Classification {
        let has_been_judged =
            |response: &Res| response.extensions().is_some_and(|all| all.get::<Exchange>().is_some());
        match result {
            Ok(response) if !has_been_judged(response) => match response.headers().and_then(by_headers) {
                Some(outcome) => outcome.into(),
                None => self.http.classify(result),
            },
            _ => self.http.classify(result),
        }
    }
}

/// The outcome, if there is a status.
fn by_headers(headers: &HeaderMap) -> Option<Outcome> {
    let outcome = by_status(number(headers.get("grpc-status")?)?);
    if outcome.is_success() {
        return Some(outcome);
    }
    let pushback = headers.get("grpc-retry-pushback-ms");
    match pushback.map(|value| number(value).and_then(|millis| u64::try_from(millis).ok())) {
        Some(Some(millis)) => Some(outcome.with_retry_after(Duration::from_millis(millis))),
        // Negative, or not a number: both forbid a retry.
        Some(None) => Some(outcome.forbid_retry()),
        None => Some(match headers.get("grpc-status-details-bin").and_then(retry_info) {
            Some(delay) => outcome.with_retry_after(delay),
            None => outcome,
        }),
    }
}

fn number(value: &HeaderValue) -> Option<i64> {
    value.to_str().ok()?.parse().ok()
}

fn by_status(code: i64) -> Outcome {
    match code {
        0 => Outcome::success(),
        2 | 13 | 15 => Outcome::transient().forbid_retry(),
        4 => Outcome::transient(),
        7 | 16 => Outcome::unauthorized(),
        8 => Outcome::throttled(),
        10 => Outcome::busy(),
        14 => Outcome::transient().mark_unprocessed(),
        _ => Outcome::permanent(),
    }
}

/// The delay of the `google.rpc.RetryInfo` in a `google.rpc.Status`.
fn retry_info(details: &HeaderValue) -> Option<Duration> {
    let status = base64(details.as_bytes())?;
    for detail in Fields(&status).filter_map(|field| field.message(3)) {
        let is_retry_info =
            Fields(detail).any(|field| field.message(1) == Some(b"type.googleapis.com/google.rpc.RetryInfo"));
        if !is_retry_info {
            continue;
        }
        let info = Fields(detail).find_map(|field| field.message(2))?;
        let delay = Fields(info).find_map(|field| field.message(1))?;
        let [seconds, nanos] =
            [1, 2].map(|number| Fields(delay).find_map(|field| field.integer(number)).unwrap_or(0));
        // A negative number of 64 bits has its highest bit set.
        let seconds = seconds.min(u64::from(u32::MAX));
        return Some(Duration::new(seconds, u32::try_from(nanos).unwrap_or(0).min(999_999_999)));
    }
    None
}

/// The fields of a message of Protocol Buffers, up to the first that is invalid.
struct Fields<'a>(&'a [u8]);

struct Field<'a> {
    number: u64,
    value: Value<'a>,
}

enum Value<'a> {
    Integer(u64),
    Message(&'a [u8]),
    Fixed,
}

impl<'a> Field<'a> {
    fn message(&self, number: u64) -> Option<&'a [u8]> {
        match self.value {
            Value::Message(bytes) if self.number == number => Some(bytes),
            _ => None,
        }
    }

    const fn integer(&self, number: u64) -> Option<u64> {
        match self.value {
            Value::Integer(value) if self.number == number => Some(value),
            _ => None,
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Integer(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Message(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return None,
        };
        Some(Field { number: tag >> 3, value })
    }
}

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

/// Decodes base64 with or without padding.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for digit in text.iter().take_while(|digit| **digit != b'=') {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn judged(headers: &[(&'static str, &'static str)]) -> Outcome {
        let mut response = http::Response::builder();
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let response = response.body(()).unwrap();
        GrpcClassifier::new().classify(Ok::<_, &std::io::Error>(&response)).outcome()
    }

    #[test]
    fn a_status_in_the_head_outranks_http_s() {
        for (status, kind, retryable) in [
            ("0", Kind::Success, false),
            ("3", Kind::Permanent, false),
            ("8", Kind::Throttled, true),
            ("10", Kind::Busy, true),
            ("13", Kind::Transient, false),
            ("14", Kind::Transient, true),
            ("16", Kind::Unauthorized, false),
        ] {
            let outcome = judged(&[("grpc-status", status)]);
            assert_eq!((outcome.kind(), outcome.is_retryable()), (kind, retryable), "{status}");
        }
        assert!(judged(&[]).is_success() && judged(&[("grpc-status", "x")]).is_success());
    }

    #[test]
    fn a_pushback_is_the_hint_and_a_negative_one_forbids_a_retry() {
        let pushed = judged(&[("grpc-status", "14"), ("grpc-retry-pushback-ms", "1500")]);
        assert_eq!(pushed.retry_after(), Some(Duration::from_millis(1_500)));
        assert!(!judged(&[("grpc-status", "14"), ("grpc-retry-pushback-ms", "-1")]).is_retryable());
    }

    #[test]
    fn retry_info_is_the_hint() {
        // Status { code: 8, message: "no", details: [RetryInfo { retry_delay: 2.5 s }] }
        let details = "CAgSAm5vGjYKKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29vZ2xlLnJwYy5SZXRyeUluZm8SCgoICAIQgMq17gE";
        let outcome = judged(&[("grpc-status", "8"), ("grpc-status-details-bin", details)]);
        assert_eq!(outcome.retry_after(), Some(Duration::from_millis(2_500)));
        for broken in ["", "CAg", "////", "!", "GjcK"] {
            let outcome = judged(&[("grpc-status", "8"), ("grpc-status-details-bin", broken)]);
            assert_eq!((outcome.kind(), outcome.retry_after()), (Kind::Throttled, None), "{broken}");
        }
    }
}
