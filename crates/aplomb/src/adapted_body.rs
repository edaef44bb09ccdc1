//! The body of a request that an adapter hands to an endpoint.

use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// The body of a request on its way from a client's own request type to the same client: its bytes, if they are in memory,
/// and whatever else the adapter needs to make the client's request again.
///
/// The endpoint reads and changes the bytes. A body that is not in memory is not read here: the adapter sends it.
#[derive(Clone)]
pub struct AdaptedBody {
    bytes: Option<Bytes>,
    origin: Arc<dyn Any + Send + Sync>,
}

impl AdaptedBody {
    /// A body of these bytes, or one that only `origin` knows.
    pub const fn new(bytes: Option<Bytes>, origin: Arc<dyn Any + Send + Sync>) -> Self {
        Self { bytes, origin }
    }

    /// The bytes, and the adapter's own.
    pub fn into_parts(self) -> (Option<Bytes>, Arc<dyn Any + Send + Sync>) {
        (self.bytes, self.origin)
    }

    /// Replaces the bytes.
    pub(crate) fn set_bytes(&mut self, bytes: Bytes) {
        self.bytes = Some(bytes);
    }
}

impl Body for AdaptedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = self.bytes.as_mut().map(std::mem::take).filter(|bytes| !bytes.is_empty());
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.as_ref().is_some_and(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes
            .as_ref()
            .map_or_else(SizeHint::default, |bytes| SizeHint::with_exact(bytes.len() as u64))
    }
}

/// Without the bytes, which may contain a prompt.
impl fmt::Debug for AdaptedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptedBody")
            .field("in_memory", &self.bytes.is_some())
            .finish_non_exhaustive()
    }
}
