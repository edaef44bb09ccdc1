//! A quota in force: what it counts, who set it, and how it has changed.

use std::time::Duration;

use aplomb_core::Dimension;

use crate::Quota;
use crate::bucket::{Bucket, Flow, Level};
use crate::charge::Counted;

/// A quota in force. All the buckets of one policy share it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ActiveQuota {
    /// Finds the quota that calls in flight have drawn from, when quotas come and go.
    id: u32,
    quota: Quota,
    /// The quota as the user set it; `None` if only the server reported it.
    configured: Option<Quota>,
    counted: Counted,
    rate: Rate,
    flow: Flow,
    /// How often the interval has changed, and the last changes, latest first: calls in flight may have drawn
    /// under an earlier one.
    changes: u16,
    last: [Change; REMEMBERED],
}

/// The rate at which a quota flows back, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rate {
    /// Its window: the bucket decides.
    Known,
    /// Nothing. The server's own account of what is left decides.
    Unknown,
    /// The window was observed, and is a fixed one: the same decides.
    Observed,
}

/// So many changes are remembered: there are hardly ever more while one call is in flight.
pub(crate) const REMEMBERED: usize = 4;

/// A change of the interval.
#[derive(Clone, Copy, Debug)]
struct Change {
    at: u64,
    before: u64,
    after: u64,
}

impl Change {
    /// Converts a time until which a bucket was drawn before the change. The debt is the same in units, so its
    /// time changes with the interval; rounded up.
    fn converted(&self, drawn_until: u64) -> u64 {
        let owed = u128::from(drawn_until.saturating_sub(self.at));
        let owed = (owed * u128::from(self.after)).div_ceil(u128::from(self.before.max(1)));
        drawn_until.min(self.at).saturating_add(u64::try_from(owed).unwrap_or(u64::MAX))
    }
}

impl ActiveQuota {
    /// A quota that the user set.
    pub(crate) fn configured(id: u32, quota: Quota) -> Self {
        Self { configured: Some(quota), ..Self::learned(id, quota) }
    }

    /// A quota that the server reported.
    pub(crate) fn learned(id: u32, quota: Quota) -> Self {
        let flow = Flow::of(&quota);
        let last = [Change { at: 0, before: flow.interval(), after: flow.interval() }; REMEMBERED];
        let counted = Counted::from(quota.dimension());
        Self { id, quota, configured: None, counted, rate: Rate::Known, flow, changes: 0, last }
    }

    /// A limit that the server reported without its window.
    pub(crate) fn of_unknown_rate(id: u32, dimension: Dimension, limit: u64) -> Self {
        Self { rate: Rate::Unknown, ..Self::learned(id, at_some_rate(dimension, limit)) }
    }

    #[inline]
    pub(crate) const fn id(&self) -> u32 {
        self.id
    }

    pub(crate) const fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Returns whether its window is known, so that it can be shown and saved.
    pub(crate) fn has_window(&self) -> bool {
        self.rate != Rate::Unknown
    }

    /// Returns whether its bucket decides, and not what the server says is left.
    pub(crate) fn has_rate(&self) -> bool {
        self.rate == Rate::Known
    }

    #[inline]
    pub(crate) const fn as_configured(&self) -> Option<&Quota> {
        self.configured.as_ref()
    }

    /// Returns whether the quota in force comes from the server.
    pub(crate) fn is_reported(&self) -> bool {
        self.configured != Some(self.quota)
    }

    /// The part of a charge that it counts.
    #[inline]
    pub(crate) const fn counted(&self) -> Counted {
        self.counted
    }

    #[inline]
    pub(crate) const fn flow(&self) -> &Flow {
        &self.flow
    }

    /// Returns whether its bucket has enough for `cost` at `now`. Takes nothing.
    ///
    /// A call is rejected forever only by a quota that the user set: a limit that the server reported may be wrong,
    /// and is corrected when a call has gone.
    #[inline]
    pub(crate) fn level(&self, bucket: &Bucket, cost: u64, now: u64) -> Level {
        match &self.configured {
            Some(set) if cost > self.flow.burst().into() && cost > set.capacity() => {
                Level::Above(set.capacity())
            }
            None if self.rate != Rate::Known => Level::Enough { drawn_until: bucket.drawn_until() },
            _ => bucket.level(&self.flow, cost, now),
        }
    }

    /// Puts another quota in force at `now`. Its bucket keeps its debt in units.
    pub(crate) fn change(&mut self, quota: Quota, bucket: &mut Bucket, now: u64) {
        let before = self.flow.interval();
        self.quota = quota;
        self.flow = Flow::of(&quota);
        let after = self.flow.interval();
        if after != before {
            self.changes = self.changes.wrapping_add(1);
            self.last.rotate_right(1);
            self.last[0] = Change { at: now, before, after };
            bucket.convert(|drawn_until| self.converted(drawn_until));
        }
    }

