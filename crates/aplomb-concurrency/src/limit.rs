//! The limits that can be set: fixed and adaptive.

use crate::Latency;

/// How many calls may be in flight at a time.
///
/// A plain number is a fixed limit; an [`Adaptive`] one finds its level by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Limit {
    /// This many calls. 0 counts as 1.
    Fixed(usize),
    /// As many calls as the server can take.
    Adaptive(Adaptive),
}

/// A limit that finds its level by itself.
///
/// ```text
/// limit                          ·  ceiling remembered
///   │            ╱│      ___.·´ ╱   beyond it: 1, 2, 4 … more each round trip
///   │           ╱ │  .·´
///   │          ╱  │╱   half of the way to the ceiling each round trip
///   │        ╱    × overload: times ¾, once per round trip
///   │   __.·´ slow start: one more with each answer, twice as many each round trip
///   └───────────────────────────────────────► time
/// ```
///
/// It grows only with answers, and only while calls reach it; a response that is throttled, or rejected because of the
/// request or the account, does not raise it. It shrinks on overload and, if that is enabled, when
/// [answers take longer](Latency).
///
/// # Sources
///
/// Slow start, and ignoring calls sent before a decrease: TCP (RFC 5681, RFC 6582). Half of the way to the remembered
/// ceiling, and doubling steps beyond it: BIC-TCP (Xu, Harfoush, Rhee, INFOCOM 2004). Times 0.75 on the first failure
/// of a burst: the adaptive concurrency of NVIDIA's `NeMo Data Designer`, which raises it by one per 25 successes. Growth
/// only if the limit is in use: Netflix's `concurrency-limits`, and Linux's `tcp_is_cwnd_limited`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct Adaptive {
    pub(crate) initial: usize,
    pub(crate) min: usize,
    pub(crate) max: usize,
    pub(crate) decrease: f64,
    pub(crate) latency: Option<Latency>,
}

impl Adaptive {
    /// Starts at 4, stays between 1 and 1,000, shrinks to ¾ on overload, ignores latencies.
    pub const fn new() -> Self {
        Self { initial: 4, min: 1, max: 1_000, decrease: 0.75, latency: None }
    }

    /// Sets the initial limit: the most calls that a bad key or an exhausted account costs at first. Default: 4.
    pub const fn initial(mut self, calls: usize) -> Self {
        self.initial = calls;
        self
    }

    /// Sets the lower bound; 0 counts as 1. Default: 1.
    pub const fn min(mut self, calls: usize) -> Self {
        self.min = calls;
        self
    }

    /// Sets the upper bound; at least the lower bound. Default: 1,000.
    pub const fn max(mut self, calls: usize) -> Self {
        self.max = calls;
        self
    }

    /// Sets the factor by which overload lowers the limit. Default: ¾. Clamped to 0.1–0.99; NaN counts as ¾.
    pub const fn decrease(mut self, factor: f64) -> Self {
        self.decrease = if factor.is_nan() {
            0.75
        } else {
            factor.clamp(0.1, 0.99)
        };
        self
    }

    /// Also shrinks when answers take longer. Default: it does not.
    pub const fn latency(mut self, latency: Latency) -> Self {
        self.latency = Some(latency);
        self
    }

    /// The bounds, in order, as floating-point numbers.
    pub(crate) fn bounds(&self) -> (f64, f64) {
        let min = self.min.max(1);
        (count(min), count(self.max.max(min)))
    }
}

impl Default for Adaptive {
    fn default() -> Self {
        Self::new()
    }
}

impl From<usize> for Limit {
    fn from(calls: usize) -> Self {
        Self::Fixed(calls)
    }
}

impl From<Adaptive> for Limit {
    fn from(adaptive: Adaptive) -> Self {
        Self::Adaptive(adaptive)
    }
}

/// A number of calls, as a floating-point number.
#[expect(
    clippy::cast_precision_loss,
    reason = "there are fewer than 2^52 calls in flight"
)]
pub(crate) const fn count(calls: usize) -> f64 {
    calls as f64
}
