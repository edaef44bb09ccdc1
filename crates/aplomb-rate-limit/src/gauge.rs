//! The level of a limit as the server reports it, of which nothing else need be known.

use std::time::Duration;

use crate::reported_limit::{Agreement, precision};

/// How much the server has left, until the reset that it named.
///
/// It needs no window: before the reset never more goes than remained, less what is in flight, and then as much as the
/// limit. That holds for fixed windows, and for buckets, which are full at their reset. A pure state machine in
/// nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauge {
    limit: u64,
    left: u64,
    /// As much as there was at once, as far as was seen: a server may report less than its limit even when it is full.
    full: u64,
    /// When the limit is available again; in the past if nothing is known.
    until: u64,
    /// The window, or the longest reset seen: a window is no shorter.
    length: u64,
    /// The last reading, or the last call that went to get one.
    heard: u64,
    /// The remainder at the last reading, and when that was; `None` if a window has passed since.
    last: Option<(u64, u64)>,
    /// True if the next reading is believed upwards at once, since there was none for a while.
    is_stale: bool,
    /// True if a call has gone to see whether the server has more than it said.
    is_probed: bool,
    /// How often in a row such a call was refused.
    in_vain: u8,
    resets: Resets,
    agreement: Agreement,
    windows: Windows,
}

/// How far the resets of a server are believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Resets {
    /// None has been seen, or it is not known whether there is nothing before it.
    #[default]
    Untried,
    /// A call before it was refused, or the user has stated the window.
    Right,
    /// A call before it was accepted.
    Wrong,
}

/// The content of one reading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    pub(crate) reset: Option<Duration>,
    /// The units in flight, which the server may not have counted yet.
    pub(crate) in_flight: u64,
    /// The units that the call has drawn which it was reported to.
    pub(crate) cost: u64,
    /// The window, if the user or the server has stated it and the reset fits into it.
    pub(crate) window: Option<Duration>,
    /// When the call was sent.
    pub(crate) sent: u64,
}

/// Without a reset, and before one that may be wrong, a call goes after so long to see what is left, in nanoseconds.
const PATIENCE: u64 = 1_000_000_000;

/// A reset that far away is tried after this part of it.
const TRIED_AFTER: u64 = 4;

/// No window is longer.
const LONGEST: u64 = 24 * 60 * 60 * 1_000_000_000;

impl Gauge {
    /// Takes in a reading.
    pub(crate) fn read(&mut self, shown: Shown, now: u64) {
        let Shown { limit, remaining, reset, in_flight, cost, window, sent } = shown;
        self.pass(now);
        let is_first = self.limit == 0;
        self.limit = limit.max(1);
        self.full = self.full.max(remaining.saturating_add(cost)).clamp(1, self.limit);
        if let Some(window) = window {
            self.length = nanos(window);
            self.resets = Resets::Right;
        }
        // The head of a refusal says that nothing is left.
        if remaining > 0 && std::mem::take(&mut self.is_probed) {
            self.in_vain = 0;
            if self.until > now {
                self.resets = Resets::Wrong;
            }
        }
        self.windows.see(limit, remaining, now);
        if let Some(reset) = reset.filter(|_| self.resets != Resets::Wrong) {
            let nanos = nanos(reset).min(LONGEST);
            self.length = self.length.max(nanos);
            // Resets are rounded up: the earliest is the closest to the truth, unless the window is another.
            let end = now.saturating_add(nanos);
            let latest = self.until.saturating_add(self::nanos(precision(reset)));
            let is_another = match self.last {
                Some((left, at)) => remaining > left || (remaining == left && sent >= at),
                // A call that waited for the end of the window goes at once.
                None => sent > self.heard.saturating_add(self.length / 64),
            };
            if end < self.until || end > latest || is_another {
                self.until = end;
            }
        }
        (self.last, self.heard) = (Some((remaining, now)), now);
        let free = remaining.saturating_sub(in_flight);
        if is_first || std::mem::take(&mut self.is_stale) {
            self.left = free;
            self.agreement.no_more();
        } else if remaining < self.left {
            self.left = remaining;
            self.agreement.no_more();
        } else if free <= self.left {
            self.agreement.no_more();
        } else if let Some(more) = self.agreement.more(free - self.left) {
            self.left += more;
        }
    }

    /// When `cost` may go, if that is not now.
    pub(crate) fn not_before(&mut self, cost: u64, now: u64) -> Option<u64> {
        self.pass(now);
        let is_enough = cost.min(self.full) <= self.left;
        (!is_enough && self.limit > 0).then(|| self.more_at()).filter(|at| *at > now)
    }

    /// A call goes.
    pub(crate) fn take(&mut self, cost: u64, now: u64) {
        if cost.min(self.full) > self.left {
            self.is_stale = true;
            self.is_probed = true;
            self.heard = now;
        }
        self.left = self.left.saturating_sub(cost);
    }

    /// A call was not sent.
    pub(crate) fn give_back(&mut self, cost: u64) {
        self.left = self.left.saturating_add(cost).min(self.full);
    }

