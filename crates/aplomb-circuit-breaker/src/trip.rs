//! When a closed circuit opens.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::{CompletedCall, Rule, Window};

/// The condition that opens a closed circuit: nobody gets through, failures in a row, a ratio of failures, a ratio of slow
/// calls, a rule of your own; any of several, or all of several.
///
/// | rule | default | as in |
/// | --- | --- | --- |
/// | nobody gets through | the only rule | |
/// | failures in a row | no rule | pybreaker, Envoy's outlier detection: 5 |
/// | ratio of failures | no rule | resilience4j, Hystrix: 50 % of the last 100 calls, from 20 calls on |
/// | slow calls | no rule | resilience4j in effect: all calls slower than 60 s |
/// | refused credentials in a row | 3 if the circuit serves one credential, else no rule | |
///
/// By default a circuit opens when [nobody gets through](Self::nobody_gets_through): a server that answers half of its calls
/// is worth asking, since a retry costs one request, and an open circuit all of them. Other rules are for those who would
/// rather have no answer than wait for a retry. They count calls in the order in which they end, and failures are
/// often faster than answers: at a failure rate of *p*, a run of *n* occurs once in about 1 / ((1 − *p*) *pⁿ*) calls.
///
/// A circuit opens on a call that went badly, never on one that went well. Only a [rule of your own](Self::rule)
/// may open it after any call, and only that rule is then asked. Whatever the rules, an exhausted account opens
/// the circuit at once.
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
/// // An outage; or a server that is slow and also fails.
/// let trip = outage.or(failing.and(slow));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Trip {
    pub(crate) rule: TripRule,
    unauthorized: Option<u32>,
}

/// A rule, or several.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TripRule {
    /// Decided by a server that the circuit owns.
    NobodyGetsThrough,
    /// The same, decided by a server that somebody else owns.
    Follows,
    Consecutive(u32),
    Failures(RatioRule),
    SlowCalls(Slow, RatioRule),
    Custom(CustomRule),
    Any(Vec<Self>),
    All(Vec<Self>),
}

/// A ratio of bad calls over a window.
#[derive(Clone, Debug)]
pub(crate) struct RatioRule {
    ratio: f64,
    pub(crate) window: Window,
    min_calls: u64,
}

/// Makes a new instance of a user's rule whenever a circuit starts counting afresh.
#[derive(Clone)]
pub(crate) struct CustomRule {
    pub(crate) name: &'static str,
    pub(crate) make: Arc<dyn Fn() -> Box<dyn Rule> + Send + Sync>,
}

/// The default number of calls from which a ratio counts.
const MIN_CALLS: u64 = 20;

/// The default number of refusals of its only credential that open a circuit.
const UNAUTHORIZED: u32 = 3;

impl Trip {
    const fn on(rule: TripRule) -> Self {
        Self { rule, unauthorized: None }
    }

    /// Opens when all calls fail, so many in the order in which they were sent that it is not chance: seven of a server of
    /// which nothing is known, fewer of one that rarely fails, more of one that often does. A call that is still unanswered
    /// when it would have failed counts as one that got through. The default.
    ///
    /// The circuit then recovers in its own way: while it is open one probe at a time goes, first after 0.2 s, then after
    /// 5 % of the time for which it has been open, at least 0.7 s and at most 15 s, or when the server asked for. The first
    /// that is answered closes it, and the number of calls in flight doubles with every time that a failure takes. Where the
    /// [cooldown](crate::Cooldown), the [probes](crate::Probes) or the [ramp](crate::Ramp) are set, it recovers as they say.
    ///
    /// Joined by [`and`](Self::and) it means 5 failures in a row, or 50 % of the last 100 calls.
    pub const fn nobody_gets_through() -> Self {
        Self::on(TripRule::NobodyGetsThrough)
    }

    /// Opens after `failures` failures in a row; 0 counts as 1. Calls that are neither failures nor successes (a
    /// bad request, a throttle) do not end a run.
    pub const fn consecutive(failures: u32) -> Self {
        Self::on(TripRule::Consecutive(if failures == 0 { 1 } else { failures }))
    }

    /// Opens when at least `ratio` of the calls in `window` have failed; from 20 calls on.
    ///
    /// A ratio above 1, or NaN, counts as 1; at 0 or below, any failure opens.
    pub fn ratio(ratio: f64, window: Window) -> Self {
        Self::on(TripRule::Failures(RatioRule::new(ratio, window)))
    }

