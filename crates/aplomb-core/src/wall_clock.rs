//! The one place where the wall clock is read.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// Tells the time of day, for one purpose: to read an HTTP date where the response has no `Date`.
///
/// Everything else runs on tokio's clock. The default reads the system's; tests inject their own.
#[derive(Clone, Default)]
pub struct WallClock(Option<Arc<dyn Fn() -> SystemTime + Send + Sync>>);

impl WallClock {
    /// The system's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(None)
    }

    /// A clock of the caller's own.
    #[must_use]
    pub fn from_fn(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(now)))
    }

    /// Reads the clock.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        match &self.0 {
            Some(now) => now(),
            #[expect(
                clippy::disallowed_methods,
                reason = "the one place that reads the wall clock, for dates in headers"
            )]
            None => SystemTime::now(),
        }
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "WallClock(injected)"
        } else {
            "WallClock(system)"
        })
    }
}