    /// Its window was found: the bucket is full, and decides from now on.
    pub(crate) fn flows(&mut self, quota: Quota, bucket: &mut Bucket, now: u64) {
        self.rate = Rate::Known;
        bucket.give_back(u64::MAX);
        self.change(quota, bucket, now);
    }

    /// The server reports this limit now, in a fixed window if one was observed.
    pub(crate) fn observe(&mut self, limit: u64, window: Option<Duration>) {
        let dimension = self.quota.dimension();
        (self.rate, self.quota) = match window {
            Some(window) => (Rate::Observed, Quota::new(dimension, limit, window).burst(as_u32(limit))),
            None => (Rate::Unknown, at_some_rate(dimension, limit)),
        };
    }

    /// Puts another quota in force that the user set.
    pub(crate) fn configure(&mut self, quota: Quota, bucket: &mut Bucket, now: u64) {
        self.change(quota, bucket, now);
        self.rate = Rate::Known;
        self.configured = Some(quota);
    }

    /// How often the interval has changed.
    #[inline]
    pub(crate) const fn changes(&self) -> u16 {
        self.changes
    }

    /// Converts a time until which a bucket was drawn before the last change.
    pub(crate) fn converted(&self, drawn_until: u64) -> u64 {
        self.last[0].converted(drawn_until)
    }

    /// Converts a time until which a bucket was drawn after this many changes; `None` if there have been more
    /// since than are remembered.
    pub(crate) fn converted_since(&self, changes: u16, drawn_until: u64) -> Option<u64> {
        let since = usize::from(self.changes.wrapping_sub(changes));
        let since = self.last.get(..since)?;
        Some(since.iter().rev().fold(drawn_until, |until, change| change.converted(until)))
    }
}

/// The placeholder of a quota of unknown rate: a burst is all that is known of it.
fn at_some_rate(dimension: Dimension, limit: u64) -> Quota {
    Quota::new(dimension, limit, Duration::from_secs(60)).burst(as_u32(limit))
}

pub(crate) fn as_u32(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn take(quota: &ActiveQuota, bucket: &mut Bucket, cost: u64, now: u64) {
        let Level::Enough { drawn_until } = quota.level(bucket, cost, now) else {
            panic!("not enough for {cost}");
        };
        bucket.propose(drawn_until);
        bucket.commit();
    }

    #[test]
    fn a_cost_above_what_the_user_set_is_never_there() {
        let set = Quota::new(Dimension::TOKENS, 100, Duration::from_secs(1)).burst(10);
        let (quota, bucket) = (ActiveQuota::configured(0, set), Bucket::full());
        assert_eq!(quota.level(&bucket, 101, 0), Level::Above(100));
        assert_eq!(quota.level(&bucket, u64::MAX, 0), Level::Above(100));
        assert!(matches!(quota.level(&bucket, 100, 0), Level::Enough { .. }));
        let learned = ActiveQuota::learned(0, set);
        assert!(matches!(learned.level(&bucket, 101, 0), Level::Enough { .. }));
    }

    #[test]
    fn promise_25_a_change_of_quota_keeps_what_is_owed_in_units() {
        let mut quota = ActiveQuota::configured(0, Quota::requests_per_second(10));
        let mut bucket = Bucket::full();
        take(&quota, &mut bucket, 9, 0);
        let drawn_until = bucket.drawn_until();
        // Counted in time, 900 ms would be less than one of the new units, and nine more would go.
        quota.configure(Quota::requests_per_minute(60).burst(10), &mut bucket, 0);
        assert_eq!(bucket.available(quota.flow(), 0), 1);
        take(&quota, &mut bucket, 1, 0);
        assert_eq!(quota.level(&bucket, 1, 0), Level::NotBefore(SECOND));
        // A refund is converted as the debt was.
        let converted = quota.converted_since(0, drawn_until).unwrap();
        bucket.refund(quota.flow(), 9, converted, 0);
        assert_eq!(bucket.available(quota.flow(), 0), 9);
        quota.configure(Quota::requests_per_second(1), &mut bucket, SECOND);
        assert_eq!(quota.converted_since(0, drawn_until), Some(drawn_until * 10), "the interval is the same");
        quota.configure(Quota::requests_per_second(2), &mut bucket, SECOND);
        let halved = SECOND + (drawn_until * 10 - SECOND) / 2;
        assert_eq!(quota.converted_since(0, drawn_until), Some(halved));
        for per_second in 3..6 {
            assert!(quota.converted_since(0, drawn_until).is_some());
            quota.configure(Quota::requests_per_second(per_second), &mut bucket, SECOND);
        }
        assert_eq!(quota.converted_since(0, drawn_until), None, "it is no longer remembered");
    }
}