    /// Opens when at least `ratio` of the calls in `window` were slow; from 20 calls on. Successes and failures
    /// both count; a call counts as soon as it is known to be slow.
    ///
    /// The ratio is bounded like that of [`ratio`](Self::ratio). A slow probe has failed.
    pub fn slow(ratio: f64, slow: Slow, window: Window) -> Self {
        Self::on(TripRule::SlowCalls(slow, RatioRule::new(ratio, window)))
    }

    /// Opens when a rule of your own says so. `name` identifies it in [`CircuitCause::Rule`]; `make` makes the
    /// rule. Each circuit has an instance of its own, and a new one whenever it starts counting afresh.
    ///
    /// [`CircuitCause::Rule`]: aplomb_core::CircuitCause::Rule
    pub fn rule<R: Rule>(name: &'static str, make: impl Fn() -> R + Send + Sync + 'static) -> Self {
        let make = Arc::new(move || -> Box<dyn Rule> { Box::new(make()) });
        Self::on(TripRule::Custom(CustomRule { name, make }))
    }

    /// Opens when either of the two would.
    pub fn or(self, other: Self) -> Self {
        let unauthorized = other.unauthorized.or(self.unauthorized);
        let rule = TripRule::Any(match (self.rule, other.rule) {
            (TripRule::Any(mut some), TripRule::Any(more)) => {
                some.extend(more);
                some
            }
            (TripRule::Any(mut some), one) => {
                some.push(one);
                some
            }
            (one, other) => vec![one, other],
        });
        Self { rule, unauthorized }
    }

    /// Opens when both would at the same time; after a call that went badly, unless both are rules of your own.
    pub fn and(self, other: Self) -> Self {
        let unauthorized = other.unauthorized.or(self.unauthorized);
        let rules = vec![self.rule.counted(), other.rule.counted()];
        Self { rule: TripRule::All(rules), unauthorized }
    }

    /// Sets the number of calls in the window from which a ratio counts; for all ratios, if there are several.
    /// More than a window can hold counts as a full window. No effect without a ratio.
    pub fn min_calls(mut self, calls: u32) -> Self {
        self.rule.min_calls(calls);
        self
    }

    /// Sets the number of refused credentials in a row (401, 403) that opens the circuit; 0 disables the rule. Of
    /// two trips that are joined, the second takes precedence.
    ///
    /// Default: disabled, since one caller with a bad key must not stop everyone else;
    /// [3](Self::one_credential) where every credential has a circuit of its own.
    pub const fn unauthorized(mut self, refusals: u32) -> Self {
        self.unauthorized = Some(refusals);
        self
    }

    /// For a circuit whose calls all carry the same credential: three refusals in a row open it, unless
    /// [`unauthorized`](Self::unauthorized) says otherwise. A circuit for each account has this by default.
    pub const fn one_credential(self) -> Self {
        match self.unauthorized {
            Some(_) => self,
            None => self.unauthorized(UNAUTHORIZED),
        }
    }

    /// The same for a circuit that [follows](crate::Circuit::follow) a server of somebody else's, which decides whether anybody
    /// gets through; `None` if that is none of the rules.
    #[doc(hidden)]
    pub fn following(&self) -> Option<Self> {
        let mut following = self.clone();
        following.rule.follow().then_some(following)
    }

    /// Returns whether it opens when nobody gets through, as a server says that the circuit owns.
    pub(crate) fn needs_server(&self) -> bool {
        match &self.rule {
            TripRule::Any(rules) => rules.contains(&TripRule::NobodyGetsThrough),
            rule => *rule == TripRule::NobodyGetsThrough,
        }
    }

    /// The number of refused credentials in a row that opens the circuit; 0 if none do.
    pub(crate) fn max_refusals(&self) -> u32 {
        self.unauthorized.unwrap_or(0)
    }
}

impl TripRule {
    /// Leaves it to somebody else's server whether anybody gets through. Returns whether that is one of the rules.
    fn follow(&mut self) -> bool {
        match self {
            Self::NobodyGetsThrough => {
                *self = Self::Follows;
                true
            }
            // All of them, not only the first.
            Self::Any(rules) => rules.iter_mut().filter_map(|rule| rule.follow().then_some(())).count() > 0,
            _ => false,
        }
    }

