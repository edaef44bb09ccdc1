//! The limits that the server reports, and how far they are believed.
//!
//! A stricter limit is believed at once; a looser one when several consecutive readings agree, less
//! what is in flight, which the server may not have counted yet. A configured quota is never
//! exceeded: the server can only tighten it, and loosen what it tightened. A report that is not confirmed for
//! an hour expires.

use std::time::Duration;

use aplomb_core::{Dimension, Event, Reading};
use tokio::time::Instant;

use super::{Quotas, Reservation};
use crate::Quota;
use crate::active_quota::ActiveQuota;
use crate::reported_limit::{ReportedLimit, Window};

/// The most quotas that are kept: a server that makes up windows must not fill the memory.
const MAX_QUOTAS: usize = 8;

/// Quotas with a longer window are not learned: no provider has one, and one that is made up would stop
/// everything.
const MAX_LEARNED_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// The limit that a reading is about.
enum Subject {
    /// The quota at this index.
    Quota(usize),
    /// A limit without a quota.
    Unknown,
    /// Another limit than the configured quota, but it is not certain which.
    Ambiguous,
}

impl Quotas {
    /// Takes in what the head of an answer reports of one limit.
    pub(super) fn on_reading(&mut self, reading: &Reading, reservation: &mut Reservation, now: Instant) {
        let Some(reported) = ReportedLimit::of(reading) else {
            return;
        };
        let dimension = reading.dimension();
        reservation.shortage_shown |= reported.remaining == Some(0);
        match self.subject(dimension, reported) {
            Subject::Quota(index) => {
                let id = self.set.quotas()[index].id();
                let share = reservation.shares.iter_mut().find(|share| share.id == id);
                if let Some((share, remaining)) = share.zip(reported.remaining) {
                    share.enough_shown = remaining >= share.cost;
                    reservation.shortage_shown |= remaining < share.cost;
                }
                self.adopt_rate(index, reported, now);
                self.adopt_level(index, reported, now);
                self.confirm(index, now);
            }
            Subject::Unknown => self.learn_from(dimension, reported, reservation, now),
            Subject::Ambiguous => {}
        }
        let requests = self.set.quotas().iter().any(|quota| quota.quota().dimension() == Dimension::REQUESTS);
        if dimension == Dimension::REQUESTS && requests {
            if let Some(estimator) = self.server.as_mut().and_then(|server| server.estimator.as_mut()) {
                estimator.on_limits_reported();
            }
        }
    }

    /// The limit that a reading is about: the quota of its dimension and window. If the window is only guessed,
    /// one of the same amount qualifies too; and if the server did not name the window, so does a learned
    /// quota, whose window was not certain either.
    fn subject(&self, dimension: Dimension, reported: ReportedLimit) -> Subject {
        let find = |matches: &dyn Fn(&ActiveQuota) -> bool| {
            let mut quotas = self.set.quotas().iter();
            quotas.position(|quota| quota.quota().dimension() == dimension && matches(quota))
        };
        let exact = find(&|quota| quota.quota().window() == reported.window.length());
        let found = match reported.window {
            Window::Named(_) => return exact.map_or(Subject::Unknown, Subject::Quota),
            Window::Inferred(_) => exact,
            Window::Guessed(_) => {
                exact.or_else(|| find(&|quota| Some(quota.quota().amount()) == reported.limit))
            }
        };
        let found = found.or_else(|| find(&|quota| quota.as_configured().is_none()));
        match (found, find(&|_| true)) {
            (Some(index), _) => Subject::Quota(index),
            (None, Some(_)) => Subject::Ambiguous,
            (None, None) => Subject::Unknown,
        }
    }

    /// Adopts the reported limit: at once if it is lower, after several agreeing reports if it is higher, and
    /// never above the configured quota.
    fn adopt_rate(&mut self, index: usize, reported: ReportedLimit, now: Instant) {
        let Some(limit) = reported.limit else { return };
        let quota = &self.set.quotas()[index];
        let window = match reported.window {
            Window::Guessed(_) => quota.quota().window(),
            Window::Named(window) | Window::Inferred(window) => window,
        };
        let (id, current) = (quota.id(), quota.flow().interval());
        let as_reported = Quota::new(quota.quota().dimension(), limit, window);
        let at_least = quota.as_configured().map_or(0, Quota::interval);
        let interval = as_reported.interval().max(at_least);
        let agreement = &mut self.server_mut(now).estimate_mut(id).rate;
        if interval > current {
            agreement.no_more();
            self.put_in_force(index, as_reported, now);
        } else if interval == current {
            agreement.no_more();
        } else if let Some(least) = agreement.more(limit) {
            let agreed = Quota::new(as_reported.dimension(), least, window);
            self.put_in_force(index, agreed, now);
        }
    }

    fn put_in_force(&mut self, index: usize, as_reported: Quota, now: Instant) {
        let nanos = self.set.nanos(now);
        let (quota, bucket) = self.set.at_mut(index);
        let amount = as_u32(as_reported.amount());
        let in_force = match quota.as_configured() {
            Some(configured) if configured.interval() >= as_reported.interval() => *configured,
            Some(configured) => {
                as_reported.burst(configured.max_burst().min(amount)).settle(configured.settles())
            }
            None => as_reported.burst(quota.flow().burst().min(amount)),
        };
        let changes = quota.changes();
        quota.change(in_force, bucket, nanos);
        let quota = *quota;
        if quota.changes() != changes {
            let server = self.server_mut(now);
            let estimate = server.estimate_mut(quota.id());
            estimate.tightened_until = quota.converted(estimate.tightened_until);
            server.events.push_back(learned(quota.quota()));
        }
    }

