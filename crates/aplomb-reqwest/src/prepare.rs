//! Requests, from reqwest's type to the one that endpoints take.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use aplomb::{AdaptedBody, BoxError, CallOptions};
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use reqwest::Body;

use crate::RequestFactory;
use crate::origin::{Origin, Taken, Target};

/// The request of a call, for an endpoint.
pub(crate) type HttpRequest = http::Request<AdaptedBody>;

/// A request, at once if its body is in memory.
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one")]
pub(crate) enum Prepared {
    Ready(HttpRequest),
    Reading(Pin<Box<dyn Future<Output = HttpRequest> + Send>>),
}

/// Takes a request apart. A body that is not in memory is read ahead up to `limit` bytes.
pub(crate) fn prepare(
    request: reqwest::Result<reqwest::Request>,
    extensions: http::Extensions,
    factory: Option<RequestFactory>,
    limit: usize,
) -> Prepared {
    let taken_apart = request.and_then(|request| {
        let (url, timeout) = (request.url().clone(), request.timeout().copied());
        let (mut head, body) = http::Request::<Body>::try_from(request)?.into_parts();
        head.extensions.extend(extensions);
        let target = Target { uri: head.uri.clone(), url, timeout };
        Ok((head, body, target))
    });
    let (head, mut body, target) = match taken_apart {
        Ok(request) => request,
        Err(error) => return Prepared::Ready(unsendable(error.into())),
    };
    if body.as_bytes().is_some() {
        let bytes = in_memory(&mut body);
        return Prepared::Ready(http_request(head, Some(bytes), Origin::InMemory(target)));
    }
    if body.size_hint().lower() > limit as u64 {
        return Prepared::Ready(streamed(head, body, target, factory));
    }
    Prepared::Reading(Box::pin(async move {
        match read_ahead(body, limit).await {
            Ok(ReadAhead::Whole(bytes)) => http_request(head, Some(bytes), Origin::InMemory(target)),
            Ok(ReadAhead::Longer(body)) => streamed(head, body, target, factory),
            Err(error) => unsendable(error.into()),
        }
    }))
}

fn http_request(head: Parts, bytes: Option<Bytes>, origin: Origin) -> HttpRequest {
    http::Request::from_parts(head, AdaptedBody::new(bytes, Arc::new(origin)))
}

/// A request whose body is not kept: it is sent once, unless there is a factory.
fn streamed(head: Parts, body: Body, target: Target, factory: Option<RequestFactory>) -> HttpRequest {
    let is_sent_once = factory.is_none();
    let mut request = http_request(head, None, Origin::Streamed(target, Taken::new(body), factory));
    if is_sent_once {
        let options = CallOptions::of(&request).without_retry();
        request.extensions_mut().insert(options);
    }
    request
}

/// A request that ends with this error where it would be sent: so it is reported and counted as all others.
pub(crate) fn unsendable(error: BoxError) -> HttpRequest {
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.extensions.insert(CallOptions::current().unwrap_or_default().without_retry());
    http_request(head, None, Origin::Unsendable(Taken::new(error)))
}

/// The bytes of a body that has them; they are shared.
fn in_memory(body: &mut Body) -> Bytes {
    match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        _ => Bytes::new(),
    }
}

enum ReadAhead {
    Whole(Bytes),
    /// With what was read in front.
    Longer(Body),
}

async fn read_ahead(mut body: Body, limit: usize) -> reqwest::Result<ReadAhead> {
    let (mut read, mut length) = (VecDeque::new(), 0);
    while let Some(frame) = body.frame().await.transpose()? {
        length += frame.data_ref().map_or(0, Bytes::len);
        let is_data = frame.is_data();
        read.push_back(frame);
        if length > limit || !is_data {
            return Ok(ReadAhead::Longer(Body::wrap(Rejoined { read, rest: body })));
        }
    }
    let mut data = read.into_iter().filter_map(|frame| frame.into_data().ok());
    let first = data.next().unwrap_or_default();
    if first.len() == length {
        return Ok(ReadAhead::Whole(first));
    }
    let mut whole = BytesMut::with_capacity(length);
    whole.extend_from_slice(&first);
    data.for_each(|more| whole.extend_from_slice(&more));
    Ok(ReadAhead::Whole(whole.freeze()))
}

/// A body with the frames that were read from it in front again.
struct Rejoined {
    read: VecDeque<Frame<Bytes>>,
    rest: Body,
}

impl http_body::Body for Rejoined {
    type Data = Bytes;
    type Error = reqwest::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<reqwest::Result<Frame<Bytes>>>> {
        if let Some(frame) = self.read.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        Poll::Ready(ready!(Pin::new(&mut self.rest).poll_frame(cx)))
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let read: usize = self.read.iter().filter_map(Frame::data_ref).map(Bytes::len).sum();
        let (read, rest) = (read as u64, self.rest.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(read)) {
            hint.set_upper(upper);
        }
        hint
    }
}
