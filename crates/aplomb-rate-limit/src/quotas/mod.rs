//! All quotas of one key, and what is known of its server, as one gate.

mod brakes;
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

use aplomb_admission::server::Server;
use aplomb_admission::{End, Gate};
use aplomb_core::{Outcome, Usage};
use tokio::time::Instant;

pub use self::brakes::throttle_event;
pub use self::reason::RateLimitReason;
pub use self::reservation::Reservation;
use self::server_limits::ServerLimits;
use self::set::{QuotaSet, Settings};
use crate::{Charge, Learned, Quota, Settle};

/// The default of the longest time that calls wait because the server names it.
const MAX_PAUSE: Duration = Duration::from_secs(120);

/// Quotas that admit all or nothing, the limits that the server reports, and what it was seen to do.
///
/// A pure state machine: it is used behind a [`Queue`](aplomb_admission::Queue), alone or together with
/// other gates.
#[derive(Clone, Debug)]
pub struct Quotas {
    set: QuotaSet,
    /// The limits that the server reported.
    server: Option<Box<ServerLimits>>,
    /// The memory of the server.
    brakes: Option<Box<Server>>,
    in_flight: u32,
    unanswered: u32,
}

impl Quotas {
    /// Full quotas. Without any quota the server's limits are learned, see
    /// [`set_learning`](Quotas::set_learning).
    pub fn new(quotas: impl IntoIterator<Item = Quota>) -> Self {
        let settings = Settings {
            max_pause: MAX_PAUSE,
            learning: true,
            pausing: true,
            inbound: false,
            settle: Settle::DebtOnly,
            seed: None,
        };
        let set = QuotaSet::new(quotas, settings);
        Self { set, server: None, brakes: None, in_flight: 0, unanswered: 0 }
    }

    /// New quotas with the same settings, which they share: quotas of another key take less memory this way.
    ///
    /// It is a clone of quotas that are not used.
    #[must_use]
    pub fn fresh(&self) -> Self {
        self.clone()
    }

    /// Returns whether no quota is configured.
    #[doc(hidden)]
    pub fn is_unconfigured(&self) -> bool {
        self.set.is_unconfigured()
    }

    /// Sets the longest time that calls wait because the server names it. Default: 120 s. If a server asks for more, calls are
    /// rejected instead of waiting.
    pub fn set_max_pause(&mut self, longest: Duration, now: Instant) {
        self.set.settings_mut().max_pause = longest;
        self.set_up_brakes(now);
    }

    pub(crate) fn raise_max_pause(&mut self, longest: Duration, now: Instant) {
        if longest > self.set.settings().max_pause {
            self.set_max_pause(longest, now);
        }
    }

    /// Seeds the random part of the time between probes while the server lets nobody through, so that it is repeatable.
    /// Default: random.
    pub fn set_seed(&mut self, seed: u64, now: Instant) {
        self.set.settings_mut().seed = Some(seed);
        self.set_up_brakes(now);
    }

    /// Sets whether limits that nobody configured are learned: from what the server reports, and from what it refuses.
    /// Default: true.
    pub fn set_learning(&mut self, learning: bool, now: Instant) {
        self.set.settings_mut().learning = learning;
        self.set_up_brakes(now);
    }

    /// Sets whether throttled responses hold calls back, and show the server's rate. Default: true. If not, another gate acts
    /// on them, and tells [`on_refused`](Self::on_refused). Set it before the first call.
    #[doc(hidden)]
    pub fn set_pausing(&mut self, pausing: bool) {
        self.set.settings_mut().pausing = pausing;
    }

    /// Makes these quotas on calls that arrive, not on calls to a server. Nothing is learned from responses, none of them
    /// holds calls back, and the charge becomes the actual use: a call that fails keeps its request and gets back everything
    /// else, unless its usage is known. Set it before the first call.
    pub fn set_inbound(&mut self) {
        let settings = self.set.settings_mut();
        (settings.inbound, settings.learning) = (true, false);
        self.set_settle(Settle::Correct);
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
        self.set_up_brakes(now);
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
        let finds_out = self.brakes_by_itself() && self.is_unconfigured();
        if let Some(rate) = learned.known_rate().filter(|_| finds_out) {
            let server = self.brakes_mut();
            server.end_cold_start();
            server.set_rate(rate, now);
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

    /// While the server lets nobody through: when the next call goes to see whether that is over.
    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.brakes.as_ref()?.paused_until(now)
    }

    /// The rate, in calls per second, that the server was found to accept.
    pub fn estimated_rate(&self) -> Option<f64> {
        self.brakes.as_ref()?.rate()
    }

    /// Returns whether there is an event that has not been reported.
    pub(crate) fn has_event(&self) -> bool {
        self.server.as_ref().is_some_and(|server| !server.events.is_empty())
    }

    fn server_mut(&mut self) -> &mut ServerLimits {
        self.server.get_or_insert_with(Box::default)
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
        }
    }

    /// The call has cost nothing.
    fn refund(&mut self, reservation: &Reservation, now: Instant) {
        let nanos = self.set.nanos(now);
        self.set.refund(reservation, nanos);
        self.give_back_gauged(reservation);
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
