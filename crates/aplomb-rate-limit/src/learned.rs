//! The learned limits of a server, as a plain value.

use crate::Quota;

/// The learned limits of a server: save them, so that the next run does not start blind.
///
/// A plain value: its [quotas](Learned::known_quotas) and its [rate](Learned::known_rate). With the feature `serde`
/// it can be serialized and deserialized. The levels of the quotas are not part of it: after a
/// restart the quotas are full until the server reports otherwise.
///
/// # Examples
///
/// ```
/// use aplomb_rate_limit::{Learned, Quota, RateLimitLayer, RateLimiter};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let limiter = RateLimiter::new([]);
/// // … calls are made; before the program ends:
/// let learned = limiter.learned();
/// # let learned = learned.quotas([Quota::requests_per_minute(60)]).rate(Some(0.97));
/// let saved = (learned.known_quotas().to_vec(), learned.known_rate());
///
/// // … and in the next run:
/// let (quotas, rate) = saved;
/// let layer = RateLimitLayer::new([]).remember(&Learned::new().quotas(quotas).rate(rate));
/// # assert_eq!(layer.limiter().learned(), learned);
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Learned {
    quotas: Vec<Quota>,
    rate: Option<f64>,
}

impl Learned {
    /// Nothing learned.
    pub const fn new() -> Self {
        Self { quotas: Vec::new(), rate: None }
    }

    /// Sets the quotas that the server reported.
    pub fn quotas(mut self, quotas: impl IntoIterator<Item = Quota>) -> Self {
        self.quotas = quotas.into_iter().collect();
        self
    }

    /// Sets the rate, in calls per second, at which a server that does not report its limits was found to refuse.
    /// Anything but a positive number is ignored when it is remembered.
    pub const fn rate(mut self, per_second: Option<f64>) -> Self {
        self.rate = per_second;
        self
    }

    /// The quotas that the server reported.
    pub fn known_quotas(&self) -> &[Quota] {
        &self.quotas
    }

    /// The rate, in calls per second, at which a server that does not report its limits was found to refuse.
    pub const fn known_rate(&self) -> Option<f64> {
        self.rate
    }
}
