//! A rate limit at work: how much of it is left, and when there is more.

use std::time::Duration;

use super::world::{Limit, Shape};

/// A limit with its level. A pure state machine: it is passed the time since the start.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    limit: Limit,
    amount: u64,
    count: Count,
    at: Duration,
    /// The next time at which other clients ask.
    other: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
enum Count {
    /// The amount in use that has not flowed back, times the nanoseconds of the window: exact.
    Bucket { used: u128, burst: u64 },
    /// The number of the window, and the amounts used in it and in the one before.
    Window {
        number: u64,
        used: u64,
        before: u64,
        sliding: bool,
        elapsed: Duration,
    },
}

impl Level {
    pub(crate) fn new(limit: &Limit) -> Self {
        let count = match limit.shape {
            Shape::Bucket { burst } => Count::Bucket { used: 0, burst },
            Shape::Window { elapsed } => {
                Count::Window { number: 0, used: 0, before: 0, sliding: false, elapsed }
            }
            Shape::Sliding => {
                Count::Window { number: 0, used: 0, before: 0, sliding: true, elapsed: Duration::ZERO }
            }
        };
        let other = limit.others.iter().map(|(when, _)| when.start).min();
        Self { amount: limit.amount, limit: limit.clone(), count, at: Duration::ZERO, other }
    }

    pub(crate) const fn limit(&self) -> &Limit {
        &self.limit
    }

    /// Brings the level up to `now`: by the flow, by changes, and by other clients.
    pub(crate) fn advance(&mut self, now: Duration) {
        loop {
            let change = self.limit.changes.first().map(|(at, _)| *at).filter(|at| *at <= now);
            let other = self.other.filter(|at| *at <= now);
            match (change, other) {
                (Some(change), other) if other.is_none_or(|other| change <= other) => {
                    self.flow(change);
                    self.amount = self.limit.changes.remove(0).1.max(1);
                }
                (_, Some(other)) => {
                    self.flow(other);
                    if self.delay_from(1, other).is_some_and(|delay| delay.is_zero()) {
                        self.take(1);
                    }
                    self.other = self.next_other(other);
                }
                _ => break,
            }
        }
        self.flow(now);
    }

    /// The time until `cost` fits, from the last update; `None` if it never does.
    pub(crate) fn delay(&self, cost: u64) -> Option<Duration> {
        self.delay_from(cost, self.at)
    }

    /// Uses `cost`.
    pub(crate) fn take(&mut self, cost: u64) {
        let window = self.limit.per.as_nanos();
        match &mut self.count {
            // A refused request that counts uses no more than there is.
            Count::Bucket { used, burst } => {
                let most = (u128::from(*burst) * window).max(*used);
                *used = used.saturating_add(u128::from(cost) * window).min(most);
            }
            Count::Window { used, .. } => *used = used.saturating_add(cost),
        }
    }

    /// Returns the amount that was not needed.
    pub(crate) fn give_back(&mut self, cost: u64) {
        let window = self.limit.per.as_nanos();
        match &mut self.count {
            Count::Bucket { used, .. } => *used = used.saturating_sub(u128::from(cost) * window),
            Count::Window { used, .. } => *used = used.saturating_sub(cost),
        }
    }

    /// The remainder.
    pub(crate) fn remaining(&self) -> u64 {
        match self.count {
            Count::Bucket { used, burst } => {
                let free = (u128::from(burst) * self.limit.per.as_nanos()).saturating_sub(used);
                whole(free / self.limit.per.as_nanos().max(1))
            }
            Count::Window { used, .. } => self.amount.saturating_sub(used),
        }
    }

    /// The time until all of it is available.
    pub(crate) fn full_in(&self) -> Duration {
        match self.count {
            Count::Bucket { used, .. } => Duration::from_nanos(whole(used.div_ceil(u128::from(self.amount)))),
            Count::Window { elapsed, .. } => self.window_end(elapsed).saturating_sub(self.at),
        }
    }

    /// The amount that flows in a window now.
    pub(crate) const fn amount(&self) -> u64 {
        self.amount
    }

    fn flow(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        let (at, per) = (self.at, self.limit.per);
        match &mut self.count {
            Count::Bucket { used, .. } => {
                *used = used.saturating_sub(passed.as_nanos().saturating_mul(self.amount.into()));
            }
            Count::Window { number, used, before, elapsed, .. } => {
                let current = whole((at + *elapsed).as_nanos() / per.as_nanos().max(1));
                if current > *number {
                    *before = if current == *number + 1 { *used } else { 0 };
                    (*number, *used) = (current, 0);
                }
            }
        }
    }

    fn window_end(&self, elapsed: Duration) -> Duration {
        let windows = (self.at + elapsed).as_nanos() / self.limit.per.as_nanos().max(1) + 1;
        Duration::from_nanos(whole(windows * self.limit.per.as_nanos())).saturating_sub(elapsed)
    }

