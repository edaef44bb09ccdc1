//! The bodies of answers.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Sleep, sleep};

use super::in_flight::InFlight;

/// The body of an answer: pieces, each after a pause. Or that of a mock.
pub struct Body(Kind);

enum Kind {
    Own {
        pieces: VecDeque<Piece>,
        pause: Option<Pin<Box<Sleep>>>,
        in_flight: Option<(InFlight, bool)>,
    },
    Mock(aplomb_mock::Body),
}

/// A part of a body, and the pause before it.
pub(crate) type Piece = (Duration, io::Result<Bytes>);

impl Body {
    /// All at once.
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        let pieces = VecDeque::from([(Duration::ZERO, Ok(bytes.into()))]);
        Self(Kind::Own { pieces, pause: None, in_flight: None })
    }

    /// Piece by piece; the request is in flight until the last piece, and then answered if that is `whole`.
    pub(crate) fn pieces(pieces: impl IntoIterator<Item = Piece>, in_flight: InFlight, whole: bool) -> Self {
        let pieces = pieces.into_iter().collect();
        Self(Kind::Own { pieces, pause: None, in_flight: Some((in_flight, whole)) })
    }
}

impl From<aplomb_mock::Body> for Body {
    fn from(body: aplomb_mock::Body) -> Self {
        Self(Kind::Mock(body))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.0 {
            Kind::Mock(body) => Pin::new(body).poll_frame(cx),
            Kind::Own { pieces, pause, in_flight } => {
                let Some((gap, _)) = pieces.front() else {
                    return Poll::Ready(None);
                };
                if !gap.is_zero() {
                    let pause = pause.get_or_insert_with(|| Box::pin(sleep(*gap)));
                    ready!(pause.as_mut().poll(cx));
                }
                *pause = None;
                let piece = pieces.pop_front().map(|(_, piece)| piece);
                if pieces.is_empty() {
                    if let Some((in_flight, whole)) = in_flight.take() {
                        in_flight.end(whole);
                    }
                }
                Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Own { pieces, .. } => pieces.is_empty(),
            Kind::Mock(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match &self.0 {
            Kind::Own { pieces, in_flight: None, .. } => {
                let bytes = pieces.iter().filter_map(|(_, piece)| Some(piece.as_ref().ok()?.len() as u64));
                http_body::SizeHint::with_exact(bytes.sum())
            }
            Kind::Own { .. } => http_body::SizeHint::new(),
            Kind::Mock(body) => body.size_hint(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}
