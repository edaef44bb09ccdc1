//! A limit that the server reported holds for an hour, unless it is reported again.
//!
//! Otherwise a limit that is nonsense, or out of date, would hold forever: it rejects or delays
//! every call, so no answer comes that could correct it.

use aplomb_core::Event;
use tokio::time::Instant;

use super::Quotas;
use crate::Dimension;

impl Quotas {
    /// A reading has just confirmed the quota at `index`.
    pub(super) fn confirm(&mut self, index: usize, now: Instant) {
        let nanos = self.set.nanos(now);
        let id = self.set.quotas()[index].id();
        self.server_mut().estimate_mut(id).confirmed = nanos;
        self.schedule_expiry();
    }

    /// Notes when the first reported limit will expire.
    pub(super) fn schedule_expiry(&mut self) {
        let Some(server) = &mut self.server else { return };
        let expiries = self.set.quotas().iter().filter_map(|quota| {
            let estimate = server.estimate(quota.id())?;
            let holds = quota.is_reported() || estimate.tightened_until > estimate.expires();
            holds.then_some(estimate.expires())
        });
        server.expires = expiries.min();
    }

    /// Drops the limits that have not been confirmed: configured quotas are in force again, and learned ones
    /// are removed.
    pub(super) fn expire(&mut self, now: Instant) {
        let nanos = self.set.nanos(now);
        for index in (0..self.set.quotas().len()).rev() {
            let quota = &self.set.quotas()[index];
            let estimate = self.server.as_ref().and_then(|server| server.estimate(quota.id()));
            if estimate.is_none_or(|estimate| nanos < estimate.expires()) {
                continue;
            }
            let (dimension, was_enforced) =
                (quota.quota().dimension(), quota.is_reported() && quota.has_window());
            if let Some(configured) = quota.as_configured().copied() {
                self.give_back(index, u64::MAX, now);
                let (quota, bucket) = self.set.at_mut(index);
                quota.change(configured, bucket, nanos);
            } else {
                self.set.remove(index);
            }
            if dimension == Dimension::REQUESTS {
                self.on_limits_expired();
            }
            if was_enforced {
                self.server_mut().events.push_back(Event::limit_lapsed(dimension));
            }
        }
        self.drop_estimates();
        self.schedule_expiry();
    }

    /// Drops the estimates of quotas that are gone.
    pub(super) fn drop_estimates(&mut self) {
        if let Some(server) = &mut self.server {
            let quotas = self.set.quotas();
            server.estimates.retain(|(id, _)| quotas.iter().any(|quota| quota.id() == *id));
        }
    }
}
