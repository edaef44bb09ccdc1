//! Deciding, and being told.

use std::convert::Infallible;

use aplomb_admission::{Decision, End, Gate};
use aplomb_core::{Kind, Reading, Usage};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::drawn::Share;
use super::peer::Peer;
use super::{Drawn, Limit, Quotas};
use crate::Charge;
use crate::bucket::{Bucket, Level};
use crate::charge::Counted;
use crate::finder::Turn;
use crate::meter::Meter;
use crate::pause::Stance;

impl Gate for Quotas {
    type Ask = Charge;
    type Slip = Drawn;
    type Why = Limit;
    type Notice = Infallible;

    #[inline]
    fn check(&mut self, charge: &Charge, now: Instant) -> Decision<Limit> {
        let nanos = self.nanos(now);
        let mut lapse = self.peer.as_ref().and_then(|peer| peer.lapse);
        if lapse.is_some_and(|at| at <= nanos) {
            self.lapse(now);
            lapse = self.peer.as_ref().and_then(|peer| peer.lapse);
        }
        let mut latest = None;
        for (meter, bucket) in self.setup.meters.iter().zip(&mut self.buckets) {
            let cost = charge.counted(meter.counted());
            if charge.is_unknown(meter.counted()) && meter.as_configured().is_some() {
                return Decision::Refuse(Limit::CostUnknown(meter.quota().dimension()));
            }
            match bucket.level(meter, cost, nanos) {
                Level::Enough { drawn_until } => bucket.propose(drawn_until),
                Level::NotBefore(at) => latest = latest.max(Some((at, meter.quota().dimension()))),
                Level::Above(capacity) => {
                    let dimension = meter.quota().dimension();
                    return Decision::Refuse(Limit::AboveCapacity { dimension, cost, capacity });
                }
            }
        }
        // What lapses meanwhile is not waited for.
        let latest = latest.map(|(at, dimension)| (lapse.map_or(at, |lapse| lapse.min(at)), dimension));
        let filled = latest.map(|(at, dimension)| (self.instant(at), Limit::Quota(dimension)));
        match (&mut self.peer, filled) {
            (None, None) => Decision::Admit,
            (None, Some((at, limit))) => Decision::NotBefore(at, limit),
            (Some(peer), filled) => peer.check(filled, charge, self.unanswered, now),
        }
    }

    #[inline]
    fn admit(&mut self, charge: &Charge, now: Instant) -> Drawn {
        // What `check` has just proposed.
        let take = |(meter, bucket): (&Meter, &mut Bucket)| {
            let cost = charge.counted(meter.counted());
            bucket.commit();
            bucket.unanswered = bucket.unanswered.saturating_add(cost);
            Share {
                id: meter.id(),
                changes: meter.changes(),
                enough_shown: false,
                cost,
                until: bucket.drawn_until(),
            }
        };
        let shares = match (&*self.setup.meters, &mut *self.buckets) {
            // By far the most frequent cases, without a look at each step whether there is room.
            ([meter], [bucket]) => SmallVec::from_buf_and_len([take((meter, bucket)), Share::NONE], 1),
            ([first, second], [one, other]) => {
                SmallVec::from_buf([take((first, one)), take((second, other))])
            }
            (meters, buckets) => meters.iter().zip(buckets).map(take).collect(),
        };
        let requests = charge.counted(Counted::Requests);
        if let Some(peer) = &mut self.peer {
            peer.pause.gone();
            if let Some(finder) = &mut peer.finder {
                finder.gone(requests, self.unanswered, now);
            }
        }
        self.in_flight += 1;
        self.unanswered += 1;
        Drawn { at: now, requests, unanswered: true, taken: false, shortage_shown: false, shares }
    }

    fn content(&mut self, drawn: &mut Drawn, now: Instant) {
        self.answered(drawn);
        self.took(drawn, now);
    }

    fn heard(&mut self, drawn: &mut Drawn, readings: &[Reading], now: Instant) {
        self.answered(drawn);
        for reading in readings {
            self.believe(reading, drawn, now);
        }
    }

    fn used(&mut self, drawn: &mut Drawn, usage: Usage, now: Instant) {
        self.settle(drawn, &usage, false, now);
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what is handed over is read where it lies")]
    fn end(&mut self, mut drawn: Drawn, end: End, now: Instant) {
        self.answered(&mut drawn);
        self.in_flight -= 1;
        let End::Judged { outcome, usage } = end else {
            // Sent and abandoned counts with the peer; what was never sent does not.
            if end == End::Unsent {
                self.refund(&drawn, now);
            }
            return;
        };
        match outcome.kind() {
            Kind::Success => {
                self.took(&mut drawn, now);
                if let Some(peer) = &mut self.peer {
                    peer.pause.answered(drawn.at);
                }
            }
            Kind::Throttled => self.throttled(&drawn, &outcome, now),
            // Refused by a gate further in, before it was sent; or for reasons of money and keys,
            // which providers look at before they count.
            Kind::Local | Kind::Exhausted | Kind::Unauthorized => self.refund(&drawn, now),
            _ => {}
        }
        if let Some(usage) = usage {
            self.settle(&drawn, &usage, outcome.is_success(), now);
        }
    }

    fn forecast(&mut self, charges: &mut dyn Iterator<Item = &Charge>, now: Instant) -> Option<Instant> {
        // For each bucket: what is drawn before the last call that draws from it, and what that one draws.
        let mut drawn: SmallVec<[(u64, u64); 2]> = self.buckets.iter().map(|_| (0, 0)).collect();
        for charge in charges {
            for ((ahead, last), meter) in drawn.iter_mut().zip(&self.setup.meters) {
                let cost = charge.counted(meter.counted());
                if cost > 0 {
                    *ahead = ahead.saturating_add(std::mem::replace(last, cost));
                }
            }
        }
        let nanos = self.nanos(now);
        let filled = self.metered().zip(drawn).filter(|(_, (_, last))| *last > 0);
        let filled = filled
            .map(|((meter, bucket), (ahead, last))| bucket.forecast(meter, ahead, last, nanos))
            .max();
        let lapse = self.peer.as_ref().and_then(|peer| peer.lapse);
        let filled = filled.map(|at| self.instant(lapse.map_or(at, |lapse| lapse.max(nanos).min(at))));
        filled.max(self.paused_until(now))
    }

    fn lapses(&self) -> Option<Instant> {
        self.peer.as_ref().and_then(|peer| peer.finder.as_ref()?.lapses())
    }
}

impl Peer {
    /// What is known of the server, on top of what the quotas say.
    fn check(
        &mut self,
        filled: Option<(Instant, Limit)>,
        charge: &Charge,
        unanswered: u32,
        now: Instant,
    ) -> Decision<Limit> {
        let paused = match self.pause.stance(now) {
            Stance::Exhausted(retry_after) => return Decision::Refuse(Limit::Exhausted { retry_after }),
            Stance::NotBefore(at) => Some((at, Limit::Paused)),
            Stance::Go => None,
        };
        let turn = match &mut self.finder {
            Some(finder) => finder.turn(charge.counted(Counted::Requests), unanswered, now),
            None => Turn::Now,
        };
        let found = match turn {
            Turn::NotBefore(at) => Some((at, Limit::Unknown)),
            Turn::Now | Turn::WhenAnswered => None,
        };
        match filled.into_iter().chain(paused).chain(found).max_by_key(|(at, _)| *at) {
            Some((at, limit)) => Decision::NotBefore(at, limit),
            None if turn == Turn::WhenAnswered => Decision::WhenReleased(Limit::Unknown),
            None => Decision::Admit,
        }
    }
}