    /// The server has refused a call.
    pub(crate) fn refused(&mut self) {
        if !std::mem::take(&mut self.is_probed) {
            return;
        }
        self.in_vain = self.in_vain.saturating_add(1);
        if self.resets == Resets::Untried && self.length > 0 {
            self.resets = Resets::Right;
        }
    }

    /// How much is left, if anything is known of it.
    pub(crate) fn left_at(&self, now: u64) -> Option<u64> {
        let mut then = *self;
        then.pass(now);
        (self.limit > 0).then_some(then.left)
    }

    /// As much as there is at once, if anything is known of it.
    pub(crate) fn full(&self) -> Option<u64> {
        (self.limit > 0).then_some(self.full)
    }

    /// The window, once it was observed.
    pub(crate) fn window(&self) -> Option<Duration> {
        let window = self.windows.same.filter(|_| self.resets != Resets::Wrong)?;
        (window.saturating_add(window / 8) >= self.length).then(|| Duration::from_nanos(window))
    }

    /// When there is more, or a call may see whether there is.
    fn more_at(&self) -> u64 {
        let has_reset = self.length > 0 && self.resets != Resets::Wrong;
        let tried = if has_reset {
            PATIENCE.max(self.until.saturating_sub(self.heard) / TRIED_AFTER)
        } else {
            PATIENCE << self.in_vain.min(3)
        };
        let tried = self.heard.saturating_add(tried);
        match self.resets {
            Resets::Right => self.until,
            Resets::Untried if has_reset => {
                // A reset in two seconds is not worth a call that may be refused.
                if self.until.saturating_sub(self.heard) > 2 * PATIENCE {
                    tried
                } else {
                    self.until
                }
            }
            _ => tried,
        }
    }

    /// A window is over when its reset has come, and the next is no shorter than the longest reset seen.
    fn pass(&mut self, now: u64) {
        let length = self.windows.same.unwrap_or(0).max(self.length);
        if length == 0 || self.resets == Resets::Wrong || now < self.until {
            return;
        }
        let passed = (now - self.until) / length;
        self.heard = self.heard.max(self.until.saturating_add(passed.saturating_mul(length)));
        self.until = self.until.saturating_add((passed + 1).saturating_mul(length));
        self.left = self.full;
        // It may have more, and the first call will see.
        self.is_stale = self.full < self.limit;
        self.last = None;
        self.is_probed = false;
        self.agreement.no_more();
    }
}

/// The window, as far as it shows: the time between two jumps of the remainder from low to high.
#[derive(Clone, Copy, Debug, Default)]
struct Windows {
    was_low: bool,
    last_jump: Option<u64>,
    last_length: Option<u64>,
    /// The window, once two in a row were equally long.
    same: Option<u64>,
}

