//! How a request is sent again.

mod recorded;
#[cfg(test)]
mod recorded_tests;
mod tape;

pub use self::recorded::{Recorded, Recording, ReplayBody};

/// How a request is sent again.
///
/// [`Copied`] is for requests that are cheap to copy, [`Recorded`] for HTTP requests with a streaming body,
/// [`Once`] for requests that are sent only once.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot send a `{Req}` again",
    label = "no way to send this request more than once",
    note = "for a streaming body use `.replay(Recorded::new())`; to send it only once, `.replay(Once)`"
)]
pub trait Replay<Req> {
    /// The request as the inner service receives it.
    type Sent;

    /// The state that is kept until the call is over.
    type Kept;

    /// Takes a request that has not been sent.
    fn keep(&self, request: Req) -> Self::Kept;

    /// Returns the request for the next attempt, after which more may follow; `None` if it cannot be sent and
    /// kept, or not any more.
    fn again(&self, kept: &mut Self::Kept) -> Option<Self::Sent>;

    /// Returns the request for the only attempt.
    fn once(&self, kept: Self::Kept) -> Self::Sent;
}

/// A request that can be copied: `http::Request` with a body that is `Clone`, `reqwest::Request`, and simple types.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be copied, so it cannot be sent again",
    label = "requests are copied before they are sent",
    note = "an `http::Request<B>` can be copied if its body is `Clone`: `B: Clone`",
    note = "for a streaming body use `.replay(Recorded::new())`; to send it only once, `.replay(Once)`"
)]
pub trait Copyable: Sized {
    /// Returns a copy, or `None` if this one cannot be copied: a `reqwest::Request` with a streaming body.
    fn copy(&self) -> Option<Self>;
}

/// Copies the request before it is sent. The default.
///
/// HTTP requests are copied with their extensions. A body like `Full<Bytes>` is shared, not copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Copied;

/// Sends each request only once, whatever its type.
#[derive(Clone, Copy, Debug, Default)]
pub struct Once;

impl<Req: Copyable> Replay<Req> for Copied {
    type Sent = Req;
    type Kept = Req;

    #[inline]
    fn keep(&self, request: Req) -> Req {
        request
    }

    #[inline]
    fn again(&self, kept: &mut Req) -> Option<Req> {
        kept.copy()
    }

    #[inline]
    fn once(&self, kept: Req) -> Req {
        kept
    }
}

impl<Req> Replay<Req> for Once {
    type Sent = Req;
    type Kept = Req;

    fn keep(&self, request: Req) -> Req {
        request
    }

    fn again(&self, _: &mut Req) -> Option<Req> {
        None
    }

    fn once(&self, kept: Req) -> Req {
        kept
    }
}

impl<B: Clone> Copyable for http::Request<B> {
    #[inline]
    fn copy(&self) -> Option<Self> {
        Some(self.clone())
    }
}

#[cfg(feature = "reqwest-0-13")]
impl Copyable for reqwest::Request {
    fn copy(&self) -> Option<Self> {
        self.try_clone()
    }
}

/// Types for services that are not HTTP.
macro_rules! copyable {
    ($($type:ty),*) => {$(
        impl Copyable for $type {
            fn copy(&self) -> Option<Self> {
                Some(self.clone())
            }
        }
    )*};
}

copyable!((), &str, String, bytes::Bytes, Vec<u8>, u8, u16, u32, u64, usize, i32, i64);
