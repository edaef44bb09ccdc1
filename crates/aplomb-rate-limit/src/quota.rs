//! How much may be used per window.

use std::fmt;
use std::time::Duration;

use aplomb_core::Dimension;

use crate::Settle;

/// An amount of something per window of time, and how much of it may come at once.
///
/// The amount flows back continuously, as in a token bucket: after a burst, the next unit is available
/// `window / amount` later. In any span `w` at most `burst + amount · w / window` is admitted.
///
/// With the feature `serde` it can be serialized and deserialized.
///
/// # Examples
///
/// ```
/// use aplomb_rate_limit::Quota;
///
/// let requests = Quota::requests_per_minute(600).burst(20);
/// let tokens = Quota::tokens_per_minute(200_000);
/// assert_eq!((requests.amount(), requests.max_burst()), (600, 20));
/// assert_eq!(tokens.max_burst(), 200_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Quota {
    dimension: Dimension,
    amount: u64,
    window: Duration,
    burst: u32,
    settle: Option<Settle>,
}

/// An empty bucket takes no longer than this to fill, which keeps its arithmetic far from overflow (584 years in
/// nanoseconds).
const LONGEST_FILL: Duration = Duration::from_secs(400 * 24 * 60 * 60);

impl Quota {
    /// `amount` of `dimension` per `window`. Default burst: one second's worth of requests (at least one), the whole
    /// amount of anything else.
    ///
    /// The amount is clamped to at least 1, the window to between a microsecond
    /// and 400 days, and the rate to at most one unit per nanosecond.
    pub fn new(dimension: Dimension, amount: u64, window: Duration) -> Self {
        let window = window.clamp(Duration::from_micros(1), LONGEST_FILL);
        let most = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        let amount = amount.clamp(1, most);
        let at_once = if dimension == Dimension::REQUESTS {
            let a_seconds_worth = u128::from(amount) * Duration::from_secs(1).as_nanos() / window.as_nanos();
            a_seconds_worth.clamp(1, u128::from(amount))
        } else {
            u128::from(amount)
        };
        let burst = u32::try_from(at_once).unwrap_or(u32::MAX);
        Self { dimension, amount, window, burst, settle: None }
    }

    /// Requests per second; all of them may come at once.
    pub fn requests_per_second(amount: u64) -> Self {
        Self::new(Dimension::REQUESTS, amount, Duration::from_secs(1))
    }

    /// Requests per minute; one second's worth (at least one) may come at once, because providers
    /// enforce a minute's requests in slices of a second ("60,000 requests per minute may be enforced
    /// as 1,000 requests per second", OpenAI).
    pub fn requests_per_minute(amount: u64) -> Self {
        Self::new(Dimension::REQUESTS, amount, Duration::from_secs(60))
    }

    /// Requests per hour; one may come at once where that is less than one a second.
    pub fn requests_per_hour(amount: u64) -> Self {
        Self::new(Dimension::REQUESTS, amount, Duration::from_secs(60 * 60))
    }

    /// Requests per day; one may come at once where that is less than one a second.
    pub fn requests_per_day(amount: u64) -> Self {
        Self::new(Dimension::REQUESTS, amount, Duration::from_secs(24 * 60 * 60))
    }

    /// Tokens per minute, input and output together; the whole minute's may come at once, because
    /// providers enforce them as a bucket that is full at first.
    pub fn tokens_per_minute(amount: u64) -> Self {
        Self::new(Dimension::TOKENS, amount, Duration::from_secs(60))
    }

    /// Input tokens per minute; the whole minute's may come at once.
    pub fn input_tokens_per_minute(amount: u64) -> Self {
        Self::new(Dimension::INPUT_TOKENS, amount, Duration::from_secs(60))
    }

    /// Output tokens per minute; the whole minute's may come at once.
    pub fn output_tokens_per_minute(amount: u64) -> Self {
        Self::new(Dimension::OUTPUT_TOKENS, amount, Duration::from_secs(60))
    }

    /// Tokens per day; the whole day's may come at once.
    pub fn tokens_per_day(amount: u64) -> Self {
        Self::new(Dimension::TOKENS, amount, Duration::from_secs(24 * 60 * 60))
    }

