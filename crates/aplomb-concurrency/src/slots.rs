//! The gate: who is in flight, and whether one more may be.

use std::time::Duration;

use aplomb_admission::{Decision, End, Gate, Hints, PooledGate, Progress};
use aplomb_core::{Kind, Outcome, Scope, Usage};
use tokio::time::Instant;

use crate::abandoned::Abandoned;
use crate::control::{Control, Learned};
use crate::pace::Pace;
use crate::{Adaptive, ConcurrencySnapshot, Limit, LimitChange, LimitChangeCause, Occupancy, SlotsAtRest};

/// How many calls are in flight, and how many may be.
///
/// A pure state machine: it is used behind a [`Queue`](aplomb_admission::Queue), by itself or as
/// one of several gates.
///
/// # Examples
///
/// ```
/// use aplomb_concurrency::Slots;
/// use aplomb_admission::{Decision, End, Gate, Hints, PooledGate, Progress};
/// use aplomb_core::Outcome;
/// use tokio::time::Instant;
///
/// let now = Instant::now();
/// let mut slots = Slots::new(1);
/// assert_eq!(slots.check(&(), now), Decision::Admit);
/// let slot = slots.admit(&(), now);
/// assert!(matches!(slots.check(&(), now), Decision::WhenReleased(_)));
/// slots.end(slot, End::Judged { outcome: Outcome::success(), usage: None }, now);
/// assert_eq!(slots.check(&(), now), Decision::Admit);
/// ```
#[derive(Clone, Debug)]
pub struct Slots {
    level: Level,
    in_flight: usize,
    /// The number of the next call.
    next: u64,
    abandoned: Abandoned,
    pace: Pace,
    moved: Option<LimitChange>,
    untold: Option<LimitChange>,
}

#[derive(Clone, Debug)]
enum Level {
    Fixed(usize),
    Adaptive(Box<Control>),
}

/// The place of a call in flight.
#[derive(Debug)]
pub struct SlotToken {
    number: u64,
    at: Instant,
    /// How many places were taken, this one included.
    taken: usize,
    /// Whether the answer has begun.
    begun: bool,
    /// Whether its latency has been told.
    timed: bool,
}

/// How long an abandoned call counts as in flight at most, where the limit is adaptive.
const ABANDONED: Duration = Duration::from_secs(30);

impl Slots {
    /// Nobody in flight. A call that is abandoned before it was answered counts as in flight for as long
    /// again as it took, at most 30 s where the limit is adaptive and not at all where it is fixed.
    pub fn new(limit: impl Into<Limit>) -> Self {
        let limit = limit.into();
        let abandoned = match limit {
            Limit::Fixed(_) => Duration::ZERO,
            Limit::Adaptive(_) => ABANDONED,
        };
        Self {
            level: Level::new(limit, 0),
            in_flight: 0,
            next: 0,
            abandoned: Abandoned::new(abandoned),
            pace: Pace::default(),
            moved: None,
            untold: None,
        }
    }

    /// Changes the limit. An adaptive one begins anew, whatever it had found; calls in flight stay.
    pub fn set_limit(&mut self, limit: impl Into<Limit>, now: Instant) {
        let from = self.limit();
        self.level = Level::new(limit.into(), self.next);
        self.note(from, LimitChangeCause::Set, now);
    }

    /// Sets how long an abandoned call counts as in flight at most.
    pub const fn set_abandoned(&mut self, longest: Duration) {
        self.abandoned.set_longest(longest);
    }

    /// How many calls may be in flight.
    pub fn limit(&self) -> usize {
        match &self.level {
            Level::Fixed(limit) => *limit,
            Level::Adaptive(control) => control.limit(),
        }
    }

    /// How many calls are in flight. May be more than the limit, when that has just moved down.
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many abandoned calls count as in flight at `now`, besides.
    pub fn abandoned(&mut self, now: Instant) -> usize {
        self.abandoned.pass(now);
        self.abandoned.len()
    }

    /// How and why the limit moved last.
    pub const fn last_change(&self) -> Option<LimitChange> {
        self.moved
    }

