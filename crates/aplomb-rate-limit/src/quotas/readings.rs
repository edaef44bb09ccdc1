//! What the server says of its own limits, and how much of it is believed.
//!
//! Stricter than what we think is believed at once; looser when several readings in a row agree, less
//! what is in flight, which the server may not have counted yet. A quota that was configured is never
//! exceeded: the server can only tighten it, and loosen what it tightened. What no reading confirms for
//! an hour lapses.

use std::sync::Arc;
use std::time::Duration;

use aplomb_core::{Dimension, Reading};
use tokio::time::Instant;

use super::{Drawn, Quotas};
use crate::Quota;
use crate::bucket::Bucket;
use crate::meter::Meter;
use crate::reading::{Told, Window};

/// No more quotas than this are learned: a server that makes up windows must not fill the memory.
const MOST_METERS: usize = 8;

/// Nothing is learned whose window is longer: no provider has one, and one that is made up would stop
/// everything.
const LONGEST_LEARNED: Duration = Duration::from_secs(24 * 60 * 60);

/// What a reading is about.
enum About {
    /// The bucket in this place.
    Bucket(usize),
    /// A limit that no quota is kept for.
    Unheard,
    /// Another limit than the quota that was configured, and nobody knows for sure which.
    Another,
}

impl Quotas {
    /// Takes in what the head of the answer to `drawn` says of one limit.
    pub(super) fn believe(&mut self, reading: &Reading, drawn: &mut Drawn, now: Instant) {
        let Some(told) = Told::of(reading) else { return };
        let dimension = reading.dimension();
        drawn.shortage_shown |= told.remaining == Some(0);
        match self.about(dimension, told) {
            About::Bucket(index) => {
                let id = self.setup.meters[index].id();
                let share = drawn.shares.iter_mut().find(|share| share.id == id);
                if let Some((share, remaining)) = share.zip(told.remaining) {
                    share.enough_shown = remaining >= share.cost;
                    drawn.shortage_shown |= remaining < share.cost;
                }
                self.believe_rate(index, told, now);
                self.believe_level(index, told, now);
                self.confirm(index, now);
            }
            About::Unheard => self.learn_from(dimension, told, drawn, now),
            About::Another => {}
        }
        if dimension == Dimension::REQUESTS
            && let Some(finder) = self.peer.as_mut().and_then(|peer| peer.finder.as_mut())
            && self.setup.meters.iter().any(|meter| meter.quota().dimension() == dimension)
        {
            finder.told();
        }
    }

    /// What a reading is about: the quota of its dimension and window. Where the window is only guessed,
    /// one of the same amount is meant as well; and where the server did not say the window, a quota that
    /// was learned may be meant, whose window was not sure either.
    fn about(&self, dimension: Dimension, told: Told) -> About {
        let find = |meant: &dyn Fn(&Meter) -> bool| {
            let meters = &self.setup.meters;
            meters.iter().position(|meter| meter.quota().dimension() == dimension && meant(meter))
        };
        let exact = find(&|meter| meter.quota().window() == told.window.length());
        let found = match told.window {
            Window::Told(_) => return exact.map_or(About::Unheard, About::Bucket),
            Window::Follows(_) => exact,
            Window::Guessed(_) => exact.or_else(|| find(&|meter| Some(meter.quota().amount()) == told.limit)),
        };
        let found = found.or_else(|| find(&|meter| meter.as_configured().is_none()));
        match (found, find(&|_| true)) {
            (Some(index), _) => About::Bucket(index),
            (None, Some(_)) => About::Another,
            (None, None) => About::Unheard,
        }
    }

    /// Takes over the limit that is told: at once if it is less, when it has been said several times if
    /// it is more, and never more than what is configured.
    fn believe_rate(&mut self, index: usize, told: Told, now: Instant) {
        let meter = &self.setup.meters[index];
        let window = match told.window {
            Window::Guessed(_) => meter.quota().window(),
            Window::Told(window) | Window::Follows(window) => window,
        };
        let Some(limit) = told.limit else { return };
        let (id, in_force) = (meter.id(), meter.interval());
        let as_told = Quota::new(meter.quota().dimension(), limit, window);
        let at_least = meter.as_configured().map_or(0, Quota::interval);
        let interval = as_told.interval().max(at_least);
        let belief = &mut self.peer_mut(now).belief(id).rate;
        if interval > in_force {
            belief.no_more();
            self.put_in_force(index, as_told, now);
        } else if interval == in_force {
            belief.no_more();
        } else if let Some(least) = belief.more(limit) {
            let agreed = Quota::new(as_told.dimension(), least, window);
            self.put_in_force(index, agreed, now);
        }
    }

    fn put_in_force(&mut self, index: usize, as_told: Quota, now: Instant) {
        let nanos = self.nanos(now);
        let meter = &mut Arc::make_mut(&mut self.setup).meters[index];
        let quota = match meter.as_configured() {
            Some(configured) if configured.interval() >= as_told.interval() => *configured,
            Some(configured) => as_told
                .burst(configured.max_burst().min(as_u32(as_told.amount())))
                .settle(configured.settles()),
            None => as_told.burst(meter.burst().min(as_u32(as_told.amount()))),
        };
        let changes = meter.changes();
        meter.change(quota, &mut self.buckets[index], nanos);
        let meter = self.setup.meters[index];
        if meter.changes() != changes {
            let belief = self.peer_mut(now).belief(meter.id());
            belief.tightened_until = meter.converted(belief.tightened_until);
        }
    }

