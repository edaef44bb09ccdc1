//! Reading a body to its end, or to a limit, and handing it on as it came.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of an endpoint's response: untouched, or read ahead and handed on.
    ///
    /// What was read ahead comes as one frame, then trailers, an error, or what was left.
    pub struct ReadBody<B>
    where
        B: Body,
    {
        #[pin]
        body: Inner<B>,
    }
}

pin_project! {
    #[project = InnerProj]
    enum Inner<B>
    where
        B: Body,
    {
        Untouched { #[pin] body: B },
        Read { ahead: ReadAhead<B> },
    }
}

/// What was read of a body, and what comes after that.
pub(super) struct ReadAhead<B: Body> {
    data: Bytes,
    then: Then<B>,
}

pub(super) enum Then<B: Body> {
    End,
    Trailers(HeaderMap),
    Failed(B::Error),
    Rest(Pin<Box<B>>),
}

impl<B: Body> ReadBody<B> {
    pub(super) const fn untouched(body: B) -> Self {
        Self { body: Inner::Untouched { body } }
    }
}

impl<B: Body> From<ReadAhead<B>> for ReadBody<B> {
    fn from(ahead: ReadAhead<B>) -> Self {
        Self { body: Inner::Read { ahead } }
    }
}

impl<B: Body> ReadAhead<B> {
    pub(super) fn data(&self) -> &[u8] {
        &self.data
    }

    pub(super) const fn then(&self) -> &Then<B> {
        &self.then
    }

    /// The error the body ended with, or what was read.
    pub(super) fn into_result(self) -> Result<Self, B::Error> {
        match self.then {
            Then::Failed(error) => Err(error),
            _ => Ok(self),
        }
    }
}

/// Reads a body until it ends or more than `limit` bytes are there.
pub(super) struct Reading<B: Body> {
    body: Option<Pin<Box<B>>>,
    data: BytesMut,
    read: usize,
    limit: usize,
}

impl<B: Body<Data = Bytes>> Reading<B> {
    pub(super) fn new(body: B, limit: usize) -> Self {
        Self { body: Some(Box::pin(body)), data: BytesMut::new(), read: 0, limit }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ReadAhead<B>> {
        let mut then = Then::End;
        while let Some(body) = &mut self.body {
            match ready!(body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.data.extend_from_slice(&data);
                        // A frame costs something even where it is empty.
                        self.read += data.len().max(1);
                    }
                    Err(frame) => {
                        then = frame.into_trailers().map_or(Then::End, Then::Trailers);
                        break;
                    }
                },
                Some(Err(error)) => {
                    then = Then::Failed(error);
                    break;
                }
                None => break,
            }
            if self.read > self.limit {
                return Poll::Ready(self.stop());
            }
        }
        self.body = None;
        Poll::Ready(ReadAhead { then, ..self.stop() })
    }

    /// What has been read by now; the rest comes as it will.
    pub(super) fn stop(&mut self) -> ReadAhead<B> {
        let then = self.body.take().map_or(Then::End, Then::Rest);
        ReadAhead { data: std::mem::take(&mut self.data).freeze(), then }
    }
}

impl<B: Body<Data = Bytes>> Body for ReadBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let read = match self.project().body.project() {
            InnerProj::Untouched { body } => return body.poll_frame(cx),
            InnerProj::Read { ahead } => ahead,
        };
        if !read.data.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut read.data)))));
        }
        match std::mem::replace(&mut read.then, Then::End) {
            Then::End => Poll::Ready(None),
            Then::Trailers(trailers) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Then::Failed(error) => Poll::Ready(Some(Err(error))),
            Then::Rest(mut rest) => {
                let frame = rest.as_mut().poll_frame(cx);
                if !matches!(frame, Poll::Ready(None)) {
                    read.then = Then::Rest(rest);
                }
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Inner::Untouched { body } => body.is_end_stream(),
            Inner::Read { ahead } if !ahead.data.is_empty() => false,
            Inner::Read { ahead } => match &ahead.then {
                Then::End => true,
                Then::Rest(rest) => rest.is_end_stream(),
                Then::Trailers(_) | Then::Failed(_) => false,
            },
        }
    }

    fn size_hint(&self) -> SizeHint {
        let ReadAhead { data, then } = match &self.body {
            Inner::Untouched { body } => return body.size_hint(),
            Inner::Read { ahead } => ahead,
        };
        let read = data.len() as u64;
        match then {
            Then::End | Then::Trailers(_) => SizeHint::with_exact(read),
            // An error may stand for what was still to come.
            Then::Failed(_) => SizeHint::default(),
            Then::Rest(rest) => {
                let mut hint = rest.size_hint();
                if let Some(upper) = hint.upper() {
                    hint.set_upper(upper.saturating_add(read));
                }
                hint.set_lower(hint.lower().saturating_add(read));
                hint
            }
        }
    }
}

impl<B: Body> fmt::Debug for ReadBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What was read may repeat a prompt or hold a completion.
        f.write_str(match self.body {
            Inner::Untouched { .. } => "ReadBody(untouched)",
            Inner::Read { .. } => "ReadBody(read ahead)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Full, StreamBody};
    use std::io;
    use tokio_test::task;

    type Frames = Vec<Result<Frame<Bytes>, io::Error>>;

    const fn text(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn read(frames: Frames, limit: usize) -> ReadAhead<impl Body<Data = Bytes, Error = io::Error>> {
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let mut reading = Reading::new(body, limit);
        let mut task = task::spawn(());
        let Poll::Ready(read) = task.enter(|cx, _| reading.poll(cx)) else {
            panic!("all frames are there");
        };
        read
    }

    #[tokio::test]
    async fn a_body_is_handed_on_with_its_trailers() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-cost", http::HeaderValue::from_static("3"));
        let ahead = read(
            vec![
                Ok(Frame::data(text("ab"))),
                Ok(Frame::data(text("cd"))),
                Ok(Frame::trailers(trailers.clone())),
            ],
            100,
        );
        assert_eq!(ahead.data(), b"abcd");
        let body = ReadBody::from(ahead).collect().await.unwrap();
        assert_eq!(body.trailers(), Some(&trailers));
        assert_eq!(body.to_bytes(), "abcd");
    }

    #[tokio::test]
    async fn above_the_limit_the_rest_flows_on() {
        let ahead = read(
            vec![
                Ok(Frame::data(text("abc"))),
                Ok(Frame::data(text("def"))),
                Ok(Frame::data(text("ghi"))),
            ],
            4,
        );
        assert_eq!(ahead.data(), b"abcdef");
        let body = ReadBody::from(ahead);
        assert!(!body.is_end_stream());
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abcdefghi");
    }

    #[tokio::test]
    async fn an_error_keeps_its_place() {
        let mut body =
            ReadBody::from(read(vec![Ok(Frame::data(text("abc"))), Err(io::Error::other("cut"))], 100));
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "abc");
        assert_eq!(body.frame().await.unwrap().unwrap_err().to_string(), "cut");
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn an_untouched_body_is_the_body() {
        let body = ReadBody::untouched(Full::new(Bytes::from_static(b"hello")));
        assert_eq!(body.size_hint().exact(), Some(5));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
    }
}
