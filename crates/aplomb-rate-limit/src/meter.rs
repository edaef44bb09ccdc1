//! What a bucket is measured by: a quota, as governor wants it, and how it has changed.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::Quota as GovernorQuota;

use crate::Quota;
use crate::bucket::Bucket;
use crate::charge::Counted;

/// One call leaves a debt of at most so many nanoseconds, or a whole window.
const LONGEST_DEBT: u64 = 60 * 60 * 1_000_000_000;

/// A quota in force. All the buckets of one policy share it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    /// Tells apart what calls in flight have drawn from, when quotas come and go.
    id: u32,
    quota: Quota,
    /// What was configured, where the server has been believed to give less; nothing where the server
    /// alone said that there is a quota.
    configured: Option<Quota>,
    counted: Counted,
    governor: GovernorQuota,
    interval: u64,
    window: u64,
    /// How often the interval has changed, and the last changes, the latest first: calls in flight may
    /// have drawn under what was before.
    changes: u16,
    last: [Change; REMEMBERED],
}

/// So many changes are remembered: more of them while one call is in flight are hardly ever made.
pub(crate) const REMEMBERED: usize = 4;

/// A change of the interval.
#[derive(Clone, Copy, Debug)]
struct Change {
    at: u64,
    before: u64,
    since: u64,
}

impl Change {
    /// A time until which a bucket was drawn before the change, in the flow since. What is owed is owed
    /// in units, so it takes as much longer as a unit does; rounded up.
    fn converted(&self, drawn_until: u64) -> u64 {
        let owed = u128::from(drawn_until.saturating_sub(self.at));
        let owed = (owed * u128::from(self.since)).div_ceil(u128::from(self.before.max(1)));
        drawn_until.min(self.at).saturating_add(u64::try_from(owed).unwrap_or(u64::MAX))
    }
}

impl Meter {
    /// A quota that was configured.
    pub(crate) fn configured(id: u32, quota: Quota) -> Self {
        Self { configured: Some(quota), ..Self::learned(id, quota) }
    }

    /// A quota that the server told of.
    pub(crate) fn learned(id: u32, quota: Quota) -> Self {
        let interval = quota.interval();
        let last = [Change { at: 0, before: interval, since: interval }; REMEMBERED];
        let counted = Counted::from(quota.dimension());
        let governor = as_governor(&quota);
        let window = nanos(quota.window());
        Self {
            id,
            quota,
            configured: None,
            counted,
            governor,
            interval,
            window,
            changes: 0,
            last,
        }
    }

    pub(crate) const fn id(&self) -> u32 {
        self.id
    }

    pub(crate) const fn quota(&self) -> &Quota {
        &self.quota
    }

    /// What the user set, if it was not the server who told of the quota.
    pub(crate) const fn as_configured(&self) -> Option<&Quota> {
        self.configured.as_ref()
    }

    /// Whether the server alone says that it is so.
    pub(crate) fn is_told(&self) -> bool {
        self.configured != Some(self.quota)
    }

    /// The most that one call may cost. A call is refused for good only for what the user set: what the
    /// server said may be wrong, and be corrected when a call has gone.
    pub(crate) fn capacity(&self) -> u64 {
        self.configured.map_or(u64::MAX, |configured| configured.capacity())
    }

    /// How long so much takes to flow back, and never longer than the window and an hour: what one
    /// call is said to have used may be nonsense.
    #[inline]
    pub(crate) fn debt(&self, units: u64) -> u64 {
        let longest = LONGEST_DEBT.max(self.window).max(self.interval.saturating_mul(self.burst().into()));
        self.interval.saturating_mul(units).min(longest)
    }

    /// What of a charge it counts.
    #[inline]
    pub(crate) const fn counted(&self) -> Counted {
        self.counted
    }

    #[inline]
    pub(crate) const fn governor(&self) -> GovernorQuota {
        self.governor
    }

    #[inline]
    pub(crate) const fn interval(&self) -> u64 {
        self.interval
    }

    pub(crate) const fn burst(&self) -> u32 {
        self.quota.max_burst()
    }

    /// Puts another quota in force from `now` on, over a bucket that keeps what is owed.
    pub(crate) fn change(&mut self, quota: Quota, bucket: &mut Bucket, now: u64) {
        let interval = quota.interval();
        if interval != self.interval {
            self.changes = self.changes.wrapping_add(1);
            self.last.rotate_right(1);
            self.last[0] = Change { at: now, before: self.interval, since: interval };
            self.interval = interval;
            bucket.convert(self);
        }
        self.quota = quota;
        self.window = nanos(quota.window());
        self.governor = as_governor(&quota);
    }

    /// Puts another quota in force that the user wants.
    pub(crate) fn configure(&mut self, quota: Quota, bucket: &mut Bucket, now: u64) {
        self.change(quota, bucket, now);
        self.configured = Some(quota);
    }

    /// How often the interval has changed.
    pub(crate) const fn changes(&self) -> u16 {
        self.changes
    }

    /// A time until which a bucket was drawn before the last change, in the flow since.
    pub(crate) fn converted(&self, drawn_until: u64) -> u64 {
        self.last[0].converted(drawn_until)
    }

    /// Until when something holds that was drawn after so many changes; `None` where there have been more
    /// since than are remembered.
    pub(crate) fn holds_until(&self, drawn_until: u64, changes: u16) -> Option<u64> {
        let since = usize::from(self.changes.wrapping_sub(changes));
        let since = self.last.get(..since)?;
        Some(since.iter().rev().fold(drawn_until, |until, change| change.converted(until)))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn as_governor(quota: &Quota) -> GovernorQuota {
    let burst = NonZeroU32::new(quota.max_burst()).unwrap_or(NonZeroU32::MIN);
    let interval = Duration::from_nanos(quota.interval());
    GovernorQuota::with_period(interval)
        .expect("a quota's interval is at least a nanosecond")
        .allow_burst(burst)
}
