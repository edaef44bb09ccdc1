//! When a closed circuit opens.

use crate::Window;

/// What opens a closed circuit: failures in a row, a share of failures, or whichever comes first.
///
/// | rule | default | as in |
/// | --- | --- | --- |
/// | failures in a row | 5 | pybreaker, Envoy's outlier detection |
/// | share of failures | 50 % of the last 100 calls | resilience4j, Hystrix |
/// | calls before the share counts | 20 | Hystrix |
/// | refused credentials in a row | 3 | |
///
/// Failures in a row notice an outage at once and where there is little traffic; the share notices a
/// peer that fails half of the time. Where the peer fails often by nature, the first rule is the one
/// to relax: at a failure rate of *p*, a run of *n* comes once in about 1 / ((1 − *p*) *pⁿ*) calls.
///
/// Whatever the rule, an exhausted account opens the circuit at once.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aplomb_circuit_breaker::{Trip, Window};
///
/// let only_outages = Trip::consecutive(10);
/// let only_share = Trip::ratio(0.25, Window::time(Duration::from_secs(30))).min_calls(50);
/// let either = only_outages.or(only_share);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Trip {
    pub(crate) consecutive: Option<u32>,
    pub(crate) share: Option<Share>,
    pub(crate) unauthorized: Option<u32>,
}

/// A share of failures over a window.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub(crate) ratio: f64,
    pub(crate) window: Window,
    pub(crate) min_calls: u64,
}

const MIN_CALLS: u64 = 20;

impl Trip {
    /// Opens after so many failures in a row; 0 counts as 1. Calls that are neither failures nor
    /// successes (a bad request, a throttle) do not interrupt a row.
    pub const fn consecutive(failures: u32) -> Self {
        let failures = if failures == 0 { 1 } else { failures };
        Self { consecutive: Some(failures), share: None, unauthorized: None }
    }

    /// Opens when `ratio` of the calls in `window`, or more, have failed; from 20 calls on.
    ///
    /// A ratio above 1, or that is not a number, counts as 1; at 0 or below any failure opens.
    pub fn ratio(ratio: f64, window: Window) -> Self {
        let ratio = if ratio.is_nan() {
            1.0
        } else {
            ratio.clamp(0.0, 1.0)
        };
        let share = Share { ratio, min_calls: window.most().unwrap_or(MIN_CALLS).min(MIN_CALLS), window };
        Self { consecutive: None, share: Some(share), unauthorized: None }
    }

    /// Sets from how many calls in the window on the ratio counts. More than the window can hold
    /// counts as a full window. Changes nothing where there is no ratio.
    pub fn min_calls(mut self, calls: u32) -> Self {
        if let Some(share) = &mut self.share {
            share.min_calls = share.window.most().unwrap_or(u64::MAX).min(calls.into());
        }
        self
    }

    /// Sets how many refused credentials in a row open the circuit; 0 means that none do.
    pub const fn unauthorized(mut self, refusals: u32) -> Self {
        self.unauthorized = Some(refusals);
        self
    }

    /// Opens on whichever comes first. Where both have a rule of the same kind, `other`'s holds.
    pub fn or(self, other: Self) -> Self {
        Self {
            consecutive: other.consecutive.or(self.consecutive),
            share: other.share.or(self.share),
            unauthorized: other.unauthorized.or(self.unauthorized),
        }
    }
}

impl Default for Trip {
    fn default() -> Self {
        Self::consecutive(5).or(Self::ratio(0.5, Window::calls(100)))
    }
}
