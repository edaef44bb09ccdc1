//! How full quotas are, as the server says: at once where there is less, and when several readings agree where there is
//! more.

use std::time::Duration;

use aplomb_core::{Dimension, Outcome};
use tokio::time::Instant;

use super::{Quotas, Reservation};
use crate::Quota;
use crate::active_quota::as_u32;
use crate::charge::Counted;
use crate::reported_limit::ReportedLimit;

/// No window of requests that is full at once is longer.
const LONGEST_HINT: Duration = Duration::from_secs(24 * 60 * 60);

/// Anthropic rounds the tokens that remain to thousands: there may be fewer than it says.
const fn rounding(remaining: u64) -> u64 {
    if remaining > 0 && remaining % 1_000 == 0 {
        500
    } else {
        0
    }
}

impl Quotas {
    pub(super) fn adopt_level(
        &mut self,
        index: usize,
        reported: ReportedLimit,
        reservation: &Reservation,
        now: Instant,
    ) {
        let Some(remaining) = reported.remaining else {
            return;
        };
        let nanos = self.set.nanos(now);
        let all_unanswered = u64::from(self.unanswered);
        let (quota, bucket) = self.set.at(index);
        // The server counted when this call came, or when it answered. Calls that went since, or are in flight, may not be
        // among what it has counted; nor have those that went before the quota was learned drawn anything from it.
        let share = reservation.shares.iter().find(|share| share.id == quota.id());
        let since = share.map_or(0, |share| bucket.taken.wrapping_sub(share.taken));
        let flying = match quota.quota().dimension() {
            Dimension::REQUESTS => bucket.unanswered.max(all_unanswered).max(since),
            _ => bucket.unanswered.max(since).saturating_add(rounding(remaining)),
        };
        if !quota.has_rate() {
            return self.read_gauge(index, reported, flying, reservation, now);
        }
        let (id, flow) = (quota.id(), quota.flow());
        let here = bucket.available(flow, nanos);
        let there = i64::try_from(remaining).unwrap_or(i64::MAX);
        let tightened = here.saturating_sub(there).max(0).unsigned_abs();
        bucket.owe(flow, tightened, nanos);
        let tightened = flow.debt(tightened);
        // The server's account of another limit says nothing about how full a configured quota is: there, use is
        // compared instead of what is left.
        let is_same = quota.as_configured().is_none() || reported.limit == Some(quota.quota().amount());
        let more = if is_same {
            let there = there.saturating_sub_unsigned(flying);
            u64::try_from(there.saturating_sub(here)).unwrap_or(0)
        } else {
            let used = reported.limit.map_or(u64::MAX, |limit| limit - remaining);
            bucket.owed(flow, nanos).saturating_sub(used.saturating_add(flying))
        };
        let interval = flow.interval();
        let estimate = self.server_mut().estimate_mut(id);
        if tightened > 0 {
            estimate.tightened_until = estimate.tightened_until.max(nanos).saturating_add(tightened);
        }
        if more == 0 {
            estimate.level.no_more();
        } else if let Some(more) = estimate.level.more(more) {
            if is_same {
                self.loosen(index, more, reported.limit, now);
            } else {
                self.give_back(index, interval.saturating_mul(more), now);
            }
        }
        self.read_gauge(index, reported, flying, reservation, now);
    }

    /// The server has so much more of this very limit than was assumed: less is owed, and more may come at once.
    fn loosen(&mut self, index: usize, more: u64, limit: Option<u64>, now: Instant) {
        let nanos = self.set.nanos(now);
        let (quota, bucket) = self.set.at(index);
        let (id, flow) = (quota.id(), *quota.flow());
        let owed = bucket.owed(&flow, nanos);
        // In whole units, as the server counts what is left: a part of one is not there yet.
        let stays = flow.interval().saturating_mul(owed.saturating_sub(more));
        bucket.give_back(bucket.drawn_until().saturating_sub(nanos).saturating_sub(stays));
        let estimate = self.server_mut().estimate_mut(id);
        let back = flow.interval().saturating_mul(more);
        estimate.tightened_until = estimate.tightened_until.saturating_sub(back);
        let beyond = as_u32(more.saturating_sub(owed));
        if beyond == 0 || estimate.burst_refuted {
            return;
        }
        let (quota, bucket) = self.set.at_mut(index);
        let most = as_u32(limit.unwrap_or(quota.quota().amount()));
        let burst = flow.burst().saturating_add(beyond).min(most).max(flow.burst());
        let larger = quota.quota().burst(burst);
        quota.change(larger, bucket, nanos);
    }