    fn adopt_level(&mut self, index: usize, reported: ReportedLimit, now: Instant) {
        let Some(remaining) = reported.remaining else {
            return;
        };
        let nanos = self.set.nanos(now);
        let all_unanswered = u64::from(self.unanswered);
        let (quota, bucket) = self.set.at(index);
        // Calls that went before the quota was learned have drawn nothing from it.
        let flying = match quota.quota().dimension() {
            Dimension::REQUESTS => bucket.unanswered.max(all_unanswered),
            _ => bucket.unanswered,
        };
        let (id, flow) = (quota.id(), quota.flow());
        let here = bucket.available(flow, nanos);
        let there = i64::try_from(remaining).unwrap_or(i64::MAX);
        let tightened = here.saturating_sub(there).max(0).unsigned_abs();
        bucket.owe(flow, tightened, nanos);
        let tightened = flow.debt(tightened);
        // A configured burst says nothing about how full the server's bucket is: there, use is compared
        // instead of what is left.
        let more = if quota.as_configured().is_some() {
            let used = reported.limit.map_or(u64::MAX, |limit| limit - remaining);
            bucket.owed(flow, nanos).saturating_sub(used.saturating_add(flying))
        } else {
            let there = there.saturating_sub_unsigned(flying);
            u64::try_from(there.saturating_sub(here)).unwrap_or(0)
        };
        let estimate = self.server_mut(now).estimate_mut(id);
        if tightened > 0 {
            estimate.tightened_until = estimate.tightened_until.max(nanos).saturating_add(tightened);
        }
        if more == 0 {
            estimate.level.no_more();
        } else if let Some(more) = estimate.level.more(more) {
            self.loosen(index, more, reported.limit, now);
        }
    }

    /// There is so much more than was assumed: less is owed, and the burst of a learned quota is larger.
    /// A configured quota gets back no more than the server took: what calls have drawn stays drawn.
    fn loosen(&mut self, index: usize, more: u64, limit: Option<u64>, now: Instant) {
        let nanos = self.set.nanos(now);
        let (quota, bucket) = self.set.at(index);
        let flow = *quota.flow();
        if quota.as_configured().is_some() {
            return self.give_back(index, flow.interval().saturating_mul(more), now);
        }
        let owed = bucket.owed(&flow, nanos);
        let until = bucket.drawn_until();
        bucket.refund(&flow, more, until, nanos);
        let beyond = as_u32(more.saturating_sub(owed));
        if beyond > 0 {
            let (quota, bucket) = self.set.at_mut(index);
            let most = as_u32(limit.unwrap_or(quota.quota().amount()));
            let larger = quota.quota().burst(flow.burst().saturating_add(beyond).min(most));
            quota.change(larger, bucket, nanos);
        }
    }

    /// Gives back what readings took from a configured quota, as far as it has not flowed back
    /// since, and no more than `at_most`. What flowed back is counted as theirs first.
    pub(super) fn give_back(&mut self, index: usize, at_most: u64, now: Instant) {
        let nanos = self.set.nanos(now);
        let id = self.set.quotas()[index].id();
        let estimate = self.server_mut(now).estimate_mut(id);
        let back = estimate.tightened_until.saturating_sub(nanos).min(at_most);
        estimate.tightened_until = estimate.tightened_until.saturating_sub(back);
        self.set.at(index).1.give_back(back);
    }

    /// Learns a quota that nobody configured.
    fn learn_from(
        &mut self,
        dimension: Dimension,
        reported: ReportedLimit,
        reservation: &Reservation,
        now: Instant,
    ) {
        let Some(limit) = reported.limit.filter(|_| self.set.settings().learning) else {
            return;
        };
        if reported.window.length() > MAX_LEARNED_WINDOW {
            return;
        }
        let quota = Quota::new(dimension, limit, reported.window.length());
        let is_requests = dimension == Dimension::REQUESTS;
        let (own, others) = if is_requests {
            (reservation.requests, u64::from(self.unanswered))
        } else {
            (0, 0)
        };
        // The remainder may come at once; of requests, as many as remained before this call.
        let remaining = reported.remaining;
        let quota = match remaining {
            Some(remaining) if is_requests => quota.burst(as_u32(remaining.saturating_add(own).min(limit))),
            _ => quota,
        };
        if !self.learn(quota, now) {
            return;
        }
        let nanos = self.set.nanos(now);
        let (quota, bucket) = self.set.at(self.set.quotas().len() - 1);
        if let Some(remaining) = remaining {
            let left = remaining.saturating_sub(others);
            bucket.owe(quota.flow(), u64::from(quota.flow().burst()).saturating_sub(left), nanos);
        }
        let learned = learned(quota.quota());
        self.server_mut(now).events.push_back(learned);
    }

    /// Adds a quota that nobody configured, full, unless there is one like it; returns whether it did.
    pub(super) fn learn(&mut self, quota: Quota, now: Instant) -> bool {
        let learned = self.set.quotas().len() < MAX_QUOTAS && self.set.learn(quota);
        if learned {
            self.confirm(self.set.quotas().len() - 1, now);
        }
        learned
    }
}

fn learned(quota: &Quota) -> Event {
    Event::limit_learned(quota.dimension(), quota.amount(), quota.window())
}

fn as_u32(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
