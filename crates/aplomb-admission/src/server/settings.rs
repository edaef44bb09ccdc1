//! Which brakes there are.

use std::time::Duration;

use super::ShutCause;

/// Which brakes a [`Server`](super::Server) has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each switches one brake, whatever the others are"
)]
pub struct ServerSettings {
    pub(super) failures: bool,
    pub(super) throttles: bool,
    pub(super) places: bool,
    pub(super) pace: bool,
    pub(super) cold_start: bool,
    pub(super) spread: bool,
    pub(super) max_pause: Duration,
    pub(super) seed: Option<u64>,
}

impl ServerSettings {
    /// All of them; calls wait at most 120 s for a time that the server names.
    pub const fn new() -> Self {
        Self {
            failures: true,
            throttles: true,
            places: true,
            pace: true,
            cold_start: true,
            spread: false,
            max_pause: Duration::from_secs(120),
            seed: None,
        }
    }

    /// Sets whether it shuts when all calls fail.
    pub const fn failures(mut self, shut: bool) -> Self {
        self.failures = shut;
        self
    }

    /// Sets whether it shuts when all calls are throttled, and finds the [pace](Self::pace).
    pub const fn throttles(mut self, shut: bool) -> Self {
        self.throttles = shut;
        self
    }

    /// Sets whether it finds how many calls may be in flight.
    pub const fn places(mut self, places: bool) -> Self {
        self.places = places;
        self
    }

    /// Sets whether it finds the rate that the server accepts, where it shuts for throttles.
    pub const fn pace(mut self, pace: bool) -> Self {
        self.pace = pace;
        self
    }

    /// Sets whether a server of which nothing is known begins with a slow start. There is one after each outage.
    pub const fn cold_start(mut self, cold_start: bool) -> Self {
        self.cold_start = cold_start;
        self
    }

    /// Sets whether the calls of that slow start are spread over a few milliseconds each, so that few are refused.
    pub const fn spread(mut self, spread: bool) -> Self {
        self.spread = spread;
        self
    }

    /// Sets the longest time that calls wait because the server names it. If it names a longer one, they are rejected.
    pub const fn max_pause(mut self, pause: Duration) -> Self {
        self.max_pause = pause;
        self
    }

    /// Seeds the random part of the time between probes. Default: random.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    pub(super) const fn paces(&self) -> bool {
        self.throttles && self.pace
    }

    pub(super) const fn shuts_for(&self, cause: ShutCause) -> bool {
        match cause {
            ShutCause::Failures => self.failures,
            ShutCause::Throttles => self.throttles,
        }
    }
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self::new()
    }
}
