//! Slots as a gate: admission, and the effect of each call's end on the limit.

use aplomb_admission::{Decision, End, Gate, Hints, PooledGate, Progress};
use aplomb_core::{ConcurrencyCause, Kind, Outcome, Scope, Usage};
use tokio::time::Instant;

use crate::slots::Level;
use crate::{LimitChange, Occupancy, Slots};

/// The slot of a call in flight.
#[derive(Debug)]
pub struct SlotToken {
    number: u64,
    at: Instant,
    /// How many slots were taken, including this one.
    taken: usize,
    /// True if the answer has begun.
    begun: bool,
    /// True if the latency of the call has been recorded.
    timed: bool,
}

/// The meaning of a call's end for the load on the server.
enum LoadSignal {
    /// The server can take this many calls.
    Sustained,
    /// These were too many.
    Overloaded(ConcurrencyCause),
    /// Nothing.
    Unknown,
}

impl LoadSignal {
    const fn of(outcome: Outcome) -> Self {
        match (outcome.kind(), outcome.scope()) {
            (Kind::Success, _) => Self::Sustained,
            (Kind::Transient, Scope::Server) => Self::Overloaded(ConcurrencyCause::Overload),
            (Kind::Throttled, _) if outcome.is_of_concurrency() => {
                Self::Overloaded(ConcurrencyCause::Throttled)
            }
            // A hint means that a rate was exceeded: the rate limit pauses everyone for it.
            (Kind::Throttled, Scope::Account | Scope::Server) if outcome.retry_after().is_none() => {
                Self::Overloaded(ConcurrencyCause::Throttled)
            }
            _ => Self::Unknown,
        }
    }
}

impl Gate for Slots {
    type Cost = ();
    type Token = SlotToken;
    type Reason = Occupancy;
    type Event = LimitChange;

    #[inline]
    fn check(&mut self, (): &(), now: Instant) -> Decision<Occupancy> {
        self.abandoned.advance(now);
        if self.taken() < self.limit() {
            Decision::Admit
        } else {
            Decision::WhenReleased(self.occupancy())
        }
    }

    #[inline]
    fn admit(&mut self, (): &(), now: Instant) -> SlotToken {
        let number = self.next;
        self.next += 1;
        self.in_flight += 1;
        if let Level::Adaptive(controller) = &mut self.level {
            controller.admit(number, now);
        }
        SlotToken { number, at: now, taken: self.taken(), begun: false, timed: false }
    }

    fn on(&mut self, token: &mut SlotToken, progress: Progress<'_>, now: Instant) {
        match progress {
            Progress::Sent => token.at = now,
            Progress::FirstByte => self.first_byte(token, now),
            Progress::Limits(_) | Progress::Usage(_) => {}
        }
    }

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "the arguments are large, and read in place instead of being moved"
    )]
    fn end(&mut self, token: SlotToken, end: End, now: Instant) {
        let from = self.limit();
        let (cause, at_work) = match end {
            End::Judged { outcome, usage } => {
                // Waits need no estimate while slots are free, which spares a reading of the clock.
                if self.taken() >= from {
                    self.average_duration.record(now.saturating_duration_since(token.at));
                }
                let cause = match self.level {
                    Level::Fixed(_) => None,
                    Level::Adaptive(_) => self.judged(&token, outcome, usage, now),
                };
                (cause, outcome.is_unanswered())
            }
            // A server that has begun to answer notices that the call was dropped.
            End::Abandoned => {
                self.ended(&token);
                (None, !token.begun)
            }
            _ => {
                self.ended(&token);
                (None, false)
            }
        };
        // A token of other slots may end here: the count must not wrap around.
        self.in_flight = self.in_flight.saturating_sub(1);
        if at_work {
            self.abandoned.add(token.at, now);
        }
        if let Some(cause) = cause {
            self.record_change(from, cause, now);
        }
    }

    /// An early estimate: the limit and the durations stay the same, one call in flight ends at once, and the others
    /// twice as fast as on average.
    fn forecast(&mut self, costs: &mut dyn Iterator<Item = &()>, now: Instant) -> Option<Instant> {
        if matches!(&self.level, Level::Adaptive(controller) if controller.is_in_slow_start()) {
            return None;
        }
        let limit = self.limit();
        let ends = costs.count().saturating_sub(limit.saturating_sub(self.taken()));
        let ends = u32::try_from(ends.saturating_sub(1)).unwrap_or(u32::MAX);
        now.checked_add(self.average_duration.between_ends(limit)?.saturating_mul(ends) / 2)
    }

    fn hints(&self) -> Hints {
        Hints { next_wakeup: self.abandoned.next(), ..Hints::default() }
    }

    #[inline]
    fn next_event(&mut self) -> Option<LimitChange> {
        self.event.take()
    }

    #[inline]
    fn pooled(&mut self) -> Option<&mut dyn PooledGate<(), Occupancy>> {
        None
    }
}

impl Slots {
    fn first_byte(&mut self, token: &mut SlotToken, now: Instant) {
        token.begun = true;
        let (from, used) = (self.limit(), token.taken.max(self.taken()));
        let Level::Adaptive(controller) = &mut self.level else {
            return;
        };
        let age = now.saturating_duration_since(token.at);
        let latency = controller.slowdown().and_then(|slowdown| slowdown.latency().at_first_byte(age));
        if let Some(seconds) = latency {
            token.timed = true;
            if let Some(cause) = controller.timed(token.number, seconds, used, now) {
                self.record_change(from, cause, now);
            }
        }
    }

    /// A call was judged. Returns why that changes the limit, if it does.
    fn judged(
        &mut self,
        token: &SlotToken,
        outcome: Outcome,
        usage: Option<Usage>,
        now: Instant,
    ) -> Option<ConcurrencyCause> {
        let used = token.taken.max(self.taken());
        let Level::Adaptive(controller) = &mut self.level else {
            return None;
        };
        match LoadSignal::of(outcome) {
            LoadSignal::Sustained => {
                let age = now.saturating_duration_since(token.at);
                let output = usage.and_then(|usage| usage.output());
                let slowdown = controller.slowdown();
                let latency = slowdown.and_then(|slowdown| slowdown.latency().at_end(age, output));
                let changed = match latency {
                    Some(seconds) if !token.timed => controller.timed(token.number, seconds, used, now),
                    _ => None,
                };
                let timed = token.timed || latency.is_some();
                if !timed {
                    controller.untimed(token.number);
                }
                // Also when the latency has changed the limit: the controller counts every answer.
                let answered = controller.answered(token.number, used, timed);
                changed.or(answered)
            }
            LoadSignal::Overloaded(cause) => {
                if !token.timed {
                    controller.untimed(token.number);
                }
                controller.overloaded(token.number, cause)
            }
            LoadSignal::Unknown => {
                self.ended(token);
                None
            }
        }
    }

    /// A call ended that says nothing about the load.
    fn ended(&mut self, token: &SlotToken) {
        if let Level::Adaptive(controller) = &mut self.level {
            if !token.timed {
                controller.untimed(token.number);
            }
            controller.ended(token.number);
        }
    }
}