    fn believe_level(&mut self, index: usize, told: Told, now: Instant) {
        let Some(remaining) = told.remaining else { return };
        let nanos = self.nanos(now);
        let meter = &self.setup.meters[index];
        let bucket = &mut self.buckets[index];
        // Calls that went before the quota was learned have drawn nothing from it.
        let flying = match meter.quota().dimension() {
            Dimension::REQUESTS => bucket.unanswered.max(self.unanswered.into()),
            _ => bucket.unanswered,
        };
        let id = meter.id();
        let here = bucket.available(meter, nanos);
        let there = i64::try_from(remaining).unwrap_or(i64::MAX);
        let tightened = here.saturating_sub(there).max(0).unsigned_abs();
        bucket.owe(meter, tightened, nanos);
        let tightened = meter.debt(tightened);
        // A configured burst says nothing about how full the server's bucket is: there what has been
        // used is compared, not what is left.
        let owed = bucket.owed(meter, nanos);
        let more = if meter.as_configured().is_some() {
            let used = told.limit.map_or(u64::MAX, |limit| limit - remaining);
            owed.saturating_sub(used.saturating_add(flying))
        } else {
            let there = there.saturating_sub_unsigned(flying);
            u64::try_from(there.saturating_sub(here)).unwrap_or(0)
        };
        let belief = self.peer_mut(now).belief(id);
        if tightened > 0 {
            belief.tightened_until = belief.tightened_until.max(nanos).saturating_add(tightened);
        }
        if more == 0 {
            belief.level.no_more();
        } else if let Some(more) = belief.level.more(more) {
            self.loosen(index, more, told.limit, now);
        }
    }

    /// There is so much more than was thought: less is owed, and the burst of a learned quota is larger.
    /// Of a quota that was configured no more is given back than what the server took: what calls have
    /// drawn stays drawn.
    fn loosen(&mut self, index: usize, more: u64, limit: Option<u64>, now: Instant) {
        if self.setup.meters[index].as_configured().is_some() {
            let interval = self.setup.meters[index].interval();
            return self.give_back(index, interval.saturating_mul(more), now);
        }
        let now = self.nanos(now);
        let meter = &self.setup.meters[index];
        let bucket = &mut self.buckets[index];
        let owed = bucket.owed(meter, now);
        let until = bucket.drawn_until();
        bucket.refund(meter, more, until, now);
        let beyond = as_u32(more.saturating_sub(owed));
        if beyond > 0 {
            let most = as_u32(limit.unwrap_or(meter.quota().amount()));
            let quota = meter.quota().burst(meter.burst().saturating_add(beyond).min(most));
            Arc::make_mut(&mut self.setup).meters[index].change(quota, bucket, now);
        }
    }

    /// Gives back what readings took from a quota that was configured, as much as has not flowed back
    /// since, and no more than `at_most`. What flowed is counted as theirs first.
    pub(super) fn give_back(&mut self, index: usize, at_most: u64, now: Instant) {
        let nanos = self.nanos(now);
        let id = self.setup.meters[index].id();
        let belief = self.peer_mut(now).belief(id);
        let back = belief.tightened_until.saturating_sub(nanos).min(at_most);
        belief.tightened_until = belief.tightened_until.saturating_sub(back);
        self.buckets[index].give_back(back);
    }

    /// Nobody has configured this quota: from now on it is kept all the same.
    fn learn_from(&mut self, dimension: Dimension, told: Told, drawn: &Drawn, now: Instant) {
        let Some(limit) = told.limit.filter(|_| self.setup.learning) else {
            return;
        };
        if told.window.length() > LONGEST_LEARNED {
            return;
        }
        let quota = Quota::new(dimension, limit, told.window.length());
        let Some(remaining) = told.remaining else {
            return self.learn(quota, now);
        };
        // What the server shows is what may come at once; if it is less than all, then of requests as
        // much as before this call.
        let own = if dimension == Dimension::REQUESTS {
            drawn.requests
        } else {
            0
        };
        let shown = remaining.saturating_add(own).min(limit);
        let quota = if dimension == Dimension::REQUESTS {
            quota.burst(as_u32(shown))
        } else {
            quota
        };
        let before = self.buckets.len();
        self.learn(quota, now);
        let nanos = self.nanos(now);
        let others = if dimension == Dimension::REQUESTS {
            self.unanswered.into()
        } else {
            0
        };
        if let (Some(meter), Some(bucket)) = (self.setup.meters.get(before), self.buckets.get_mut(before)) {
            let left = remaining.saturating_sub(others);
            bucket.owe(meter, u64::from(meter.burst()).saturating_sub(left), nanos);
        }
    }

    /// Keeps a quota that nobody configured, full, unless there is one like it.
    pub(super) fn learn(&mut self, quota: Quota, now: Instant) {
        let known = |meter: &Meter| {
            meter.quota().dimension() == quota.dimension() && meter.quota().window() == quota.window()
        };
        if self.setup.meters.len() >= MOST_METERS || self.setup.meters.iter().any(known) {
            return;
        }
        let setup = Arc::make_mut(&mut self.setup);
        setup.meters.push(Meter::learned(setup.numbered, quota));
        setup.numbered = setup.numbered.wrapping_add(1);
        self.buckets.push(Bucket::full());
        self.confirm(self.buckets.len() - 1, now);
    }
}

fn as_u32(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
