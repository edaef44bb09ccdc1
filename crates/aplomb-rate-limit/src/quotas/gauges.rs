//! The remainder that the server reports, as a limit of its own: before the reset no more goes.

use tokio::time::Instant;

use super::{Quotas, Reservation};
use crate::active_quota::ActiveQuota;
use crate::gauge::Shown;
use crate::reported_limit::{ReportedLimit, precision};
use crate::{Charge, Dimension};

/// After so many resets of a bucket in a row, what flows back is believed.
const FLOWS: u8 = 2;

impl Quotas {
    /// When the server has enough left for `charge`, if it has not, and of which dimension.
    #[cold]
    pub(super) fn gauge(&mut self, charge: &Charge, nanos: u64) -> Option<(u64, Dimension)> {
        let server = self.server.as_mut()?;
        let quotas = self.set.quotas().iter();
        let held = quotas.filter_map(|quota| {
            let cost = charge.counted(quota.counted());
            let estimate = server.find_estimate(quota.id()).filter(|estimate| estimate.flows < FLOWS)?;
            let at = estimate.gauge.not_before(cost, nanos).filter(|_| cost > 0)?;
            Some((at, quota.quota().dimension()))
        });
        held.max()
    }

    /// A call goes.
    pub(super) fn take_gauged(&mut self, charge: &Charge, now: Instant) {
        let nanos = self.set.nanos(now);
        let Some(server) = &mut self.server else { return };
        for quota in self.set.quotas() {
            if let Some(estimate) = server.find_estimate(quota.id()) {
                estimate.gauge.take(charge.counted(quota.counted()), nanos);
            }
        }
    }

    /// A call did not reach the server.
    pub(super) fn give_back_gauged(&mut self, reservation: &Reservation) {
        let Some(server) = &mut self.server else { return };
        for share in &reservation.shares {
            if let Some(estimate) = server.find_estimate(share.id) {
                estimate.gauge.give_back(share.cost);
            }
        }
    }

    /// The remainder of `quota` that the server reports, if that decides.
    pub(super) fn gauged(&self, quota: &ActiveQuota, nanos: u64) -> Option<i64> {
        let estimate = self.server.as_ref()?.estimate(quota.id())?;
        let left = estimate.gauge.left_at(nanos).filter(|_| estimate.flows < FLOWS)?;
        Some(i64::try_from(left).unwrap_or(i64::MAX))
    }

    /// Takes in how much is left, and when there is more.
    pub(super) fn read_gauge(
        &mut self,
        index: usize,
        reported: ReportedLimit,
        in_flight: u64,
        reservation: &Reservation,
        now: Instant,
    ) {
        let Some((limit, remaining)) = reported.limit.zip(reported.remaining) else {
            return;
        };
        let (sent, nanos) = (self.set.nanos(reservation.at), self.set.nanos(now));
        let quota = self.set.quotas()[index];
        let (id, has_rate, window) = (quota.id(), quota.has_rate(), quota.quota().window());
        let share = reservation.shares.iter().find(|share| share.id == id);
        let cost = match (share, quota.quota().dimension()) {
            (Some(share), _) => share.cost,
            (None, Dimension::REQUESTS) => reservation.requests,
            (None, _) => 0,
        };
        let estimate = self.server_mut().estimate_mut(id);
        if has_rate {
            // A bucket may hold less than its limit.
            let full = estimate.gauge.full().unwrap_or(limit);
            let of_less = || reported.flows_back(full, window).filter(|flows| *flows);
            let of_all = reported.flows_back(limit, window);
            estimate.flows = match of_all.filter(|flows| *flows).or_else(of_less).or(of_all) {
                Some(true) => (estimate.flows + 1).min(2 * FLOWS),
                Some(false) => estimate.flows.saturating_sub(2),
                None => estimate.flows,
            };
            // A reset beyond the window is none.
            let is_within = |reset| reset <= window.saturating_add(precision(reset));
            if !reported.reset.is_some_and(is_within) {
                return;
            }
        }
        let shown = Shown {
            limit,
            remaining,
            reset: reported.reset,
            in_flight,
            cost,
            window: has_rate.then_some(window),
            sent,
        };
        estimate.gauge.read(shown, nanos);
        if !has_rate {
            let observed = estimate.gauge.window();
            if observed != quota.has_window().then_some(window) || limit != quota.quota().amount() {
                let (quota, _) = self.set.at_mut(index);
                quota.observe(limit, observed);
                if observed.is_some() {
                    self.announce(index);
                }
            }
        }
    }
}
