//! What becomes of a failed response that is not handed to the caller.

use std::fmt;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll, ready as ready_or_pending};

use bytes::Buf;
use http_body::Body;
use pin_project_lite::pin_project;

/// A body longer than this costs more to read than a new connection.
const MOST_DRAINED: u64 = 64 * 1024;

/// Gets rid of a failed response before the request is sent again.
///
/// The layer polls the future for at most one second, and not past the deadline; then it drops it.
pub trait Discard<Res> {
    /// Ends when the response has been dropped.
    type Discarding: Future<Output = ()>;

    /// Takes the response.
    fn discard(&self, response: Res) -> Self::Discarding;
}

/// Reads the body of a failed HTTP response to its end, if it is short, so that the connection can
/// be used again. The default.
///
/// At most 64 KiB are read, for at most one second; a body that announces more is dropped at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drain;

/// Drops the failed response, of whatever type.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dropped;

impl<Res> Discard<Res> for Dropped {
    type Discarding = Ready<()>;

    fn discard(&self, _: Res) -> Ready<()> {
        ready(())
    }
}

impl<B: Body> Discard<http::Response<B>> for Drain {
    type Discarding = Draining<B>;

    fn discard(&self, response: http::Response<B>) -> Draining<B> {
        Draining::new(response.into_body())
    }
}

#[cfg(feature = "reqwest-0-13")]
impl Discard<reqwest::Response> for Drain {
    type Discarding = Draining<reqwest::Body>;

    fn discard(&self, response: reqwest::Response) -> Draining<reqwest::Body> {
        Draining::new(response.into())
    }
}

pin_project! {
    /// Reads a short body to its end.
    pub struct Draining<B> {
        #[pin]
        body: B,
        left: u64,
    }
}

impl<B: Body> Draining<B> {
    fn new(body: B) -> Self {
        let announced = body.size_hint().lower();
        let left = if announced > MOST_DRAINED { 0 } else { MOST_DRAINED };
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
            // A frame counts as a byte at least: frames without any could go on for ever.
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

    /// Frames without end, of `length` bytes each, and how many were asked for.
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
    async fn an_endless_body_is_not_read_for_ever() {
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
