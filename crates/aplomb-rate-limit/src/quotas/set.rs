//! The quotas in force and their buckets: all admit a call, or none is charged.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::RateLimitReason;
use super::reservation::{Reservation, Share};
use crate::active_quota::ActiveQuota;
use crate::bucket::{Bucket, Level};
use crate::charge::Counted;
use crate::settle::{ActualUse, Used};
use crate::{Charge, Dimension, Quota, Settle};

/// The quotas in force, the configured ones first, and a bucket for each.
#[derive(Clone, Debug)]
pub(super) struct QuotaSet {
    setup: Arc<Setup>,
    /// In the order of the setup's quotas.
    buckets: SmallVec<[Bucket; 2]>,
}

/// Everything that changes only when something is set or learned. Shared by clones until then.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    /// The time from which the buckets count.
    pub(super) epoch: Instant,
    quotas: SmallVec<[ActiveQuota; 2]>,
    next_id: u32,
    pub(super) settings: Settings,
}

/// Settings beside the quotas.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// The longest time that calls wait because the server names it.
    pub(super) max_pause: Duration,
    pub(super) learning: bool,
    /// True if it acts on throttled responses; otherwise another gate does.
    pub(super) pausing: bool,
    /// The quotas are on calls that arrive, not on calls to a server: responses say nothing about a limit.
    pub(super) inbound: bool,
    /// How everything but requests is settled, unless a quota says otherwise.
    pub(super) settle: Settle,
    pub(super) seed: Option<u64>,
}

impl QuotaSet {
    /// Full buckets.
    pub(super) fn new(quotas: impl IntoIterator<Item = Quota>, settings: Settings) -> Self {
        let quotas: SmallVec<[ActiveQuota; 2]> =
            (0..).zip(quotas).map(|(id, quota)| ActiveQuota::configured(id, quota)).collect();
        let next_id = u32::try_from(quotas.len()).unwrap_or(u32::MAX);
        let buckets = quotas.iter().map(|_| Bucket::full()).collect();
        let setup = Arc::new(Setup { epoch: Instant::now(), quotas, next_id, settings });
        Self { setup, buckets }
    }

    #[cfg(test)]
    pub(super) fn epoch(&self) -> Instant {
        self.setup.epoch
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.setup.settings
    }

    pub(super) fn settings_mut(&mut self) -> &mut Settings {
        &mut Arc::make_mut(&mut self.setup).settings
    }

