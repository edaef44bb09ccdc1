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

    /// What is kept while an attempt runs.
    type Kept;

    /// Splits a request into what is sent first and what is kept: left in `kept`, which is `None`
    /// before, unless the request can not be sent again.
    ///
    /// In place, since a request is large enough that each move of it counts.
    fn keep(&self, request: Req, kept: &mut Option<Self::Kept>) -> Self::Sent;

    /// What is sent the next time, or `None` if it can not be sent again after all.
    fn again(&self, kept: &mut Self::Kept) -> Option<Self::Sent>;

    /// What is sent where it is known beforehand that nothing will be sent again: keeps nothing.
    fn once(&self, request: Req) -> Self::Sent {
        self.keep(request, &mut None)
    }
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
    fn keep(&self, request: Req, kept: &mut Option<Req>) -> Req {
        *kept = request.copy();
        request
    }

    #[inline]
    fn again(&self, kept: &mut Req) -> Option<Req> {
        kept.copy()
    }

    #[inline]
    fn once(&self, request: Req) -> Req {
        request
    }
}

impl<Req> Replay<Req> for Once {
    type Sent = Req;
    type Kept = std::convert::Infallible;

    fn keep(&self, request: Req, _: &mut Option<Self::Kept>) -> Req {
        request
    }

    fn again(&self, kept: &mut Self::Kept) -> Option<Req> {
        match *kept {}
    }
}

impl<B: Clone> Copyable for http::Request<B> {
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
