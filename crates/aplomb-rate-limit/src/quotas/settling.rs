//! What becomes of a charge: kept, given back, added to.

use aplomb_admission::{End, Gate};
use aplomb_core::Outcome;
use tokio::time::Instant;

use super::{Drawn, Quotas};
use crate::Charge;
use crate::charge::Counted;
use crate::settle::{Known, Settle, Used};

impl Quotas {
    /// The server has said its first word on a call: it has counted it, if it ever will.
    #[inline]
    pub(super) fn answered(&mut self, drawn: &mut Drawn) {
        if !std::mem::take(&mut drawn.unanswered) {
            return;
        }
        self.unanswered = self.unanswered.saturating_sub(1);
        for (index, share) in drawn.shares.iter().enumerate() {
            if let Some(index) = self.find(index, share.id) {
                let bucket = &mut self.buckets[index];
                bucket.unanswered = bucket.unanswered.saturating_sub(share.cost);
            }
        }
    }

    /// The server took a call.
    #[inline]
    pub(super) fn took(&mut self, drawn: &mut Drawn, now: Instant) {
        let news = !std::mem::replace(&mut drawn.taken, true);
        if let Some(peer) = self.peer.as_mut().filter(|_| news) {
            if let Some(finder) = &mut peer.finder {
                finder.took(drawn.requests);
            } else if peer.knows_nothing(now) {
                self.peer = None;
            }
        }
    }

    /// The server refused a call for coming too fast.
    pub(super) fn throttled(&mut self, drawn: &Drawn, outcome: &Outcome, now: Instant) {
        let used_up = self.is_used_up(now);
        let peer = self.peer_mut(now);
        if let Some(finder) = &mut peer.finder {
            finder.did_not_take(drawn.requests);
        }
        if !outcome.is_shared_throttle() {
            return;
        }
        let news = peer.pause.throttled(drawn.at, outcome.retry_after(), now);
        if news {
            self.nothing_was_left(drawn, outcome, now);
        }
        let Some(peer) = &mut self.peer else { return };
        // Where the quotas the server told of are used up, that is why.
        if let Some(finder) = peer.finder.as_mut().filter(|_| news && !used_up) {
            finder.refused(outcome.retry_after(), now);
        }
    }

    /// The server had nothing left of some quota for this call, and will have when it comes back: so what
    /// the quota was thought to have left is not there.
    fn nothing_was_left(&mut self, drawn: &Drawn, outcome: &Outcome, now: Instant) {
        let nanos = self.nanos(now);
        let Some((index, cost)) = self.refusing(drawn, outcome, nanos) else {
            return;
        };
        let (meter, bucket) = (&self.setup.meters[index], &mut self.buckets[index]);
        let hint = outcome.retry_after().unwrap_or_default();
        let comes = u64::try_from(hint.as_nanos()).unwrap_or(u64::MAX) / meter.interval();
        // Costs in tokens are estimates, so the time may be too short for them.
        let stays = if meter.counted() == Counted::Requests {
            cost
        } else {
            0
        };
        let left = bucket.available(meter, nanos).saturating_add_unsigned(comes);
        bucket.owe(meter, u64::try_from(left.saturating_sub_unsigned(stays)).unwrap_or(0), nanos);
    }

    /// The quota that the server refused a call for, and what the call drew from it.
    ///
    /// It is one that the server named. Otherwise, unless its head showed a shortage, which has been taken in,
    /// it is the quota that was closest to empty of those that the head did not show to have enough. Requests
    /// are counted as the server counts them: that they were closest to empty is no news.
    fn refusing(&self, drawn: &Drawn, outcome: &Outcome, nanos: u64) -> Option<(usize, u64)> {
        let named = outcome.dimension();
        if outcome.is_of_concurrency() || (named.is_none() && drawn.shortage_shown) {
            return None;
        }
        let shares = drawn.shares.iter().enumerate().filter(|(_, share)| share.cost > 0);
        let shares = shares.filter_map(|(index, share)| Some((self.find(index, share.id)?, share)));
        let refusing = shares.filter(|(index, share)| match named {
            Some(named) => self.setup.meters[*index].counted().is_part_of(named),
            None => !share.enough_shown,
        });
        let closest = refusing.min_by_key(|(index, share)| {
            let (meter, bucket) = (&self.setup.meters[*index], &self.buckets[*index]);
            let had = bucket.available(meter, nanos).saturating_add_unsigned(share.cost);
            let had = i128::from(had) * 1_000 / i128::from(meter.burst());
            (had, meter.counted() == Counted::Requests)
        });
        let is_news =
            |index: usize| named.is_some() || self.setup.meters[index].counted() != Counted::Requests;
        closest.filter(|(index, _)| is_news(*index)).map(|(index, share)| (index, share.cost))
    }

    /// Gives everything back that has not flowed back by itself: the call has cost nothing.
    pub(super) fn refund(&mut self, drawn: &Drawn, now: Instant) {
        let nanos = self.nanos(now);
        for (index, share) in drawn.shares.iter().enumerate() {
            let Some(index) = self.find(index, share.id) else {
                continue;
            };
            let meter = &self.setup.meters[index];
            if let Some(until) = meter.holds_until(share.until, share.changes) {
                self.buckets[index].refund(meter, share.cost, until, nanos);
            }
        }
        if let Some(finder) = self.peer.as_mut().and_then(|peer| peer.finder.as_mut()) {
            finder.did_not_take(drawn.requests);
        }
    }

    /// Settles what a call has drawn with what it `used`. What did not end `well` gives nothing back.
    pub(super) fn settle(&mut self, drawn: &Drawn, used: &impl Used, well: bool, now: Instant) {
        let nanos = self.nanos(now);
        for (index, share) in drawn.shares.iter().enumerate() {
            let Some(index) = self.find(index, share.id) else {
                continue;
            };
            let (meter, bucket) = (&self.setup.meters[index], &mut self.buckets[index]);
            let settles = meter.quota().settles_else(self.setup.settle);
            let Some(used) = used.of(meter.counted()).filter(|_| settles != Settle::Keep) else {
                continue;
            };
            let beyond = used.at_least().saturating_sub(share.cost);
            bucket.owe(meter, beyond, nanos);
            if let Known::All(used) = used
                && used < share.cost
                && settles == Settle::Correct
                && well
                && let Some(until) = meter.holds_until(share.until, share.changes)
            {
                bucket.refund(meter, share.cost - used, until, nanos);
            }
        }
    }

    /// A call ended well and was `actual`, as its caller says.
    pub(crate) fn settled(&mut self, drawn: Drawn, actual: &Charge, now: Instant) {
        self.settle(&drawn, actual, true, now);
        let outcome = Outcome::success();
        self.end(drawn, End::Judged { outcome, usage: None }, now);
    }

    /// Where a bucket is: nearly always where it was.
    #[inline]
    fn find(&self, index: usize, id: u32) -> Option<usize> {
        let meters = &self.setup.meters;
        if meters.get(index).is_some_and(|meter| meter.id() == id) {
            return Some(index);
        }
        meters.iter().position(|meter| meter.id() == id)
    }

    /// Whether a quota that the server told of has nothing left.
    fn is_used_up(&self, now: Instant) -> bool {
        let now = self.nanos(now);
        self.metered()
            .any(|(meter, bucket)| meter.as_configured().is_none() && bucket.available(meter, now) <= 0)
    }
}
