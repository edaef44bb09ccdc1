//! When a closed circuit opens.

use std::fmt;
use std::sync::Arc;

use crate::{Rule, Slow, Window};

/// What opens a closed circuit: failures in a row, a share of failures, a share of slow calls, a rule of
/// the user's own; any of several, or all of several.
///
/// | rule | default | as in |
/// | --- | --- | --- |
/// | failures in a row | 5 | pybreaker, Envoy's outlier detection |
/// | share of failures | 50 % of the last 100 calls | resilience4j, Hystrix |
/// | calls before a share counts | 20 | Hystrix |
/// | slow calls | no rule | resilience4j in effect: all calls slower than 60 s |
/// | refused credentials in a row | 3 | |
///
/// Failures in a row notice an outage at once and where there is little traffic; the share notices a
/// peer that fails half of the time. Where the peer fails often by nature, the first rule is the one
/// to relax: at a failure rate of *p*, a run of *n* comes once in about 1 / ((1 − *p*) *pⁿ*) calls.
///
/// A circuit opens on a call that went badly, never on one that went well; only a
/// [rule of the user's own](Self::rule) may open it after any call, and is then the only one that is
/// asked. Whatever the rule, an exhausted account opens it at once.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aplomb_circuit_breaker::{Slow, Trip, Window};
///
/// let minute = Duration::from_secs(60);
/// let outage = Trip::consecutive(10);
/// let failing = Trip::ratio(0.25, Window::time(minute)).min_calls(50);
/// let slow = Trip::slow(0.8, Slow::first_content(Duration::from_secs(20)), Window::time(minute));
///
/// // An outage; or a peer that is slow and fails as well.
/// let trip = outage.or(failing.and(slow));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Trip {
    pub(crate) when: When,
    pub(crate) unauthorized: Option<u32>,
}

/// A rule, or several.
#[derive(Clone, Debug)]
pub(crate) enum When {
    Consecutive(u32),
    Failing(Share),
    Slow(Slow, Share),
    Custom(Custom),
    Any(Vec<Self>),
    All(Vec<Self>),
}

/// A share of bad calls over a window.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub(crate) ratio: f64,
    pub(crate) window: Window,
    pub(crate) min_calls: u64,
}

/// Makes a user's rule anew each time that a circuit begins to count anew.
#[derive(Clone)]
pub(crate) struct Custom {
    pub(crate) name: &'static str,
    pub(crate) make: Arc<dyn Fn() -> Box<dyn Rule> + Send + Sync>,
}

const MIN_CALLS: u64 = 20;

impl Trip {
    const fn on(when: When) -> Self {
        Self { when, unauthorized: None }
    }

    /// Opens after so many failures in a row; 0 counts as 1. Calls that are neither failures nor
    /// successes (a bad request, a throttle) do not interrupt a row.
    pub const fn consecutive(failures: u32) -> Self {
        Self::on(When::Consecutive(if failures == 0 { 1 } else { failures }))
    }

    /// Opens when `ratio` of the calls in `window`, or more, have failed; from 20 calls on.
    ///
    /// A ratio above 1, or that is not a number, counts as 1; at 0 or below any failure opens.
    pub fn ratio(ratio: f64, window: Window) -> Self {
        Self::on(When::Failing(Share::new(ratio, window)))
    }

    /// Opens when `ratio` of the calls in `window`, or more, were slow; from 20 calls on. Successes and
    /// failures both count; a call counts as soon as it is known to be slow.
    ///
    /// The ratio is bounded as that of [`ratio`](Self::ratio) is. A probe that is slow has failed.
    pub fn slow(ratio: f64, slow: Slow, window: Window) -> Self {
        Self::on(When::Slow(slow, Share::new(ratio, window)))
    }

    /// Opens when a rule of the user's own says so. `name` tells of it in [`TransitionCause::Rule`]; `make`
    /// makes the rule, which each circuit has to itself, and makes it anew whenever the circuit
    /// begins to count anew.
    ///
    /// [`TransitionCause::Rule`]: crate::TransitionCause::Rule
    pub fn rule<R: Rule>(name: &'static str, make: impl Fn() -> R + Send + Sync + 'static) -> Self {
        let make = Arc::new(move || -> Box<dyn Rule> { Box::new(make()) });
        Self::on(When::Custom(Custom { name, make }))
    }

    /// Opens when any of the two says so.
    pub fn or(self, other: Self) -> Self {
        let unauthorized = other.unauthorized.or(self.unauthorized);
        let when = When::Any(match (self.when, other.when) {
            (When::Any(mut some), When::Any(more)) => {
                some.extend(more);
                some
            }
            (When::Any(mut some), one) => {
                some.push(one);
                some
            }
            (one, other) => vec![one, other],
        });
        Self { when, unauthorized }
    }

    /// Opens when both say so at the same time; after a call that went badly, unless both are rules of
    /// the user's own.
    pub fn and(self, other: Self) -> Self {
        let unauthorized = other.unauthorized.or(self.unauthorized);
        Self { when: When::All(vec![self.when, other.when]), unauthorized }
    }

    /// Sets from how many calls in the window on a ratio counts; of all ratios, where there are
    /// several. More than a window can hold counts as a full window. Changes nothing where there is no
    /// ratio.
    pub fn min_calls(mut self, calls: u32) -> Self {
        self.when.min_calls(calls);
        self
    }

    /// Sets how many refused credentials in a row open the circuit; 0 means that none do. Of two that
    /// are joined, the second's holds.
    pub const fn unauthorized(mut self, refusals: u32) -> Self {
        self.unauthorized = Some(refusals);
        self
    }
}

impl When {
    fn min_calls(&mut self, calls: u32) {
        match self {
            Self::Failing(share) | Self::Slow(_, share) => {
                share.min_calls = share.window.most().unwrap_or(u64::MAX).min(calls.into());
            }
            Self::Any(rules) | Self::All(rules) => rules.iter_mut().for_each(|rule| rule.min_calls(calls)),
            Self::Consecutive(_) | Self::Custom(_) => {}
        }
    }
}

impl Share {
    fn new(ratio: f64, window: Window) -> Self {
        let ratio = if ratio.is_nan() {
            1.0
        } else {
            ratio.clamp(0.0, 1.0)
        };
        Self { ratio, min_calls: window.most().unwrap_or(MIN_CALLS).min(MIN_CALLS), window }
    }
}

impl Default for Trip {
    fn default() -> Self {
        Self::consecutive(5).or(Self::ratio(0.5, Window::calls(100)))
    }
}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}
