//! The latency that shows whether a server slows down.

use std::time::Duration;

/// How answers are timed, to detect that a server slows down under load.
///
/// The median of each sample of calls (as many as the limit, 8 to 64) is compared with a longer past. If it is slower by
/// more than the tolerance, and by more than chance explains, the limit shrinks in proportion, at most to half. Otherwise
/// it grows by its square root with each sample, while it is in use. So it oscillates around the point beyond which more
/// calls only make all calls slower. Each dip below that point measures the baseline again; no separate phase at a
/// minimum is needed.
///
/// Slowness that remains after the limit was halved is not caused by the number of calls, but by longer prompts or another
/// model. It becomes the new baseline.
///
/// # Sources
///
/// Long term against short term, headroom of √limit: Netflix's Gradient2, and Envoy's gradient controller, which is also
/// the source of the 25 % tolerance. Eight calls of each round trip are enough to end slow start: `HyStart` (Ha, Rhee,
/// 2008).
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct Latency {
    signal: Signal,
    tolerance: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    FirstByte,
    PerOutputToken,
}

impl Latency {
    /// The time from admission to the first byte of the body; to the head, if calls last
    /// [only until then](crate::ConcurrencyLimitLayer::until_head).
    ///
    /// Prompts of very different lengths change it too.
    pub const fn first_byte() -> Self {
        Self { signal: Signal::FirstByte, tolerance: 1.25 }
    }

    /// The time from admission to the end of the body, per output token, so that a long completion is not mistaken for a
    /// slow server.
    ///
    /// Requires a classifier that knows the usage, such as that of an endpoint. Answers whose usage is unknown are not
    /// timed.
    pub const fn per_output_token() -> Self {
        Self { signal: Signal::PerOutputToken, tolerance: 1.25 }
    }

    /// Sets how much slower answers may be before the limit shrinks, as a factor. Default: 1.25. At least 1.01, which NaN
    /// counts as too.
    pub const fn tolerance(mut self, factor: f64) -> Self {
        self.tolerance = if factor > 1.01 { factor } else { 1.01 };
        self
    }

    /// Returns whether a call in flight is known to be slower than one that took less than its age.
    pub(crate) const fn is_an_age(&self) -> bool {
        matches!(self.signal, Signal::FirstByte)
    }

    #[cfg(feature = "serde")]
    pub(crate) const fn factor(&self) -> f64 {
        self.tolerance
    }

    pub(crate) fn ln_tolerance(&self) -> f64 {
        self.tolerance.ln()
    }

    /// The latency of a call of this age whose first byte arrives now, in seconds.
    pub(crate) fn at_first_byte(&self, age: Duration) -> Option<f64> {
        matches!(self.signal, Signal::FirstByte).then(|| age.as_secs_f64())
    }

    /// The latency of a call of this age that ends now, in seconds or in seconds per token.
    pub(crate) fn at_end(&self, age: Duration, output: Option<u64>) -> Option<f64> {
        match self.signal {
            Signal::FirstByte => Some(age.as_secs_f64()),
            #[expect(clippy::cast_precision_loss, reason = "tokens of one answer")]
            Signal::PerOutputToken => {
                output.filter(|tokens| *tokens > 0).map(|tokens| age.as_secs_f64() / tokens as f64)
            }
        }
    }
}
