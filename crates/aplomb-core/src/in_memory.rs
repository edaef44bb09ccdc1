//! Request bodies that are in memory.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use http_body::Body;

/// A request whose body may be in memory, so that it can be read before it is sent.
///
/// Implemented for HTTP requests whose body is cheap to clone (`Full<Bytes>`, `String`, `Bytes` and the like), and for
/// `reqwest::Request`.
pub trait InMemory {
    /// The bytes of the body, or `None` if they are not in memory: a stream.
    ///
    /// The bytes are shared if the body shares them. A body in several frames and the body of a `reqwest::Request` are
    /// copied.
    fn body_bytes(&self) -> Option<Bytes>;
}

impl<B: Body + Clone> InMemory for http::Request<B> {
    fn body_bytes(&self) -> Option<Bytes> {
        // A body of unknown size is produced while it is read, and may have no end.
        self.body().size_hint().exact()?;
        let mut body = std::pin::pin!(self.body().clone());
        let first = next(body.as_mut()).ok()?;
        if body.is_end_stream() {
            return Some(first.unwrap_or_default());
        }
        let Some(second) = next(body.as_mut()).ok()? else {
            return Some(first.unwrap_or_default());
        };
        let mut all = bytes::BytesMut::from(first.unwrap_or_default());
        all.extend_from_slice(&second);
        while let Some(more) = next(body.as_mut()).ok()? {
            all.extend_from_slice(&more);
        }
        Some(all.freeze())
    }
}

/// The bytes are not available yet, or never will be.
struct NotInMemory;

/// The next bytes of a body; `None` at its end.
fn next<B: Body>(mut body: Pin<&mut B>) -> Result<Option<Bytes>, NotInMemory> {
    loop {
        match body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Ok(mut data) = frame.into_data() {
                    return Ok(Some(data.copy_to_bytes(data.remaining())));
                }
            }
            Poll::Ready(None) => return Ok(None),
            Poll::Ready(Some(Err(_))) | Poll::Pending => return Err(NotInMemory),
        }
    }
}

#[cfg(feature = "reqwest-0-13")]
impl InMemory for reqwest::Request {
    fn body_bytes(&self) -> Option<Bytes> {
        match self.body() {
            None => Some(Bytes::new()),
            Some(body) => body.as_bytes().map(Bytes::copy_from_slice),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::{Frame, SizeHint};
    use http_body_util::{Empty, Full};
    use std::convert::Infallible;

    /// Returns its frames, and then ends or never ends.
    #[derive(Clone)]
    struct Frames(Vec<&'static str>, bool);

    impl Body for Frames {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.0.pop() {
                Some(text) => Poll::Ready(Some(Ok(Frame::data(Bytes::from(text))))),
                None if self.1 => Poll::Ready(None),
                None => Poll::Pending,
            }
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.0.len() as u64)
        }
    }

    #[test]
    fn bytes_in_memory_are_shared_and_streams_have_none() {
        let prompt = Bytes::from_static(b"a prompt");
        let request = http::Request::new(Full::new(prompt.clone()));
        assert_eq!(request.body_bytes().unwrap().as_ptr(), prompt.as_ptr());
        assert_eq!(http::Request::new("text".to_owned()).body_bytes().unwrap(), "text");
        assert_eq!(http::Request::new(Empty::<Bytes>::new()).body_bytes().unwrap(), "");
        let several = Frames(vec!["c", "b", "a"], true);
        assert_eq!(http::Request::new(several).body_bytes().unwrap(), "abc");
        assert_eq!(http::Request::new(Frames(vec!["a"], false)).body_bytes(), None);
    }

    #[cfg(feature = "reqwest-0-13")]
    #[test]
    fn of_reqwest_too() {
        let client = reqwest::Client::new();
        let request = client.post("http://localhost/").body("a prompt").build().unwrap();
        assert_eq!(request.body_bytes().unwrap(), "a prompt");
        assert_eq!(client.get("http://localhost/").build().unwrap().body_bytes().unwrap(), "");
    }
}