    /// How it stands at `now`, with so many waiting before it.
    pub fn snapshot(&mut self, waiting: usize, now: Instant) -> ConcurrencySnapshot {
        ConcurrencySnapshot {
            limit: self.limit(),
            in_flight: self.in_flight,
            abandoned: self.abandoned(now),
            waiting,
            moved: self.moved,
        }
    }

    /// What is to be kept while nobody calls; `None` as long as abandoned calls count as in flight.
    pub(crate) fn at_rest(&self, now: Instant) -> Option<SlotsAtRest> {
        let learned = match &self.level {
            Level::Fixed(_) => None,
            Level::Adaptive(control) => control.learned(),
        };
        let is_busy = self.in_flight > 0 || !self.abandoned.is_over(now);
        (!is_busy).then(|| SlotsAtRest::new(learned, self.pace, self.moved, now))
    }

    /// Goes on from what was kept, if it still is to find its level.
    pub(crate) fn go_on(&mut self, learned: &Learned, pace: Pace, moved: Option<LimitChange>) {
        if let Level::Adaptive(control) = &mut self.level {
            control.resume(learned);
            self.pace = pace;
            self.moved = moved;
        }
    }

    fn taken(&self) -> usize {
        self.in_flight + self.abandoned.len()
    }

    fn why(&self) -> Occupancy {
        let (limit, in_flight, abandoned) = (self.limit(), self.in_flight, self.abandoned.len());
        Occupancy { limit, in_flight, abandoned, pace: self.pace.between_ends(limit) }
    }

    fn judge(
        &mut self,
        slot: &SlotToken,
        outcome: Outcome,
        usage: Option<Usage>,
        now: Instant,
    ) -> Option<LimitChangeCause> {
        let used = slot.taken.max(self.taken());
        let Level::Adaptive(control) = &mut self.level else {
            return None;
        };
        match burden(outcome) {
            Burden::Borne => {
                let age = now.saturating_duration_since(slot.at);
                let output = usage.and_then(|usage| usage.output());
                let latency = control.slowness().and_then(|slow| slow.latency().at_end(age, output));
                let moved = match latency.filter(|_| !slot.timed) {
                    Some(seconds) => control.timed(slot.number, seconds, used, now),
                    None => None,
                };
                let timed = slot.timed || latency.is_some();
                if !timed {
                    control.untimed(slot.number);
                }
                moved.or(control.answered(slot.number, used, timed))
            }
            Burden::TooMuch(cause) => {
                if !slot.timed {
                    control.untimed(slot.number);
                }
                control.overloaded(slot.number, cause)
            }
            Burden::Unknown => {
                self.left(slot);
                None
            }
        }
    }

    /// A call ended of which nothing is known.
    fn left(&mut self, slot: &SlotToken) {
        if let Level::Adaptive(control) = &mut self.level {
            if !slot.timed {
                control.untimed(slot.number);
            }
            control.ended(slot.number);
        }
    }

    fn note(&mut self, from: usize, cause: LimitChangeCause, now: Instant) {
        let moved = LimitChange { from, to: self.limit(), cause, at: now };
        if moved.from != moved.to {
            self.moved = Some(moved);
            self.untold = Some(moved);
        }
    }

