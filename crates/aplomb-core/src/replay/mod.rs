//! How a request is sent again.

mod recorded;
mod recorded_tape;
#[cfg(test)]
mod recorded_tests;

pub use self::recorded::{Recorded, Recording, ReplayBody};
pub use self::recorded_tape::Superseded;

/// A strategy that decides what the service receives and what is kept to send it again.
///
/// There is one for every kind of request: [`Copied`] for those that are cheap to copy, [`Recorded`]
/// for HTTP requests whose body is a stream, [`Once`] for those that must not be sent again.
pub trait Replay<Req> {
    /// What the inner service receives.
    type Sent;

    /// What is kept of a request until its call is over.
    type Kept;

    /// Takes a request that has not been sent yet.
    fn keep(&self, request: Req) -> Self::Kept;

    /// What is sent next, where more may follow; `None` if this request can not be sent and kept, or
    /// not any more.
    fn again(&self, kept: &mut Self::Kept) -> Option<Self::Sent>;

    /// What is sent where nothing was sent before and nothing will be after it.
    fn once(&self, kept: Self::Kept) -> Self::Sent;
}

/// A request that may be copied.
pub trait Copyable: Sized {
    /// A copy, or `None` if this one can not be copied: a `reqwest::Request` with a stream for a body.
    fn copy(&self) -> Option<Self>;
}

/// Copies the request before it is sent. The default.
///
/// HTTP requests are copied with their extensions; a body like `Full<Bytes>` is shared, not copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Copied;

/// Sends any request once.
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
