//! The slots: how many calls are in flight, and how many may be.

use std::time::Duration;

use aplomb_core::ConcurrencyCause;
use tokio::time::Instant;

use crate::abandoned_calls::AbandonedCalls;
use crate::average_duration::AverageDuration;
use crate::controller::Controller;
use crate::{Adaptive, ConcurrencySnapshot, Limit, LimitChange, Occupancy};

/// How many calls are in flight, and how many may be: the pure part of
/// [`ConcurrencyLimitLayer`](crate::ConcurrencyLimitLayer), which puts it behind a queue.
///
/// # Examples
///
/// ```
/// use aplomb_concurrency::Slots;
/// use aplomb_admission::{Decision, End, Gate};
/// use aplomb_core::Outcome;
/// use tokio::time::Instant;
///
/// let now = Instant::now();
/// let mut slots = Slots::new(1);
/// assert_eq!(slots.check(&(), now), Decision::Admit);
/// let token = slots.admit(&(), now);
/// assert!(matches!(slots.check(&(), now), Decision::WhenReleased(_)));
/// slots.end(token, End::Judged { outcome: Outcome::success(), usage: None }, now);
/// assert_eq!(slots.check(&(), now), Decision::Admit);
/// ```
#[derive(Clone, Debug)]
pub struct Slots {
    pub(crate) level: Level,
    pub(crate) in_flight: usize,
    /// The number of the next call.
    pub(crate) next: u64,
    pub(crate) abandoned: AbandonedCalls,
    pub(crate) average_duration: AverageDuration,
    last_change: Option<LimitChange>,
    /// The last change, until it is reported.
    pub(crate) event: Option<LimitChange>,
}

#[derive(Clone, Debug)]
pub(crate) enum Level {
    Fixed(usize),
    Adaptive(Box<Controller>),
}

/// By default, abandoned calls count as in flight at most this long, if the limit is adaptive.
const MAX_ABANDONED: Duration = Duration::from_secs(30);

impl Slots {
    /// No calls in flight. A call that is abandoned before it was answered counts as in flight for as long again as it had
    /// taken: at most 30 s if the limit is adaptive, not at all if it is fixed.
    pub fn new(limit: impl Into<Limit>) -> Self {
        let limit = limit.into();
        let max_abandoned = match limit {
            Limit::Fixed(_) => Duration::ZERO,
            Limit::Adaptive(_) => MAX_ABANDONED,
        };
        Self {
            level: Level::new(limit, 0),
            in_flight: 0,
            next: 0,
            abandoned: AbandonedCalls::new(max_abandoned),
            average_duration: AverageDuration::default(),
            last_change: None,
            event: None,
        }
    }

    /// Changes the limit. Calls in flight stay. An adaptive limit that is already set keeps its state; another one
    /// continues from what was learned, within its own bounds.
    pub fn set_limit(&mut self, limit: impl Into<Limit>, now: Instant) {
        let (from, limit) = (self.limit(), limit.into());
        let learned = match (&self.level, limit) {
            (Level::Adaptive(controller), Limit::Adaptive(config)) if *controller.config() == config => {
                return;
            }
            (Level::Adaptive(controller), Limit::Adaptive(_)) => {
                controller.has_learned().then(|| controller.learned())
            }
            _ => None,
        };
        self.level = Level::new(limit, self.next);
        if let (Level::Adaptive(controller), Some(learned)) = (&mut self.level, &learned) {
            controller.resume(learned);
        }
        self.record_change(from, ConcurrencyCause::Set, now);
    }

    /// Sets how long an abandoned call counts as in flight at most.
    pub const fn set_abandoned(&mut self, max: Duration) {
        self.abandoned.set_max(max);
    }

    /// The number of calls that may be in flight.
    pub fn limit(&self) -> usize {
        match &self.level {
            Level::Fixed(limit) => *limit,
            Level::Adaptive(controller) => controller.limit(),
        }
    }

    /// The number of calls in flight. May exceed the limit just after that was lowered.
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The number of abandoned calls that count as in flight at `now` in addition.
    pub fn abandoned(&mut self, now: Instant) -> usize {
        self.abandoned.advance(now);
        self.abandoned.len()
    }

    /// How and why the limit last changed.
    pub const fn last_change(&self) -> Option<LimitChange> {
        self.last_change
    }

    /// The limit and its use at `now`, with `waiting` calls in the queue.
    pub fn snapshot(&mut self, waiting: usize, now: Instant) -> ConcurrencySnapshot {
        ConcurrencySnapshot {
            limit: self.limit(),
            in_flight: self.in_flight,
            abandoned: self.abandoned(now),
            waiting,
            last_change: self.last_change,
        }
    }

    /// How many slots are taken.
    pub(crate) fn taken(&self) -> usize {
        self.in_flight + self.abandoned.len()
    }

    pub(crate) fn occupancy(&self) -> Occupancy {
        let (limit, in_flight, abandoned) = (self.limit(), self.in_flight, self.abandoned.len());
        Occupancy {
            limit,
            in_flight,
            abandoned,
            between_ends: self.average_duration.between_ends(limit),
        }
    }

    /// Notes that the limit has changed since it was `from`, if it has.
    pub(crate) fn record_change(&mut self, from: usize, cause: ConcurrencyCause, now: Instant) {
        let change = LimitChange { from, to: self.limit(), cause, at: now };
        if change.from != change.to {
            self.last_change = Some(change);
            self.event = Some(change);
        }
    }
}

impl Level {
    fn new(limit: Limit, next: u64) -> Self {
        match limit {
            Limit::Fixed(limit) => Self::Fixed(limit.max(1)),
            Limit::Adaptive(adaptive) => Self::Adaptive(Box::new(Controller::new(adaptive, next))),
        }
    }
}

impl From<Limit> for Slots {
    fn from(limit: Limit) -> Self {
        Self::new(limit)
    }
}

impl From<Adaptive> for Slots {
    fn from(limit: Adaptive) -> Self {
        Self::new(limit)
    }
}

impl From<usize> for Slots {
    fn from(limit: usize) -> Self {
        Self::new(limit)
    }
}
