//! What the server says of its own limits, and how much of it is believed.
//!
//! Stricter than what we think is believed at once; looser when several readings in a row agree, less
//! what is in flight, which the server may not have counted yet. A quota that was configured is never
//! exceeded: the server can only tighten it, and loosen what it tightened.

use std::sync::Arc;

use aplomb_core::{Dimension, Reading};
use tokio::time::Instant;

use super::{Drawn, Quotas};
use crate::Quota;
use crate::bucket::Bucket;
use crate::meter::Meter;
use crate::reading::{Told, Window};

/// No more quotas than this are learned: a server that makes up windows must not fill the memory.
const MOST_METERS: usize = 8;

impl Quotas {
    /// Takes in what the head of the answer to `drawn` says of one limit.
    pub(super) fn believe(&mut self, reading: &Reading, drawn: &Drawn, now: Instant) {
        let Some(told) = Told::of(reading) else { return };
        let dimension = reading.dimension();
        match self.metered_by(dimension, told.window) {
            Some(index) => {
                self.believe_rate(index, told, now);
                self.believe_level(index, told, now);
            }
            None => self.learn_from(dimension, told, drawn, now),
        }
        if dimension == Dimension::REQUESTS
            && let Some(finder) = self.peer.as_mut().and_then(|peer| peer.finder.as_mut())
            && self.setup.meters.iter().any(|meter| meter.quota().dimension() == dimension)
        {
            finder.told();
        }
    }

    /// The bucket a reading is about: of its dimension, and of its window where that is told.
    fn metered_by(&self, dimension: Dimension, window: Window) -> Option<usize> {
        let mut of_dimension = self
            .setup
            .meters
            .iter()
            .enumerate()
            .filter(|(_, meter)| meter.quota().dimension() == dimension);
        match window {
            Window::Told(window) => of_dimension.find(|(_, meter)| meter.quota().window() == window),
            Window::Follows(_) | Window::Guessed(_) => of_dimension.next(),
        }
        .map(|(index, _)| index)
    }

    /// Takes over the limit that is told: at once if it is less, when it has been said several times if
    /// it is more, and never more than what is configured.
    fn believe_rate(&mut self, index: usize, told: Told, now: Instant) {
        let meter = &self.setup.meters[index];
        let window = match (told.window, meter.as_configured()) {
            (Window::Guessed(_), _) => meter.quota().window(),
            // It tells of another quota than the one that is configured.
            (Window::Follows(window), Some(configured)) if window != configured.window() => return,
            (Window::Told(window) | Window::Follows(window), _) => window,
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
        } else if interval < in_force && belief.more(limit).is_some() {
            self.put_in_force(index, as_told, now);
        } else if interval == in_force {
            belief.no_more();
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
        meter.change(quota, &mut self.buckets[index], nanos);
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
        if here > there {
            bucket.owe(meter, here.abs_diff(there), nanos);
        }
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
        let belief = &mut self.peer_mut(now).belief(id).level;
        if more == 0 {
            belief.no_more();
        } else if let Some(more) = belief.more(more) {
            self.loosen(index, more, told.limit, nanos);
        }
    }

    /// There is so much more than was thought: less is owed, and the burst of a learned quota is larger.
    fn loosen(&mut self, index: usize, more: u64, limit: Option<u64>, now: u64) {
        let meter = &self.setup.meters[index];
        let bucket = &mut self.buckets[index];
        let owed = bucket.owed(meter, now);
        let until = bucket.drawn_until();
        bucket.refund(meter, more, until, now);
        let beyond = as_u32(more.saturating_sub(owed));
        if beyond > 0 && meter.as_configured().is_none() {
            let most = as_u32(limit.unwrap_or(meter.quota().amount()));
            let quota = meter.quota().burst(meter.burst().saturating_add(beyond).min(most));
            Arc::make_mut(&mut self.setup).meters[index].change(quota, bucket, now);
        }
    }

    /// Nobody has configured this quota: from now on it is kept all the same.
    fn learn_from(&mut self, dimension: Dimension, told: Told, drawn: &Drawn, now: Instant) {
        let Some(limit) = told.limit.filter(|_| self.setup.learning) else {
            return;
        };
        let quota = Quota::new(dimension, limit, told.window.length());
        let Some(remaining) = told.remaining else {
            return self.learn(quota);
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
        self.learn(quota);
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
    pub(super) fn learn(&mut self, quota: Quota) {
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
    }
}

fn as_u32(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
