//! The limits that the server reports, and how far they are believed.
//!
//! A stricter limit is believed at once; a looser one when several consecutive readings agree, less
//! what is in flight, which the server may not have counted yet. A configured quota bounds the rate. How full it is, and how
//! much may come at once, is as the server says where it reports the same limit; a larger one can only tighten it,
//! and loosen what it tightened. Of a limit without a window the level is believed, and not the rate. A report that is not
//! confirmed for an hour expires.

use std::time::Duration;

use aplomb_core::{Dimension, Event, Reading};
use tokio::time::Instant;

use super::{Quotas, Reservation};
use crate::Quota;
use crate::active_quota::{ActiveQuota, as_u32};
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
                let cost = share.as_ref().map_or(0, |share| share.cost);
                if let Some((share, remaining)) = share.zip(reported.remaining) {
                    share.enough_shown = remaining >= share.cost;
                    reservation.shortage_shown |= remaining < share.cost;
                }
                self.adopt_rate(index, reported, cost, now);
                self.adopt_level(index, reported, reservation, now);
                self.confirm(index, now);
            }
            Subject::Unknown => self.learn_from(dimension, reported, reservation, now),
            Subject::Ambiguous => {}
        }
        let requests = self.set.quotas().iter().any(|quota| quota.quota().dimension() == Dimension::REQUESTS);
        if dimension == Dimension::REQUESTS && requests {
            self.on_limits_reported();
        }
    }

    /// The limit that a reading is about: the quota of its dimension and window. If the server did not name a window,
    /// that of the same amount; or a learned one, whose window was not certain either.
    fn subject(&self, dimension: Dimension, reported: ReportedLimit) -> Subject {
        let find = |matches: &dyn Fn(&ActiveQuota) -> bool| {
            let mut quotas = self.set.quotas().iter();
            quotas.position(|quota| quota.quota().dimension() == dimension && matches(quota))
        };
        let window = reported.window.map(Window::length);
        let exact = find(&|quota| quota.has_window() && Some(quota.quota().window()) == window);
        let same = || find(&|quota| Some(quota.quota().amount()) == reported.limit);
        let found = match reported.window {
            Some(Window::Named(_)) => {
                exact.or_else(|| same().filter(|index| !self.set.quotas()[*index].has_rate()))
            }
            _ => exact.or_else(same).or_else(|| find(&|quota| quota.as_configured().is_none())),
        };
        match (found, reported.limit, find(&|_| true)) {
            (Some(index), _, _) => Subject::Quota(index),
            (None, None, Some(_)) => Subject::Ambiguous,
            (None, _, _) => Subject::Unknown,
        }
    }

    pub(super) fn dimension(&self, index: usize) -> Dimension {
        self.set.quotas()[index].quota().dimension()
    }

    /// Reports the quota at `index`.
    pub(super) fn announce(&mut self, index: usize) {
        let learned = learned(self.set.quotas()[index].quota());
        self.server_mut().events.push_back(learned);
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
        // Beside a configured quota, a limit whose window is not named may be that one.
        let is_named = matches!(reported.window, Some(Window::Named(_)));
        let is_alone = self.set.quotas().iter().all(|quota| quota.quota().dimension() != dimension);
        let Some(window) = reported.window.map(Window::length).filter(|_| is_named || is_alone) else {
            return self.learn_level(dimension, limit, reported, reservation, now);
        };
        if window > MAX_LEARNED_WINDOW {
            return;
        }
        let quota = Quota::new(dimension, limit, window);
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
        let index = self.set.quotas().len() - 1;
        let (quota, bucket) = self.set.at(index);
        if let Some(remaining) = remaining {
            let left = remaining.saturating_sub(others);
            bucket.owe(quota.flow(), u64::from(quota.flow().burst()).saturating_sub(left), nanos);
        }
        self.announce(index);
        self.read_gauge(index, reported, others, reservation, now);
    }

    /// Learns a limit without a window: its level, and not its rate.
    fn learn_level(
        &mut self,
        dimension: Dimension,
        limit: u64,
        reported: ReportedLimit,
        reservation: &Reservation,
        now: Instant,
    ) {
        if self.set.quotas().len() >= MAX_QUOTAS {
            return;
        }
        self.set.learn_level(dimension, limit);
        let index = self.set.quotas().len() - 1;
        self.adopt_level(index, reported, reservation, now);
        self.confirm(index, now);
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
