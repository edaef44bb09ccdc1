//! What is measured to tell a peer that slows down.

use std::time::Duration;

/// What answers are timed by, to find out that a peer slows down under load.
///
/// The median of each stretch of calls (as many as the limit, 8 to 64) is compared with that of a longer
/// past. When it is slower by more than the tolerance, and by more than chance explains, the limit shrinks
/// in proportion, to half at most; else it grows by its own square root with each stretch, while it is used.
/// So it oscillates about the point from which on more calls are only slower calls. What it dips below that
/// is where the long past is measured again: nothing has to be held at a minimum for measuring.
///
/// Slowness that is the same after the limit has been halved is not made by the number of calls: longer
/// prompts, another model. It becomes what answers are compared with.
///
/// # Sources
///
/// Long-term against short-term, headroom of √limit: Netflix's Gradient2, and Envoy's gradient controller,
/// from which the tolerance of 25 % is as well. Eight calls of each round trip are enough to end a slow
/// start: `HyStart` (Ha, Rhee, 2008).
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
    /// The time to the first byte of the body, from the moment the call was let through.
    ///
    /// Prompts of very different lengths move it too. Where calls last
    /// [only to the head](crate::ConcurrencyLimitLayer::until_head) of their responses, the time to that.
    pub const fn first_byte() -> Self {
        Self { signal: Signal::FirstByte, tolerance: 1.25 }
    }

    /// The time to the end of the body, for each token of output, so that a long completion is not taken
    /// for a slow peer.
    ///
    /// Needs a classifier that knows what was consumed, as an endpoint's does; an answer of which that is
    /// not known is not timed.
    pub const fn per_output_token() -> Self {
        Self { signal: Signal::PerOutputToken, tolerance: 1.25 }
    }

    /// Sets by what factor answers may come slower before the limit shrinks; 1.25 unless set. Below 1.01,
    /// or not a number, counts as 1.01.
    pub const fn tolerance(mut self, factor: f64) -> Self {
        self.tolerance = if factor > 1.01 { factor } else { 1.01 };
        self
    }

    /// Whether a call that is still under way is known to be slower than one that took less than its age.
    pub(crate) const fn is_an_age(&self) -> bool {
        matches!(self.signal, Signal::FirstByte)
    }

    pub(crate) fn ln_tolerance(&self) -> f64 {
        self.tolerance.ln()
    }

    /// The latency of a call whose first byte has arrived now, in seconds.
    pub(crate) fn at_first_byte(&self, age: Duration) -> Option<f64> {
        matches!(self.signal, Signal::FirstByte).then(|| age.as_secs_f64())
    }

    /// The latency of a call that has been answered, in seconds for each token, or where nothing was seen of
    /// it before.
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
