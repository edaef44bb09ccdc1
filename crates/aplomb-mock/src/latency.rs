//! The time to an answer.

use std::ops::Range;
use std::time::Duration;

use crate::draw::{self, Lot};

/// The longest latency, however long the tail of a distribution.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// The time from accepting a request to the first byte of its answer.
///
/// It is drawn for each attempt of a prompt, by the seed of the [`Plan`](crate::Plan), and is at most an hour. Planned faults
/// come after it too; refusals (400, 401, 429, outages) come at once. Default: zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency(Shape);

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Constant(Duration),
    Uniform(Range<Duration>),
    LogNormal { median: Duration, sigma: f64 },
}

impl Default for Latency {
    fn default() -> Self {
        Self::constant(Duration::ZERO)
    }
}

impl Latency {
    /// Always takes this long.
    pub const fn constant(latency: Duration) -> Self {
        Self(Shape::Constant(latency))
    }

    /// Takes any time in the range, all equally likely. An empty range means its start.
    pub const fn uniform(range: Range<Duration>) -> Self {
        Self(Shape::Uniform(range))
    }

    /// Takes `median · exp(sigma · z)` for a standard normal `z`: half are shorter than `median`, and the tail is long.
    ///
    /// The 99th percentile is `median · exp(2.33 · sigma)`. A `sigma` that is negative or not finite counts as 0.
    pub fn lognormal(median: Duration, sigma: f64) -> Self {
        let sigma = if sigma.is_finite() { sigma.max(0.0) } else { 0.0 };
        Self(Shape::LogNormal { median, sigma })
    }

    /// Returns the latency of the `attempt`-th accepted attempt of a prompt with this seed. The first is 1.
    pub fn draw(&self, seed: u64, prompt: &str, attempt: u32) -> Duration {
        self.draw_for(seed, draw::key(prompt), attempt)
    }

    pub(crate) fn draw_for(&self, seed: u64, key: u64, attempt: u32) -> Duration {
        let unit = |lot| draw::unit(seed, key, attempt.into(), lot);
        let latency = match &self.0 {
            Shape::Constant(latency) => *latency,
            Shape::Uniform(range) => {
                let width = range.end.saturating_sub(range.start);
                range.start.saturating_add(width.mul_f64(unit(Lot::Latency)))
            }
            Shape::LogNormal { median, sigma } => {
                let z = normal(unit(Lot::Latency), unit(Lot::LatencySpread));
                let seconds = median.as_secs_f64() * (sigma * z).exp();
                Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST)
            }
        };
        latency.min(LONGEST)
    }
}

/// A standard normal from two uniforms (Box and Muller 1958).
fn normal(u: f64, v: f64) -> f64 {
    // `1 - u` is never 0, whose logarithm is infinite.
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lognormal_has_its_median_in_the_middle() {
        let median = Duration::from_millis(100);
        let latency = Latency::lognormal(median, 1.0);
        let above = (0..10_000).filter(|n| latency.draw(1, &n.to_string(), 1) > median).count();
        assert!((4_800..5_200).contains(&above), "{above}");
    }

    #[test]
    fn uniform_stays_in_its_range() {
        let range = Duration::from_millis(10)..Duration::from_millis(20);
        let latency = Latency::uniform(range.clone());
        assert!((0..1_000).all(|n| range.contains(&latency.draw(1, &n.to_string(), 1))));
    }

    #[test]
    fn nonsense_is_bounded() {
        assert_eq!(Latency::lognormal(Duration::MAX, f64::INFINITY).draw(1, "p", 1), LONGEST);
        assert_eq!(Latency::constant(Duration::MAX).draw(1, "p", 1), LONGEST);
        let backwards = Duration::from_secs(2)..Duration::from_secs(1);
        assert_eq!(Latency::uniform(backwards).draw(1, "p", 1), Duration::from_secs(2));
    }
}