    /// Sets how much may come at once. Clamped to at least 1, and to what takes 400 days to flow back.
    pub fn burst(mut self, burst: u32) -> Self {
        let most = LONGEST_FILL.as_nanos() / u128::from(self.interval());
        self.burst = burst.clamp(1, u32::try_from(most).unwrap_or(u32::MAX).max(1));
        self
    }

    /// Sets how the difference between the estimate and the actual use is settled. Default:
    /// [`Settle::Keep`] for requests, and [`Settle::DebtOnly`] for everything else.
    pub const fn settle(mut self, settle: Settle) -> Self {
        self.settle = Some(settle);
        self
    }

    /// The dimension that it counts.
    #[must_use]
    pub const fn dimension(&self) -> Dimension {
        self.dimension
    }

    /// The amount per window.
    #[must_use]
    pub const fn amount(&self) -> u64 {
        self.amount
    }

    /// The window.
    #[must_use]
    pub const fn window(&self) -> Duration {
        self.window
    }

    /// How much may come at once.
    #[must_use]
    pub const fn max_burst(&self) -> u32 {
        self.burst
    }

    /// How the difference between the estimate and the actual use is settled.
    #[must_use]
    pub fn settles(&self) -> Settle {
        self.settles_else(Settle::DebtOnly)
    }

    #[cfg(feature = "serde")]
    pub(crate) const fn own_settle(&self) -> Option<Settle> {
        self.settle
    }

    /// The same with another default than [`Settle::DebtOnly`].
    pub(crate) fn settles_else(&self, usual: Settle) -> Settle {
        let unset = if self.dimension == Dimension::REQUESTS {
            Settle::Keep
        } else {
            usual
        };
        self.settle.unwrap_or(unset)
    }

    /// The most that one call may cost: the amount per window, or the burst if that is more.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.amount.max(self.burst.into())
    }

    /// How long one unit takes to flow back, in nanoseconds. Rounded up, so that never a unit too many is admitted.
    pub(crate) fn interval(&self) -> u64 {
        let nanos = self.window.as_nanos().div_ceil(u128::from(self.amount));
        u64::try_from(nanos).unwrap_or(u64::MAX).max(1)
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dimension, amount, window, burst, .. } = self;
        write!(f, "{amount} {dimension} per {window:?}, burst {burst}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promise_22_a_minutes_requests_come_in_slices_of_a_second_and_its_tokens_at_once() {
        assert_eq!(Quota::requests_per_minute(600).max_burst(), 10);
        assert_eq!(Quota::requests_per_minute(10).max_burst(), 1);
        assert_eq!(Quota::requests_per_second(50).max_burst(), 50);
        assert_eq!(Quota::requests_per_day(1_000).max_burst(), 1);
        assert_eq!(Quota::tokens_per_minute(90_000).max_burst(), 90_000);
    }

    #[test]
    fn promise_17_intervals_are_rounded_up() {
        // 44 million a minute is one per 1363.63… ns; 450 million one per 133.3… ns.
        assert_eq!(Quota::tokens_per_minute(44_000_000).interval(), 1_364);
        assert_eq!(Quota::tokens_per_minute(450_000_000).interval(), 134);
    }

    #[test]
    fn a_days_tokens_may_be_billions() {
        let quota = Quota::tokens_per_day(4_320_000_000);
        assert_eq!((quota.amount(), quota.max_burst(), quota.interval()), (4_320_000_000, u32::MAX, 20_000));
    }

    #[test]
    fn senseless_numbers_are_clamped() {
        let never = Quota::new(Dimension::REQUESTS, 0, Duration::ZERO);
        assert_eq!((never.amount(), never.window()), (1, Duration::from_micros(1)));
        let vast = Quota::new(Dimension::TOKENS, 1, Duration::MAX).burst(u32::MAX);
        assert_eq!(vast.max_burst(), 1);
        let daily = Quota::requests_per_day(1).burst(u32::MAX);
        assert_eq!(daily.max_burst(), 400);
        let dense = Quota::new(Dimension::TOKENS, u64::MAX, Duration::from_micros(1));
        assert_eq!((dense.amount(), dense.interval()), (1_000, 1));
    }
}
