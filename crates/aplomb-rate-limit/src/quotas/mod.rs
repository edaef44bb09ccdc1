//! All quotas of one key, its pause and what is known of its server's limits, as one gate.

mod expiry;
mod gate;
mod gauges;
mod levels;
mod rates;
mod readings;
mod reason;
mod reservation;
mod server_limits;
mod set;
mod throttle;
mod worth;

#[cfg(test)]
mod tests;

use std::time::Duration;

use aplomb_admission::{End, Gate};
use aplomb_core::{Outcome, Usage};
use tokio::time::Instant;

pub use self::reason::RateLimitReason;
pub use self::reservation::Reservation;
use self::server_limits::ServerLimits;
use self::set::{QuotaSet, Settings};
use crate::pause::PauseSettings;
use crate::rate_estimator::RateEstimator;
use crate::{Charge, Learned, Quota, Settle};

/// Quotas that admit all or nothing, the pause that a throttled response causes, and the limits that the server
/// reports.
///
/// A pure state machine: it is used behind a [`Queue`](aplomb_admission::Queue), alone or together with
/// other gates.
#[derive(Clone, Debug)]
pub struct Quotas {
    set: QuotaSet,
    server: Option<Box<ServerLimits>>,
    in_flight: u32,
    unanswered: u32,
}

impl Quotas {
    /// Full quotas. Without any quota the server's limits are learned, see
    /// [`set_learning`](Quotas::set_learning).
    pub fn new(quotas: impl IntoIterator<Item = Quota>) -> Self {
        let settings = Settings {
            pause: PauseSettings::new(),
            learning: true,
            pausing: true,
            inbound: false,
            settle: Settle::DebtOnly,
            seed: None,
        };
        let set = QuotaSet::new(quotas, settings);
        let mut quotas = Self { set, server: None, in_flight: 0, unanswered: 0 };
        quotas.set_up_estimator();
        quotas
    }

    /// New quotas with the same settings, which they share: quotas of another key take less memory this way.
    ///
    /// It is a clone of quotas that are not used.
    #[must_use]
    pub fn fresh(&self) -> Self {
        let mut fresh = self.clone();
        if let Some(server) = &mut fresh.server {
            server.pause.set_seed(self.set.settings().seed.unwrap_or_else(rand::random));
        }
        fresh
    }

    /// Returns whether no quota is configured.
    #[doc(hidden)]
    pub fn is_unconfigured(&self) -> bool {
        self.set.quotas().iter().all(|quota| quota.as_configured().is_none())
    }

    /// Estimates the server's rate where no quota is configured and limits are learned.
    fn set_up_estimator(&mut self) {
        let epoch = self.set.epoch();
        let unconfigured = self.is_unconfigured();
        let Settings { learning, pausing, .. } = *self.set.settings();
        if learning && pausing && unconfigured {
            self.server_mut(epoch).estimator.get_or_insert_with(|| RateEstimator::new(epoch));
        } else if let Some(server) = &mut self.server {
            server.estimator = None;
        }
    }

    /// Sets the longest pause of all callers after a throttled response. Default: 120 s. If a server
    /// asks for more, calls are rejected instead of waiting.
    pub fn set_max_pause(&mut self, longest: Duration) {
        self.set_pause(|pause| pause.set_longest(longest));
    }

    pub(crate) fn raise_max_pause(&mut self, longest: Duration) {
        if longest > self.set.settings().pause.longest() {
            self.set_max_pause(longest);
        }
    }

    /// Sets how long it takes after a pause until calls go as before. Default: 2 s. The number of calls that
    /// may have gone doubles with each eighth of it; zero lets all go at once.
    pub fn set_ramp(&mut self, ramp: Duration) {
        self.set_pause(|pause| pause.set_ramp(ramp));
    }

    fn set_pause(&mut self, set: impl FnOnce(&mut PauseSettings)) {
        let settings = self.set.settings_mut();
        set(&mut settings.pause);
        let pause = settings.pause;
        if let Some(server) = &mut self.server {
            server.pause.set_settings(pause);
        }
    }

    /// Seeds the length of pauses for which the server names no time, so that they are repeatable. Default: a random
    /// seed.
    pub fn set_seed(&mut self, seed: u64) {
        self.set.settings_mut().seed = Some(seed);
        if let Some(server) = &mut self.server {
            server.pause.set_seed(seed);
        }
    }

    /// Sets whether limits that nobody configured are learned: from what the server reports
    /// or, if no quota is configured and the server reports nothing, from its refusals. Default: true.
    pub fn set_learning(&mut self, learning: bool) {
        self.set.settings_mut().learning = learning;
        self.set_up_estimator();
    }

    /// Sets whether throttled responses pause all callers, and show the server's rate where nothing else does. Default: true.
    /// If not, another gate acts on them, and tells [`on_refused`](Self::on_refused).
    #[doc(hidden)]
    pub fn set_pausing(&mut self, pausing: bool) {
        self.set.settings_mut().pausing = pausing;
        self.set_up_estimator();
    }

    /// Makes these quotas on calls that arrive, not on calls to a server. Nothing is learned from responses, none of them
    /// causes a pause, and the charge becomes the actual use: a call that fails keeps its request and gets back everything
    /// else, unless its usage is known.
    pub fn set_inbound(&mut self) {
        self.set.settings_mut().inbound = true;
        self.set_settle(Settle::Correct);
        self.set_learning(false);
    }