    fn first_byte(&mut self, slot: &mut SlotToken, now: Instant) {
        slot.begun = true;
        let (from, used) = (self.limit(), slot.taken.max(self.taken()));
        let Level::Adaptive(control) = &mut self.level else {
            return;
        };
        let age = now.saturating_duration_since(slot.at);
        if let Some(seconds) = control.slowness().and_then(|slow| slow.latency().at_first_byte(age)) {
            slot.timed = true;
            if let Some(cause) = control.timed(slot.number, seconds, used, now) {
                self.note(from, cause, now);
            }
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

impl Level {
    fn new(limit: Limit, next: u64) -> Self {
        match limit {
            Limit::Fixed(limit) => Self::Fixed(limit.max(1)),
            Limit::Adaptive(adaptive) => Self::Adaptive(Box::new(Control::new(adaptive, next))),
        }
    }
}

/// What the end of a call says about the number of calls.
enum Burden {
    Borne,
    TooMuch(LimitChangeCause),
    Unknown,
}

const fn burden(outcome: Outcome) -> Burden {
    match (outcome.kind(), outcome.scope()) {
        (Kind::Success, _) => Burden::Borne,
        (Kind::Transient, Scope::Server) => Burden::TooMuch(LimitChangeCause::Overload),
        (Kind::Throttled, _) if outcome.is_of_concurrency() => Burden::TooMuch(LimitChangeCause::Throttled),
        // A server that says until when tells of a rate, for which quotas pause everybody.
        (Kind::Throttled, Scope::Account | Scope::Server) if outcome.retry_after().is_none() => {
            Burden::TooMuch(LimitChangeCause::Throttled)
        }
        _ => Burden::Unknown,
    }
}

impl Gate for Slots {
    type Cost = ();
    type Token = SlotToken;
    type Reason = Occupancy;
    type Event = LimitChange;

    #[inline]
    fn check(&mut self, (): &(), now: Instant) -> Decision<Occupancy> {
        self.abandoned.pass(now);
        if self.taken() < self.limit() {
            Decision::Admit
        } else {
            Decision::WhenReleased(self.why())
        }
    }

    #[inline]
    fn admit(&mut self, (): &(), now: Instant) -> SlotToken {
        let number = self.next;
        self.next += 1;
        self.in_flight += 1;
        if let Level::Adaptive(control) = &mut self.level {
            control.admit(number, now);
        }
        SlotToken { number, at: now, taken: self.taken(), begun: false, timed: false }
    }

    fn on(&mut self, slot: &mut SlotToken, progress: Progress<'_>, now: Instant) {
        match progress {
            Progress::Sent => slot.at = now,
            Progress::FirstByte => self.first_byte(slot, now),
            Progress::Limits(_) | Progress::Usage(_) => {}
        }
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what is handed over is read where it lies")]
    fn end(&mut self, slot: SlotToken, end: End, now: Instant) {
        let from = self.limit();
        let (cause, at_work) = match end {
            End::Judged { outcome, usage } => {
                // Nobody waits where there is place, and the clock need not be asked.
                if self.taken() >= from {
                    self.pace.ended(now.saturating_duration_since(slot.at));
                }
                (self.judge(&slot, outcome, usage, now), outcome.is_unanswered())
            }
            // Who has begun to answer notices that nobody listens any more.
            End::Abandoned => {
                self.left(&slot);
                (None, !slot.begun)
            }
            _ => {
                self.left(&slot);
                (None, false)
            }
        };
        // A slip of other slots is none of these: it must not wrap around.
        self.in_flight = self.in_flight.saturating_sub(1);
        if at_work {
            self.abandoned.add(slot.at, now);
        }
        if let Some(cause) = cause {
            self.note(from, cause, now);
        }
    }

    /// An estimate, on the early side: the limit and the lengths of calls stay as they are, the first of
    /// the calls in flight ends at once, and the others twice as fast as they did on average.
    fn forecast(&mut self, asks: &mut dyn Iterator<Item = &()>, now: Instant) -> Option<Instant> {
        if let Level::Adaptive(control) = &self.level
            && control.is_in_slow_start()
        {
            return None;
        }
        let limit = self.limit();
        let ends = asks.count().saturating_sub(limit.saturating_sub(self.taken()));
        let ends = u32::try_from(ends.saturating_sub(1)).unwrap_or(u32::MAX);
        now.checked_add(self.pace.between_ends(limit)?.saturating_mul(ends) / 2)
    }

    fn hints(&self) -> Hints {
        Hints { next_wakeup: self.abandoned.next(), ..Hints::default() }
    }

    #[inline]
    fn next_event(&mut self) -> Option<LimitChange> {
        self.untold.take()
    }

    #[inline]
    fn pooled(&mut self) -> Option<&mut dyn PooledGate<(), Occupancy>> {
        None
    }
}
