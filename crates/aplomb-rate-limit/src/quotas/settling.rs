//! What becomes of a charge: kept, given back, added to.

use std::time::Duration;

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
            self.nothing_was_left(drawn, outcome.retry_after(), now);
        }
        let Some(peer) = &mut self.peer else { return };
        // Where the quotas the server told of are used up, that is why.
        if let Some(finder) = peer.finder.as_mut().filter(|_| news && !used_up) {
            finder.refused(outcome.retry_after(), now);
        }
    }

    /// Of some quota the server had nothing left for this call, and will have when it comes back.
    ///
    /// Requests are counted as the server counts them, and tokens are estimated: so it is a quota of tokens,
    /// and of several the one that was closest to its end. What it was thought to have left is not there.
    fn nothing_was_left(&mut self, drawn: &Drawn, hint: Option<Duration>, now: Instant) {
        let nanos = self.nanos(now);
        let pause = hint.map_or(0, |hint| u64::try_from(hint.as_nanos()).unwrap_or(u64::MAX));
        let drew = drawn.shares.iter().enumerate().filter(|(_, share)| share.cost > 0);
        let drew = drew.filter_map(|(index, share)| self.find(index, share.id));
        let estimated = drew.filter(|index| {
            matches!(self.setup.meters[*index].counted(), Counted::Tokens | Counted::Input | Counted::Output)
        });
        let saved_up = |index: usize| {
            let (meter, bucket) = (&self.setup.meters[index], &self.buckets[index]);
            let left = u64::try_from(bucket.available(meter, nanos)).unwrap_or(0);
            meter.interval().saturating_mul(left)
        };
        let Some(index) = estimated.min_by_key(|index| saved_up(*index)) else {
            return;
        };
        let (meter, bucket) = (&self.setup.meters[index], &mut self.buckets[index]);
        let comes = i64::try_from(pause / meter.interval()).unwrap_or(i64::MAX);
        let beyond = bucket.available(meter, nanos).saturating_add(comes);
        bucket.owe(meter, u64::try_from(beyond).unwrap_or(0), nanos);
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