    /// Sets how quotas of anything but requests are settled that do not say so themselves, such as learned
    /// ones. Default: [`Settle::DebtOnly`].
    pub fn set_settle(&mut self, settle: Settle) {
        self.set.settings_mut().settle = settle;
    }

    /// Replaces the configured quotas.
    ///
    /// A quota of the same dimension and window as before, or else of the same dimension, keeps its
    /// level in units: what has been drawn stays drawn, and calls in flight are settled
    /// and refunded as before. A new one is full. Learned quotas stay, unless they are
    /// configured now.
    pub fn set_quotas(&mut self, quotas: impl IntoIterator<Item = Quota>, now: Instant) {
        let nanos = self.set.nanos(now);
        self.set.configure(quotas, nanos);
        self.drop_estimates();
        if let Some(server) = &mut self.server {
            // These times count in the old flow: what readings took flows back like everything else.
            server.estimates.iter_mut().for_each(|(_, estimate)| estimate.tightened_until = 0);
        }
        self.schedule_expiry();
        self.set_up_estimator();
        if let Some(server) = &mut self.server {
            server.note_end_of_pause(now);
            if server.is_empty(now) {
                self.server = None;
            }
        }
    }

    /// The learned limits of the server, for a later run.
    pub fn learned(&self) -> Learned {
        let quotas = self.set.quotas().iter();
        let learned = quotas.filter(|quota| quota.as_configured().is_none() && quota.has_window());
        Learned::new().quotas(learned.map(|quota| *quota.quota())).rate(self.estimated_rate())
    }

    /// Starts with what was learned in an earlier run. Configured quotas take precedence, and so does what the
    /// server reports from now on.
    pub fn remember(&mut self, learned: &Learned, now: Instant) {
        if !self.set.settings().learning {
            return;
        }
        for quota in learned.known_quotas() {
            self.learn(*quota, now);
        }
        let estimator = self.server.as_mut().and_then(|server| server.estimator.as_mut());
        if let Some((rate, estimator)) = learned.known_rate().zip(estimator) {
            estimator.start_from(rate, now);
        }
    }

    /// The remainder of each quota at `now`; negative where there is a debt.
    pub fn available(&self, now: Instant) -> impl Iterator<Item = (Quota, i64)> {
        let now = self.set.nanos(now);
        self.set.iter().filter(|(quota, _)| quota.has_window()).map(move |(quota, bucket)| {
            let left = bucket.available(quota.flow(), now);
            (*quota.quota(), self.gauged(quota, now).map_or(left, |gauged| left.min(gauged)))
        })
    }

    /// How many calls have been admitted and have not ended.
    pub const fn in_flight(&self) -> usize {
        self.in_flight as usize
    }

    /// The end of the pause of all callers, while it lasts.
    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.server.as_ref().and_then(|server| server.pause.until(now))
    }

    /// The rate, in calls per second, at which a server that does not report its limits was found to
    /// refuse.
    pub fn estimated_rate(&self) -> Option<f64> {
        self.server.as_ref().and_then(|server| server.estimator.as_ref()?.rate())
    }

    /// Returns whether there is an event that has not been reported.
    pub(crate) fn has_event(&self) -> bool {
        self.server.as_ref().is_some_and(|server| !server.events.is_empty())
    }

    fn server_mut(&mut self, now: Instant) -> &mut ServerLimits {
        let Settings { seed, pause, .. } = *self.set.settings();
        let nanos = self.set.nanos(now);
        self.server.get_or_insert_with(|| {
            let seed = seed.map_or_else(rand::random, |seed| seed ^ nanos);
            Box::new(ServerLimits::new(pause, seed))
        })
    }

    /// The server has answered a call for the first time.
    #[inline]
    fn on_answered(&mut self, reservation: &mut Reservation) {
        if std::mem::take(&mut reservation.unanswered) {
            self.unanswered = self.unanswered.saturating_sub(1);
            self.set.on_answered(reservation);
        }
    }

    /// The server has accepted a call.
    #[inline]
    fn on_accepted(&mut self, reservation: &mut Reservation, now: Instant) {
        let first = !std::mem::replace(&mut reservation.accepted, true);
        if first && self.server.is_some() {
            self.refill(reservation, now);
            self.server_accepted(reservation.requests, now);
        }
    }

    fn server_accepted(&mut self, requests: u64, now: Instant) {
        if let Some(server) = &mut self.server {
            if let Some(estimator) = &mut server.estimator {
                estimator.on_accepted(requests);
            } else if server.is_empty(now) {
                self.server = None;
            }
        }
    }

    /// The call has cost nothing.
    fn refund(&mut self, reservation: &Reservation, now: Instant) {
        let nanos = self.set.nanos(now);
        self.set.refund(reservation, nanos);
        self.give_back_gauged(reservation);
        if let Some(estimator) = self.server.as_mut().and_then(|server| server.estimator.as_mut()) {
            estimator.on_not_accepted(reservation.requests);
        }
    }

    /// A call that arrived has failed: it used nothing but a request, unless its usage is known.
    fn failed_inbound(&mut self, reservation: &Reservation, usage: Option<Usage>, now: Instant) {
        if usage.is_none() {
            let nanos = self.set.nanos(now);
            self.set.refund_all_but_requests(reservation, nanos);
        }
    }

    /// A call ended well and cost `actual`, as its caller says.
    pub(crate) fn settle(&mut self, reservation: Reservation, actual: &Charge, now: Instant) {
        let nanos = self.set.nanos(now);
        self.set.settle(&reservation, actual, true, nanos);
        self.end(reservation, End::Judged { outcome: Outcome::success(), usage: None }, now);
    }
}