impl Windows {
    fn see(&mut self, limit: u64, remaining: u64, now: u64) {
        if remaining <= limit / 2 {
            self.was_low = true;
            return;
        }
        if remaining < limit - limit / 4 || !std::mem::take(&mut self.was_low) {
            return;
        }
        let length = self.last_jump.map(|last| now - last);
        let same = length.zip(self.last_length).filter(|(one, other)| one.abs_diff(*other) <= one / 8);
        if let Some((one, other)) = same {
            self.same = Some(one.min(other));
        }
        (self.last_jump, self.last_length) = (Some(now), length);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: u64 = 1_000_000_000;
    const MS: u64 = S / 1_000;

    fn shown(limit: u64, remaining: u64, reset: Option<u64>) -> Shown {
        let reset = reset.map(Duration::from_secs);
        Shown { limit, remaining, reset, in_flight: 0, cost: 1, window: None, sent: 0 }
    }

    fn read(readings: &[(u64, u64, u64)]) -> Gauge {
        let mut gauge = Gauge::default();
        for (remaining, reset, now) in readings {
            gauge.read(shown(10, *remaining, Some(*reset)), *now);
        }
        gauge
    }

    #[test]
    fn no_more_goes_before_the_reset_than_remained_and_then_the_limit() {
        let mut gauge = read(&[(9, 2, 0), (3, 2, 0)]);
        for _ in 0..3 {
            assert_eq!(gauge.not_before(1, 0), None);
            gauge.take(1, 0);
        }
        assert_eq!(gauge.not_before(1, S), Some(2 * S));
        assert_eq!((gauge.not_before(10, 2 * S), gauge.left), (None, 10));
        // The next window is as long, until the server says more of it.
        gauge.take(10, 2 * S);
        assert_eq!(gauge.not_before(1, 2 * S), Some(4 * S));
    }

    #[test]
    fn a_server_that_never_has_all_of_its_limit_at_once_is_as_full_as_it_was() {
        let mut gauge = Gauge::default();
        gauge.read(shown(20, 4, Some(2)), 0);
        gauge.take(4, 0);
        gauge.read(shown(20, 0, Some(2)), 0);
        assert_eq!((gauge.not_before(1, 2 * S), gauge.left), (None, 5));
        // Once it shows more, that is known.
        gauge.take(1, 2 * S);
        gauge.read(shown(20, 19, Some(2)), 2 * S);
        assert_eq!(gauge.left, 19);
        assert_eq!((gauge.not_before(1, 4 * S), gauge.left), (None, 20));
    }

    #[test]
    fn what_is_in_flight_may_not_have_been_counted() {
        let mut gauge = Gauge::default();
        gauge.read(Shown { in_flight: 4, ..shown(10, 6, Some(1)) }, 0);
        assert_eq!(gauge.left, 2);
        // Less at once, more when three agree.
        gauge.read(shown(10, 1, Some(1)), 0);
        assert_eq!(gauge.left, 1);
        for (remaining, left) in [(6, 1), (7, 1), (8, 6)] {
            gauge.read(shown(10, remaining, Some(1)), 0);
            assert_eq!(gauge.left, left);
        }
    }

    #[test]
    fn a_reset_that_is_rounded_up_is_as_early_as_the_earliest() {
        let mut gauge = read(&[(9, 1, 0), (5, 1, S / 4), (0, 1, S / 2)]);
        assert_eq!(gauge.not_before(1, S / 2), Some(S));
    }

    #[test]
    fn a_reset_that_is_far_away_is_tried_once() {
        let mut gauge = read(&[(0, 60, 0)]);
        assert_eq!(gauge.not_before(1, 0), Some(15 * S));
        assert_eq!(gauge.not_before(1, 15 * S), None);
        gauge.take(1, 15 * S);
        gauge.refused();
        assert_eq!(gauge.not_before(1, 16 * S), Some(60 * S), "it was right");
        // Where the call is taken, and more remains, resets mean nothing.
        let mut gauge = read(&[(0, 60, 0)]);
        gauge.take(1, 8 * S);
        gauge.read(shown(10, 7, Some(60)), 9 * S);
        assert_eq!((gauge.left, gauge.not_before(7, 9 * S)), (7, None));
        gauge.take(7, 9 * S);
        assert_eq!(gauge.not_before(1, 9 * S), Some(10 * S));
    }

    #[test]
    fn a_reset_within_the_users_own_window_is_not_tried() {
        let mut gauge = Gauge::default();
        gauge.read(Shown { window: Some(Duration::from_secs(60)), ..shown(10, 0, Some(60)) }, 0);
        assert_eq!(gauge.not_before(1, 59 * S), Some(60 * S));
    }

    #[test]
    fn without_a_reset_a_call_a_second_sees_what_is_left() {
        let mut gauge = Gauge::default();
        gauge.read(shown(10, 0, None), 0);
        assert_eq!(gauge.not_before(1, 0), Some(S));
        gauge.take(1, S);
        assert_eq!(gauge.not_before(1, S), Some(2 * S));
        gauge.read(shown(10, 6, None), S);
        assert_eq!((gauge.not_before(6, S), gauge.left), (None, 6));
        // Less often where it is refused.
        let mut now = S;
        for wait in [1, 2, 4, 8, 8] {
            gauge.read(shown(10, 0, None), now);
            gauge.refused();
            assert_eq!(gauge.not_before(1, now), Some(now + wait * S));
            now += wait * S;
            gauge.take(1, now);
        }
    }

    #[test]
    fn a_window_is_observed_when_the_remainder_jumps_twice_the_same_time_apart() {
        let windows = [(9, 5, 0), (1, 4, S), (9, 5, 5 * S), (1, 3, 7 * S), (9, 5, 10 * S)];
        assert_eq!(read(&windows).window(), None);
        let more = [(2, 2, 13 * S), (9, 5, 15 * S)];
        assert_eq!(read(&[&windows[..], &more[..]].concat()).window(), Some(Duration::from_secs(5)));
        let irregular = [(2, 2, 13 * S), (9, 5, 25 * S)];
        assert_eq!(read(&[&windows[..], &irregular[..]].concat()).window(), None);
    }

    proptest! {
        /// Against a server with a fixed window that reports itself exactly: from the first reading on, never a call too many.
        #[test]
        fn promise_24_never_more_goes_than_a_window_takes(
            limit in 1_u64..40, length in 500_u64..2_000, is_stated: bool,
            steps in prop::collection::vec((0_u64..700, 0_u64..6), 1..300),
        ) {
            let (mut gauge, mut now, mut used, mut number) = (Gauge::default(), 0, 0, 0);
            for (pause, calls) in steps {
                now += pause * MS;
                for _ in 0..calls {
                    let window = now / (length * MS);
                    if window > number {
                        (number, used) = (window, 0);
                    }
                    if gauge.not_before(1, now).is_some() {
                        continue;
                    }
                    gauge.take(1, now);
                    let reset = Duration::from_nanos((number + 1) * length * MS - now);
                    let is_taken = used < limit;
                    used += u64::from(is_taken);
                    prop_assert!(is_taken, "{gauge:?} at {now}");
                    let window = is_stated.then_some(Duration::from_millis(length));
                    let shown = shown(limit, limit - used, None);
                    gauge.read(Shown { window, sent: now, reset: Some(reset), ..shown }, now);
                }
            }
        }
    }
}