    /// Gives back what readings took from a configured quota, as far as it has not flowed back
    /// since, and no more than `at_most`. What flowed back is counted as theirs first.
    pub(super) fn give_back(&mut self, index: usize, at_most: u64, now: Instant) {
        let nanos = self.set.nanos(now);
        let id = self.set.quotas()[index].id();
        let estimate = self.server_mut().estimate_mut(id);
        let back = estimate.tightened_until.saturating_sub(nanos).min(at_most);
        estimate.tightened_until = estimate.tightened_until.saturating_sub(back);
        self.set.at(index).1.give_back(back);
    }

    /// The server has refused a call: what was believed of it beyond what the user set may be wrong.
    pub(super) fn contradict(&mut self, reservation: &Reservation, outcome: &Outcome, now: Instant) {
        let nanos = self.set.nanos(now);
        let Some(server) = &mut self.server else { return };
        let named = outcome.dimension();
        let shares = reservation.shares.iter().enumerate().filter(|(_, share)| share.cost > 0);
        for (index, share) in shares {
            let Some(index) = self.set.find(index, share.id) else {
                continue;
            };
            let Some(estimate) = server.find_estimate(share.id) else {
                continue;
            };
            let counted = self.set.quotas()[index].counted();
            if named.is_some_and(|named| !counted.is_part_of(named)) {
                continue;
            }
            estimate.gauge.refused();
            estimate.trial.refused(nanos);
            let (quota, bucket) = self.set.at_mut(index);
            let configured = quota.as_configured().map(Quota::max_burst);
            if let Some(burst) = configured.filter(|burst| *burst < quota.quota().max_burst()) {
                // With a burst of its own, the server would have had none left.
                if !reservation.shortage_shown && outcome.is_shared_throttle() {
                    estimate.burst_refuted = true;
                    let smaller = quota.quota().burst(burst);
                    quota.change(smaller, bucket, nanos);
                }
            }
        }
    }

    /// The server refuses a call for which a configured quota of requests had enough. If that lasts for so much longer
    /// than one takes to flow back, it counts in a fixed window: its next one is full.
    pub(super) fn note_window(&mut self, reservation: &Reservation, outcome: &Outcome, now: Instant) {
        if outcome.is_of_concurrency() {
            return;
        }
        let sent = self.set.nanos(reservation.at);
        let hint = outcome.retry_after().unwrap_or_default();
        let until = self.set.nanos(now + hint.min(LONGEST_HINT));
        for share in &reservation.shares {
            let found = self.set.quotas().iter().find(|quota| quota.id() == share.id);
            let Some(quota) = found.filter(|quota| quota.counted() == Counted::Requests) else {
                continue;
            };
            let is_named = outcome.dimension().is_none_or(|named| quota.counted().is_part_of(named));
            if quota.as_configured().is_none() || !is_named {
                continue;
            }
            let takes = quota.flow().interval().saturating_mul(share.cost);
            let is_within = hint <= quota.quota().window();
            let estimate = self.server_mut().estimate_mut(share.id);
            if estimate.refused_from == 0 {
                estimate.refused_from = sent.max(1);
            }
            let lasted = until.saturating_sub(estimate.refused_from);
            if is_within && lasted > takes.saturating_mul(3) {
                estimate.full_at = until;
            }
        }
    }

    /// A call was accepted. If it went when the server's window was over, the quota is full, but for what has gone since.
    pub(super) fn refill(&mut self, reservation: &Reservation, now: Instant) {
        let Some(server) = &mut self.server else { return };
        let (sent, nanos) = (self.set.nanos(reservation.at), self.set.nanos(now));
        for share in &reservation.shares {
            let Some(estimate) = server.find_estimate(share.id) else {
                continue;
            };
            if estimate.refused_from == 0 || sent < estimate.refused_from.max(estimate.full_at) {
                continue;
            }
            let is_full = estimate.full_at > 0;
            (estimate.refused_from, estimate.full_at) = (0, 0);
            if let Some(index) = self.set.find(0, share.id).filter(|_| is_full) {
                let (quota, bucket) = self.set.at(index);
                let in_flight = bucket.unanswered.max(share.cost);
                let owed = bucket.owed(quota.flow(), nanos);
                let until = bucket.drawn_until();
                bucket.refund(quota.flow(), owed.saturating_sub(in_flight), until, nanos);
                estimate.tightened_until = 0;
            }
        }
    }
}