    fn delay_from(&self, cost: u64, now: Duration) -> Option<Duration> {
        let window = self.limit.per.as_nanos();
        match self.count {
            Count::Bucket { used, burst } => {
                if cost > burst {
                    return None;
                }
                let over = (used + u128::from(cost) * window).saturating_sub(u128::from(burst) * window);
                Some(Duration::from_nanos(whole(over.div_ceil(u128::from(self.amount)))))
            }
            Count::Window { used, before, sliding, elapsed, .. } => {
                if cost > self.amount {
                    return None;
                }
                let end = self.window_end(elapsed).saturating_sub(now);
                let free = self.amount.saturating_sub(used);
                if !sliding {
                    return Some(if cost <= free { Duration::ZERO } else { end });
                }
                // The share of the window before that still counts has to fall until `cost` fits beside it.
                let fits_in = |left: Duration, before: u64, used: u64| {
                    let free = self.amount.checked_sub(used + cost)?;
                    if before == 0 {
                        return Some(Duration::ZERO);
                    }
                    let counts_for = self.limit.per.as_nanos() * u128::from(free) / u128::from(before);
                    Some(left.saturating_sub(Duration::from_nanos(whole(counts_for))))
                };
                Some(match fits_in(end, before, used) {
                    Some(delay) if delay < end => delay,
                    _ => end + fits_in(self.limit.per, used, 0).unwrap_or_default(),
                })
            }
        }
    }

    /// The next time after `now` at which other clients ask.
    fn next_other(&self, now: Duration) -> Option<Duration> {
        let busy = self.limit.others.iter().find(|(when, _)| when.contains(&now));
        let next = busy.map(|(when, rate)| (now + Duration::from_secs_f64(1.0 / rate.max(1e-3)), when.end));
        let later =
            || self.limit.others.iter().map(|(when, _)| when.start).filter(|start| *start > now).min();
        next.filter(|(next, end)| next < end).map(|(next, _)| next).or_else(later)
    }
}

fn whole(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// The times at which `many` requests are accepted that come as early as they can.
    fn taken(limit: &Limit, many: usize) -> Vec<Duration> {
        let mut level = Level::new(limit);
        let mut now = Duration::ZERO;
        let mut all = Vec::new();
        while all.len() < many {
            level.advance(now);
            match level.delay(1).unwrap() {
                Duration::ZERO => {
                    level.take(1);
                    all.push(now);
                }
                delay => now += delay,
            }
        }
        all
    }

    #[test]
    fn a_bucket_takes_its_burst_and_then_its_rate() {
        assert_eq!(taken(&Limit::bucket(10, S, 2), 4), [Duration::ZERO, Duration::ZERO, ms(100), ms(200)]);
    }

    #[test]
    fn a_window_takes_all_of_it_at_its_start() {
        let windows = taken(&Limit::window(2, 5 * S), 5);
        assert_eq!(windows, [0, 0, 5, 5, 10].map(|n| n * S));
        let begun = Limit { shape: Shape::Window { elapsed: 2 * S }, ..Limit::window(2, 5 * S) };
        assert_eq!(taken(&begun, 3), [Duration::ZERO, Duration::ZERO, 3 * S]);
    }

    #[test]
    fn a_sliding_window_weighs_the_one_before() {
        let sliding = Limit { shape: Shape::Sliding, ..Limit::window(100, 10 * S) };
        let times = taken(&sliding, 200);
        assert_eq!(times[99], Duration::ZERO);
        // A hundredth of the window has to pass for each one more.
        assert_eq!(times[100], ms(10_100));
        assert!(times[199] <= 20 * S, "{:?}", times[199]);
    }

    #[test]
    fn changes_and_others_are_seen() {
        let halved = Limit { changes: vec![(S, 5)], ..Limit::bucket(10, S, 1) };
        let times = taken(&halved, 13);
        assert_eq!((times[10], times[12]), (S, ms(1_400)));
        let shared = Limit { others: vec![(Duration::ZERO..10 * S, 5.0)], ..Limit::bucket(10, S, 1) };
        let times = taken(&shared, 11);
        assert!((ms(1_800)..ms(2_300)).contains(&times[10]), "{times:?}");
    }

    #[test]
    fn what_is_given_back_can_be_used_again_and_nothing_is_counted_twice() {
        let mut level = Level::new(&Limit::bucket(60, 60 * S, 60).tokens(true));
        level.advance(Duration::ZERO);
        level.take(60);
        assert_eq!((level.remaining(), level.delay(10)), (0, Some(10 * S)));
        level.give_back(50);
        assert_eq!((level.remaining(), level.delay(10), level.full_in()), (50, Some(Duration::ZERO), 10 * S));
        assert_eq!(level.delay(61), None);
    }
}
