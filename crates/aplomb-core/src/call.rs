//! Options of one call.

use std::future::poll_fn;
use std::pin::pin;

use tokio::time::Instant;

use crate::current_call::CurrentCall;
use crate::{Outcome, RequestHead};

/// Options of one call, in its request's extensions.
///
/// If the request type has no extensions (`reqwest::Request`), run the call inside [`CallOptions::scope`]. Options in
/// the extensions take precedence.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aplomb_core::{CallOptions, Priority};
/// use tokio::time::Instant;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let options = CallOptions::new()
///     .with_deadline(Instant::now() + Duration::from_secs(30))
///     .with_priority(Priority::HIGH);
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(options);
/// assert_eq!(CallOptions::of(&request), options);
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct CallOptions {
    deadline: Option<Instant>,
    priority: Priority,
    no_retry: bool,
    arrived: Option<Instant>,
    attempts: u32,
    last: Option<Outcome>,
}

/// How urgent a call is. Lower levels go first; the default is [`Priority::NORMAL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// Before everything else.
    pub const HIGH: Self = Self(0);
    /// The default.
    pub const NORMAL: Self = Self(1);
    /// When nothing else waits, or after a long wait.
    pub const LOW: Self = Self(2);

    /// Any other level; 0 is the most urgent.
    #[must_use]
    pub const fn level(level: u8) -> Self {
        Self(level)
    }

    /// The level; 0 is the most urgent.
    #[doc(hidden)]
    pub const fn to_level(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::NORMAL
    }
}

impl CallOptions {
    /// No deadline, normal priority, retries as configured.
    pub const fn new() -> Self {
        Self {
            deadline: None,
            priority: Priority::NORMAL,
            no_retry: false,
            arrived: None,
            attempts: 0,
            last: None,
        }
    }

    /// Sets the instant by which the call must have ended, including waits. If several are set, the earliest
    /// applies.
    pub fn with_deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(self.deadline.map_or(deadline, |earlier| earlier.min(deadline)));
        self
    }

    /// Sets how urgent the call is. Default: [`Priority::NORMAL`].
    pub const fn with_priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Disables retries for this call.
    pub const fn without_retry(mut self) -> Self {
        self.no_retry = true;
        self
    }

    /// Sets since when the call has been waiting, which determines its place in a queue. A retry sets it, so that a
    /// retried call does not go to the end of the queue.
    pub fn with_arrival(mut self, arrived: Instant) -> Self {
        self.arrived = Some(arrived);
        self
    }

    /// Removes the time of the arrival: the call goes behind those who wait.
    #[doc(hidden)]
    pub fn without_arrival(mut self) -> Self {
        self.arrived = None;
        self
    }

    /// Sets how many attempts have been sent, and the outcome of the last one. A retry sets it.
    pub fn with_attempts(mut self, attempts: u32, last: Outcome) -> Self {
        self.attempts = attempts;
        self.last = Some(last);
        self
    }

    /// The instant by which the call must have ended.
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How urgent the call is.
    pub const fn priority(&self) -> Priority {
        self.priority
    }

    /// Returns whether the call may be retried.
    pub const fn allows_retry(&self) -> bool {
        !self.no_retry
    }

    /// When the call first arrived, if it is being retried.
    pub const fn arrived(&self) -> Option<Instant> {
        self.arrived
    }

    /// How many attempts of this call have been sent.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The outcome of the last attempt that was sent.
    pub const fn last(&self) -> Option<Outcome> {
        self.last
    }

    /// The options of `request`: those that it carries, or else those in [scope](Self::scope), or the defaults.
    pub fn of<R: RequestHead + ?Sized>(request: &R) -> Self {
        request.call_options().or_else(Self::current).unwrap_or_default()
    }

    /// The options in [scope](Self::scope), if any.
    #[inline]
    pub fn current() -> Option<Self> {
        CurrentCall::options()
    }

    /// Runs `call` with these options in scope: for requests that have no extensions. A spawned task does not see
    /// them.
    pub async fn scope<F: Future>(self, call: F) -> F::Output {
        let mut call = pin!(call);
        poll_fn(|cx| self.sync_scope(|| call.as_mut().poll(cx))).await
    }

    /// Runs `step` with these options in scope.
    pub fn sync_scope<T>(self, step: impl FnOnce() -> T) -> T {
        CurrentCall::with_options(self, step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn options_of_a_request_come_before_those_in_scope() {
        let outer = CallOptions::new().without_retry();
        let inner = CallOptions::new().with_priority(Priority::LOW);
        let mut request = http::Request::new(());
        outer
            .scope(async {
                assert_eq!(CallOptions::of(&request), outer);
                request.extensions_mut().insert(inner);
                assert_eq!(CallOptions::of(&request), inner);
            })
            .await;
        assert_eq!(CallOptions::of(&"no extensions"), CallOptions::new());
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_deadline_holds() {
        let soon = Instant::now() + Duration::from_secs(1);
        let late = soon + Duration::from_secs(1);
        assert_eq!(CallOptions::new().with_deadline(late).with_deadline(soon).deadline(), Some(soon));
        assert_eq!(CallOptions::new().with_deadline(soon).with_deadline(late).deadline(), Some(soon));
    }
}
