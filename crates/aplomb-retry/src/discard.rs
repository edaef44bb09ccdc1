//! Failed responses are drained before the retry, so that their connection can be reused.

use std::fmt;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll, ready as ready_or_pending};

use bytes::{Buf, Bytes};
use http_body::Body;
use pin_project_lite::pin_project;

/// Reading more than this costs more than a new connection.
const MAX_DRAINED: u64 = 64 * 1024;

/// A response type that [`Retry`](crate::Retry) can get rid of before it sends the request again.
///
/// HTTP responses, those of reqwest included, are drained so that their connection can be reused: at most
/// 64 KiB are read, for at most one second; a body that announces more is dropped at once.
///
/// # Examples
///
/// A response of your own that is just dropped:
///
/// ```
/// use std::future::{Ready, ready};
/// use aplomb_retry::Discard;
///
/// struct MyResponse;
///
/// impl Discard for MyResponse {
///     type Discarding = Ready<()>;
///
///     fn discard(self) -> Ready<()> {
///         ready(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be discarded before a retry",
    label = "a response of this type may have to be dropped before the request is sent again",
    note = "an `http::Response<B>` needs a body: `B: http_body::Body`",
    note = "implement `aplomb_retry::Discard` for a response type of your own: five lines, see its documentation"
)]
pub trait Discard {
    /// Completes when the response has been discarded. It is polled for at most one second and not past the
    /// deadline, then dropped.
    type Discarding: Future<Output = ()>;

    /// Begins to discard the response.
    fn discard(self) -> Self::Discarding;
}

impl<B: Body> Discard for http::Response<B> {
    type Discarding = Draining<B>;

    fn discard(self) -> Draining<B> {
        Draining::new(self.into_body())
    }
}

#[cfg(feature = "reqwest-0-13")]
impl Discard for reqwest::Response {
    type Discarding = Draining<reqwest::Body>;

    fn discard(self) -> Draining<reqwest::Body> {
        Draining::new(self.into())
    }
}

/// Types for services that are not HTTP.
macro_rules! dropped {
    ($($type:ty),*) => {$(
        impl Discard for $type {
            type Discarding = Ready<()>;

            fn discard(self) -> Ready<()> {
                ready(())
            }
        }
    )*};
}

dropped!((), &str, String, Bytes, Vec<u8>, u8, u16, u32, u64, usize, i32, i64);

pin_project! {
    /// Reads a short body to its end, to discard it.
    pub struct Draining<B> {
        #[pin]
        body: B,
        left: u64,
    }
}

impl<B: Body> Draining<B> {
    fn new(body: B) -> Self {
        let announced = body.size_hint().lower();
        let left = if announced > MAX_DRAINED { 0 } else { MAX_DRAINED };
        Self { body, left }
    }
}

impl<B: Body> Future for Draining<B> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        while *this.left > 0 && !this.body.is_end_stream() {
            let Some(Ok(frame)) = ready_or_pending!(this.body.as_mut().poll_frame(cx)) else {
                break;
            };
            let length = frame.data_ref().map_or(0, Buf::remaining);
            // A frame counts as at least one byte: there could be empty frames without end.
            *this.left = this.left.saturating_sub((length as u64).max(1));
        }
        Poll::Ready(())
    }
}

impl<B> fmt::Debug for Draining<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draining").field("left", &self.left).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use std::convert::Infallible;

    /// An endless body of frames of `length` bytes, and how many were requested.
    struct Endless {
        length: usize,
        asked: usize,
    }

    impl Body for Endless {
        type Data = bytes::Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Infallible>>> {
            self.asked += 1;
            Poll::Ready(Some(Ok(http_body::Frame::data(vec![0; self.length].into()))))
        }
    }

    async fn asked(length: usize) -> usize {
        let mut draining = Box::pin(Draining::new(Endless { length, asked: 0 }));
        draining.as_mut().await;
        draining.body.asked
    }

    #[tokio::test]
    async fn an_endless_body_is_not_read_forever() {
        assert_eq!(asked(1_024).await, 64);
        assert_eq!(asked(1 << 20).await, 1);
        assert_eq!(asked(0).await, 65_536);
    }

    #[tokio::test]
    async fn a_body_that_announces_too_much_is_not_read() {
        let body = Full::new(bytes::Bytes::from(vec![0; 65_537]));
        let draining = Draining::new(body);
        assert_eq!(draining.left, 0);
        draining.await;
    }

    #[tokio::test]
    async fn an_error_ends_it() {
        struct Broken;
        impl Body for Broken {
            type Data = bytes::Bytes;
            type Error = &'static str;

            fn poll_frame(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, &'static str>>> {
                Poll::Ready(Some(Err("reset")))
            }
        }
        Draining::new(Broken).await;
    }
}
