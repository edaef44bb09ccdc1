//! What was learned of a server's limits, as a plain value.

use crate::Quota;

/// What was learned of a server's limits: to be kept by the caller, so that a restart does not start
/// blind.
///
/// A plain value: write its [quotas](Learned::known_quotas) and its [rate](Learned::known_rate) wherever
/// settings are kept, and make it again from them. The level of the quotas is not part of it: after a
/// restart they are full until the server's first word.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aplomb_rate_limit::{Dimension, Learned, RateLimiter, Quota};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let limiter = RateLimiter::new([]);
/// // … calls are made; before the program ends:
/// let learned = limiter.learned();
/// # let learned = learned.quotas([Quota::requests_per_minute(60)]).rate(Some(0.97));
/// let saved: Vec<(&str, u64, Duration, u32)> = learned
///     .known_quotas()
///     .iter()
///     .map(|quota| (quota.dimension().name(), quota.amount(), quota.window(), quota.max_burst()))
///     .collect();
/// let rate = learned.known_rate();
///
/// // … and when it runs again:
/// let quotas = saved.into_iter().map(|(name, amount, window, burst)| {
///     Quota::new(Dimension::named(name), amount, window).burst(burst)
/// });
/// let limiter = RateLimiter::new([]);
/// limiter.remember(&Learned::new().quotas(quotas).rate(rate));
/// # assert_eq!(limiter.learned(), learned);
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Learned {
    quotas: Vec<Quota>,
    rate: Option<f64>,
}

impl Learned {
    /// Nothing.
    pub const fn new() -> Self {
        Self { quotas: Vec::new(), rate: None }
    }

    /// Sets the quotas that the server told of.
    pub fn quotas(mut self, quotas: impl IntoIterator<Item = Quota>) -> Self {
        self.quotas = quotas.into_iter().collect();
        self
    }

    /// Sets the rate, in calls per second, at which a server that tells nothing was found to refuse.
    /// What is not a positive number is ignored when it is remembered.
    pub const fn rate(mut self, per_second: Option<f64>) -> Self {
        self.rate = per_second;
        self
    }

    /// The quotas that the server told of.
    pub fn known_quotas(&self) -> &[Quota] {
        &self.quotas
    }

    /// The rate, in calls per second, at which a server that tells nothing was found to refuse.
    pub const fn known_rate(&self) -> Option<f64> {
        self.rate
    }
}
