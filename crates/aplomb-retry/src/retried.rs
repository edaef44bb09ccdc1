//! How a call went, as its response reports it.

use std::time::Duration;

use aplomb_core::StopReason;

/// How a call went: how many attempts it took, and why there was no further one.
///
/// In the extensions of the response, unless the first attempt succeeded. Under an outer retry layer it
/// describes the attempts of the outer layer.
///
/// # Examples
///
/// ```
/// use aplomb_retry::Retried;
///
/// fn log<B>(response: &http::Response<B>) {
///     if let Some(retried) = response.extensions().get::<Retried>() {
///         println!("{} attempts, waited {:?}", retried.attempts(), retried.waited());
///     }
/// }
/// # log(&http::Response::new(()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retried {
    pub(crate) attempts: u32,
    pub(crate) waited: Duration,
    pub(crate) stopped: Option<StopReason>,
}

impl Retried {
    /// How many attempts were made.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How long the call waited between attempts.
    pub const fn waited(&self) -> Duration {
        self.waited
    }

    /// Why there was no further attempt; `None` if the last one succeeded.
    pub const fn stopped(&self) -> Option<StopReason> {
        self.stopped
    }
}