    /// The same as counters say it.
    fn counted(self) -> Self {
        match self {
            Self::NobodyGetsThrough => Self::Any(vec![
                Self::Consecutive(5),
                Self::Failures(RatioRule::new(0.5, Window::calls(100))),
            ]),
            Self::Any(rules) => Self::Any(rules.into_iter().map(Self::counted).collect()),
            rule => rule,
        }
    }

    fn min_calls(&mut self, calls: u32) {
        match self {
            Self::Failures(ratio) | Self::SlowCalls(_, ratio) => {
                ratio.min_calls = ratio.window.max_calls().unwrap_or(u64::MAX).min(calls.into());
            }
            Self::Any(rules) | Self::All(rules) => rules.iter_mut().for_each(|rule| rule.min_calls(calls)),
            Self::NobodyGetsThrough | Self::Follows | Self::Consecutive(_) | Self::Custom(_) => {}
        }
    }
}

impl RatioRule {
    fn new(ratio: f64, window: Window) -> Self {
        let ratio = if ratio.is_nan() {
            1.0
        } else {
            ratio.clamp(0.0, 1.0)
        };
        let min_calls = window.max_calls().unwrap_or(MIN_CALLS).min(MIN_CALLS);
        Self { ratio, window, min_calls }
    }

    /// A ratio that is never reached: its counts are only shown.
    pub(crate) fn never() -> Self {
        Self { min_calls: u64::MAX, ..Self::new(1.0, Window::calls(100)) }
    }

    /// Returns whether the latest counts reach the ratio.
    pub(crate) fn is_reached(&self) -> bool {
        let counts = self.window.latest();
        counts.calls() >= self.min_calls && counts.ratio() >= self.ratio
    }
}

/// By the setting: whatever a window has counted, it is the same setting if it has the same size.
impl PartialEq for RatioRule {
    fn eq(&self, other: &Self) -> bool {
        let Self { ratio, window, min_calls } = self;
        ratio.total_cmp(&other.ratio).is_eq()
            && *min_calls == other.min_calls
            && window.has_size_of(&other.window)
    }
}

impl PartialEq for CustomRule {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.make, &other.make)
    }
}

impl Default for Trip {
    fn default() -> Self {
        Self::nobody_gets_through()
    }
}

impl fmt::Debug for CustomRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// How long a call may take before it counts as slow.
///
/// Time is measured from when the circuit admitted the call. Waiting in queues further out is therefore not
/// mistaken for slowness of the server; waiting for the inner service to become ready is included.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aplomb_circuit_breaker::Slow;
///
/// // Streams: twenty seconds to the first content.
/// let streams = Slow::first_content(Duration::from_secs(20));
/// // Complete answers: ten seconds, plus fifty milliseconds for every token.
/// let answers = Slow::whole(Duration::from_secs(10)).per_output_token(Duration::from_millis(50));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Slow {
    measure: Measure,
    limit: Duration,
    per_output_token: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    FirstContent,
    Whole,
}

impl Slow {
    /// Slower than `limit` to the first content, or to the head if bodies are not watched. For streams, whose
    /// length says nothing about the server.
    pub const fn first_content(limit: Duration) -> Self {
        Self { measure: Measure::FirstContent, limit, per_output_token: Duration::ZERO }
    }

    /// Slower than `limit` to the end, or to the head if bodies are not watched. For answers that are not
    /// streamed.
    pub const fn whole(limit: Duration) -> Self {
        Self { measure: Measure::Whole, limit, per_output_token: Duration::ZERO }
    }

    /// Allows `each` more for every output token, if the usage of the call is known: a long answer is not a slow
    /// one. No effect on [`first_content`](Self::first_content), which comes before the tokens are counted.
    pub const fn per_output_token(mut self, each: Duration) -> Self {
        self.per_output_token = each;
        self
    }

    pub(crate) const fn is_measured_at_first_content(&self) -> bool {
        matches!(self.measure, Measure::FirstContent)
    }

    pub(crate) fn first_content_is_slow(&self, took: Duration) -> bool {
        self.is_measured_at_first_content() && took > self.limit
    }

    /// Returns whether a completed call was slow, apart from what its first content has shown.
    pub(crate) fn was_slow(&self, call: &CompletedCall) -> bool {
        let tokens = match self.measure {
            Measure::FirstContent => None,
            Measure::Whole => call.usage().and_then(|usage| usage.output()),
        };
        let tokens = u32::try_from(tokens.unwrap_or(0)).unwrap_or(u32::MAX);
        call.took() > self.limit.saturating_add(self.per_output_token.saturating_mul(tokens))
    }
}