    #[inline]
    pub(super) fn nanos(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.setup.epoch);
        // 584 years of them fit.
        since.as_secs().saturating_mul(1_000_000_000).saturating_add(since.subsec_nanos().into())
    }

    pub(super) fn instant(&self, nanos: u64) -> Instant {
        self.setup.epoch + Duration::from_nanos(nanos)
    }

    pub(super) fn quotas(&self) -> &[ActiveQuota] {
        &self.setup.quotas
    }

    /// Returns whether all of them were learned.
    pub(super) fn is_unconfigured(&self) -> bool {
        self.quotas().iter().all(|quota| quota.as_configured().is_none())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ActiveQuota, &Bucket)> {
        self.setup.quotas.iter().zip(&self.buckets)
    }

    /// The quota at `index`, and its bucket.
    pub(super) fn at(&mut self, index: usize) -> (&ActiveQuota, &mut Bucket) {
        (&self.setup.quotas[index], &mut self.buckets[index])
    }

    /// The same, to change the quota.
    pub(super) fn at_mut(&mut self, index: usize) -> (&mut ActiveQuota, &mut Bucket) {
        (&mut Arc::make_mut(&mut self.setup).quotas[index], &mut self.buckets[index])
    }

    /// The units that can be taken at `index`.
    pub(super) fn available(&self, index: usize, nanos: u64) -> i64 {
        self.buckets[index].available(self.setup.quotas[index].flow(), nanos)
    }

    /// The place of a quota: nearly always where it was.
    #[inline]
    pub(super) fn find(&self, index: usize, id: u32) -> Option<usize> {
        let quotas = &self.setup.quotas;
        if quotas.get(index).is_some_and(|quota| quota.id() == id) {
            return Some(index);
        }
        quotas.iter().position(|quota| quota.id() == id)
    }

    /// Returns whether all quotas have enough for `charge`, and if not, when they will have and which is the last.
    /// Proposes the charge to each bucket that has.
    #[inline]
    pub(super) fn check(
        &mut self,
        charge: &Charge,
        nanos: u64,
    ) -> Result<Option<(u64, Dimension)>, RateLimitReason> {
        let mut latest = None;
        for (quota, bucket) in self.setup.quotas.iter().zip(&mut self.buckets) {
            let cost = charge.counted(quota.counted());
            if charge.is_unknown(quota.counted()) && quota.as_configured().is_some() {
                return Err(RateLimitReason::CostUnknown(quota.quota().dimension()));
            }
            match quota.level(bucket, cost, nanos) {
                Level::Enough { drawn_until } => bucket.propose(drawn_until),
                Level::NotBefore(at) => latest = latest.max(Some((at, quota.quota().dimension()))),
                Level::Above(capacity) => {
                    let dimension = quota.quota().dimension();
                    return Err(RateLimitReason::AboveCapacity { dimension, cost, capacity });
                }
            }
        }
        Ok(latest)
    }

    /// Takes what [`check`](Self::check) has just proposed.
    #[inline]
    pub(super) fn take(&mut self, charge: &Charge) -> SmallVec<[Share; 2]> {
        let take = |(quota, bucket): (&ActiveQuota, &mut Bucket)| {
            let cost = charge.counted(quota.counted());
            bucket.commit();
            bucket.unanswered = bucket.unanswered.saturating_add(cost);
            bucket.taken = bucket.taken.wrapping_add(cost);
            Share {
                id: quota.id(),
                changes: quota.changes(),
                enough_shown: false,
                cost,
                taken: bucket.taken,
                drawn_until: bucket.drawn_until(),
            }
        };
        match (&*self.setup.quotas, &mut *self.buckets) {
            // By far the most frequent cases, without checking for room at each step.
            ([quota], [bucket]) => SmallVec::from_buf_and_len([take((quota, bucket)), Share::NONE], 1),
            ([first, second], [one, other]) => {
                SmallVec::from_buf([take((first, one)), take((second, other))])
            }
            (quotas, buckets) => quotas.iter().zip(buckets).map(take).collect(),
        }
    }

    /// When the last of `charges` can be taken, one after the other; `None` if none draws from a quota.
    pub(super) fn forecast(&self, charges: &mut dyn Iterator<Item = &Charge>, nanos: u64) -> Option<u64> {
        // For each bucket: what is drawn before the last call that draws from it, and what that one draws.
        let mut drawn: SmallVec<[(u64, u64); 2]> = self.buckets.iter().map(|_| (0, 0)).collect();
        for charge in charges {
            for ((ahead, last), quota) in drawn.iter_mut().zip(self.quotas()) {
                let cost = charge.counted(quota.counted());
                if cost > 0 {
                    *ahead = ahead.saturating_add(std::mem::replace(last, cost));
                }
            }
        }
        let drawn = self.iter().zip(drawn).filter(|(_, (_, last))| *last > 0);
        drawn
            .map(|((quota, bucket), (ahead, last))| bucket.forecast(quota.flow(), ahead, last, nanos))
            .max()
    }

    /// The server has answered a call: it has counted it, if it ever will.
    #[inline]
    pub(super) fn on_answered(&mut self, reservation: &Reservation) {
        for (index, share) in reservation.shares.iter().enumerate() {
            if let Some(index) = self.find(index, share.id) {
                let bucket = &mut self.buckets[index];
                bucket.unanswered = bucket.unanswered.saturating_sub(share.cost);
            }
        }
    }

    /// Gives everything back that has not flowed back by itself: the call has cost nothing.
    pub(super) fn refund(&mut self, reservation: &Reservation, nanos: u64) {
        self.refund_where(reservation, nanos, |_| true);
    }

    /// The same for everything but requests.
    pub(super) fn refund_all_but_requests(&mut self, reservation: &Reservation, nanos: u64) {
        self.refund_where(reservation, nanos, |counted| counted != Counted::Requests);
    }

    fn refund_where(&mut self, reservation: &Reservation, nanos: u64, is_refunded: impl Fn(Counted) -> bool) {
        for (index, share) in reservation.shares.iter().enumerate() {
            let Some(index) = self.find(index, share.id) else {
                continue;
            };
            let (quota, bucket) = self.at(index);
            if !is_refunded(quota.counted()) {
                continue;
            }
            if let Some(until) = quota.converted_since(share.changes, share.drawn_until) {
                bucket.refund(quota.flow(), share.cost, until, nanos);
            }
        }
    }

    /// Settles what a call has drawn with what it used. A call that did not end `well` gets nothing back.
    pub(super) fn settle(
        &mut self,
        reservation: &Reservation,
        used: &impl ActualUse,
        well: bool,
        nanos: u64,
    ) {
        let usual = self.settings().settle;
        for (index, share) in reservation.shares.iter().enumerate() {
            let Some(index) = self.find(index, share.id) else {
                continue;
            };
            let (quota, bucket) = self.at(index);
            let settle = quota.quota().settles_else(usual);
            let Some(used) = used.of(quota.counted()).filter(|_| settle != Settle::Keep) else {
                continue;
            };
            bucket.owe(quota.flow(), used.at_least().saturating_sub(share.cost), nanos);
            let surplus = match used {
                Used::Exactly(used) if well && settle == Settle::Correct => share.cost.saturating_sub(used),
                _ => 0,
            };
            if surplus == 0 {
                continue;
            }
            if let Some(until) = quota.converted_since(share.changes, share.drawn_until) {
                bucket.refund(quota.flow(), surplus, until, nanos);
            }
        }
    }

    /// Adds a quota that nobody configured, full, unless there is one like it; returns whether it did.
    pub(super) fn learn(&mut self, quota: Quota) -> bool {
        if self.quotas().iter().any(|known| is_same(known, &quota)) {
            return false;
        }
        let setup = Arc::make_mut(&mut self.setup);
        setup.quotas.push(ActiveQuota::learned(setup.next_id, quota));
        setup.next_id = setup.next_id.wrapping_add(1);
        self.buckets.push(Bucket::full());
        true
    }

    /// Adds a limit of which only the level is known.
    pub(super) fn learn_level(&mut self, dimension: Dimension, limit: u64) {
        let setup = Arc::make_mut(&mut self.setup);
        setup.quotas.push(ActiveQuota::of_unknown_rate(setup.next_id, dimension, limit));
        setup.next_id = setup.next_id.wrapping_add(1);
        self.buckets.push(Bucket::full());
    }

    /// Removes a quota.
    pub(super) fn remove(&mut self, index: usize) -> ActiveQuota {
        self.buckets.remove(index);
        Arc::make_mut(&mut self.setup).quotas.remove(index)
    }

    /// Replaces the configured quotas.
    ///
    /// A quota of the same dimension and window, or else of the same dimension, keeps its level in units. Learned
    /// quotas stay, unless they are configured now.
    pub(super) fn configure(&mut self, quotas: impl IntoIterator<Item = Quota>, nanos: u64) {
        let setup = Arc::make_mut(&mut self.setup);
        let mut old: Vec<(ActiveQuota, Bucket)> =
            setup.quotas.drain(..).zip(self.buckets.drain(..)).collect();
        let quotas: Vec<Quota> = quotas.into_iter().collect();
        // Exact matches first, so that a quota does not take the place of one that is still there.
        let mut kept: SmallVec<[Option<(ActiveQuota, Bucket)>; 4]> = quotas
            .iter()
            .map(|quota| {
                old.iter().position(|(known, _)| is_same(known, quota)).map(|index| old.remove(index))
            })
            .collect();
        for (quota, kept) in quotas.iter().zip(&mut kept).filter(|(_, kept)| kept.is_none()) {
            let alike = old.iter().position(|(known, _)| {
                known.as_configured().is_some() && known.quota().dimension() == quota.dimension()
            });
            *kept = alike.map(|index| old.remove(index));
        }
        for (quota, kept) in quotas.into_iter().zip(kept) {
            let (quota, bucket) = if let Some((mut active, mut bucket)) = kept {
                active.configure(quota, &mut bucket, nanos);
                (active, bucket)
            } else {
                let active = ActiveQuota::configured(setup.next_id, quota);
                setup.next_id = setup.next_id.wrapping_add(1);
                (active, Bucket::full())
            };
            setup.quotas.push(quota);
            self.buckets.push(bucket);
        }
        for (quota, bucket) in old.into_iter().filter(|(quota, _)| quota.as_configured().is_none()) {
            setup.quotas.push(quota);
            self.buckets.push(bucket);
        }
    }
}

fn is_same(known: &ActiveQuota, quota: &Quota) -> bool {
    known.has_window()
        && known.quota().dimension() == quota.dimension()
        && known.quota().window() == quota.window()
}
