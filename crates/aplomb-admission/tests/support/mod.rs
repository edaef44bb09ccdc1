//! Helpers for tests of gates, also in other crates.
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "not every test needs all of it"
)]

use std::task::Waker;

use aplomb_admission::{Decision, End, Evictable, Gate, Hints, PooledGate, Progress, Worth};
use tokio::time::Instant;

/// The methods of a gate that notes no progress, predicts nothing, has no events and is in no pool.
macro_rules! simple {
    () => {
        crate::gate_support::simple!(on forecast hints next_event pooled);
    };
    (on $($rest:ident)*) => {
        fn on(&mut self, _: &mut Self::Token, _: aplomb_admission::Progress<'_>, _: tokio::time::Instant) {}
        crate::gate_support::simple!(@ $($rest)*);
    };
    (forecast $($rest:ident)*) => {
        fn forecast(
            &mut self,
            _: &mut dyn Iterator<Item = &Self::Cost>,
            _: tokio::time::Instant,
        ) -> Option<tokio::time::Instant> {
            None
        }
        crate::gate_support::simple!(@ $($rest)*);
    };
    (hints $($rest:ident)*) => {
        fn hints(&self) -> aplomb_admission::Hints {
            aplomb_admission::Hints::default()
        }
        crate::gate_support::simple!(@ $($rest)*);
    };
    (next_event $($rest:ident)*) => {
        fn next_event(&mut self) -> Option<Self::Event> {
            None
        }
        crate::gate_support::simple!(@ $($rest)*);
    };
    (pooled $($rest:ident)*) => {
        fn pooled(
            &mut self,
        ) -> Option<&mut dyn aplomb_admission::PooledGate<Self::Cost, Self::Reason>> {
            None
        }
        crate::gate_support::simple!(@ $($rest)*);
    };
    (@) => {};
    (@ $($rest:ident)+) => {
        crate::gate_support::simple!($($rest)+);
    };
}

pub(crate) use simple;

/// Two gates that admit together or not at all. Nest it for more.
#[derive(Debug)]
pub(crate) struct Both<A, B>(pub(crate) A, pub(crate) B);

/// Concerns one of the two gates of [`Both`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Either<A, B> {
    First(A),
    Second(B),
}

impl<A: Gate, B: Gate> Gate for Both<A, B> {
    type Cost = (A::Cost, B::Cost);
    type Token = (A::Token, B::Token);
    type Reason = Either<A::Reason, B::Reason>;
    type Event = Either<A::Event, B::Event>;

    fn check(&mut self, (first, second): &Self::Cost, now: Instant) -> Decision<Self::Reason> {
        let decision = self.0.check(first, now).map(Either::First);
        decision.and(|| self.1.check(second, now).map(Either::Second))
    }

    fn admit(&mut self, (first, second): &Self::Cost, now: Instant) -> Self::Token {
        (self.0.admit(first, now), self.1.admit(second, now))
    }

    fn on(&mut self, (first, second): &mut Self::Token, progress: Progress<'_>, now: Instant) {
        self.0.on(first, progress, now);
        self.1.on(second, progress, now);
    }

    fn end(&mut self, (first, second): Self::Token, end: End, now: Instant) {
        self.0.end(first, end, now);
        self.1.end(second, end, now);
    }

    fn forecast(&mut self, costs: &mut dyn Iterator<Item = &Self::Cost>, now: Instant) -> Option<Instant> {
        let costs: Vec<_> = costs.collect();
        let first = self.0.forecast(&mut costs.iter().map(|(first, _)| first), now);
        first.max(self.1.forecast(&mut costs.iter().map(|(_, second)| second), now))
    }

    fn hints(&self) -> Hints {
        let (first, second) = (self.0.hints(), self.1.hints());
        Hints {
            next_wakeup: first.next_wakeup.into_iter().chain(second.next_wakeup).min(),
            expected_latency: first.expected_latency.max(second.expected_latency),
            max_wait: None,
        }
    }

    fn next_event(&mut self) -> Option<Self::Event> {
        let first = self.0.next_event().map(Either::First);
        first.or_else(|| self.1.next_event().map(Either::Second))
    }

    fn pooled(&mut self) -> Option<&mut dyn PooledGate<Self::Cost, Self::Reason>> {
        let is_pooled = self.0.pooled().is_some() || self.1.pooled().is_some();
        if is_pooled { Some(self) } else { None }
    }
}

impl<A: Gate, B: Gate> PooledGate<(A::Cost, B::Cost), Either<A::Reason, B::Reason>> for Both<A, B> {
    fn reserve(
        &mut self,
        (first, second): &(A::Cost, B::Cost),
        now: Instant,
    ) -> Decision<Either<A::Reason, B::Reason>> {
        if let Some(pooled) = self.0.pooled() {
            let decision = pooled.reserve(first, now);
            if !decision.is_admit() {
                return decision.map(Either::First);
            }
        }
        let decision = self.1.pooled().map_or(Decision::Admit, |pooled| pooled.reserve(second, now));
        if !decision.is_admit() && self.0.pooled().is_some() {
            // Nothing of one is held while the other is waited for.
            let token = self.0.admit(first, now);
            self.0.end(token, End::Unsent, now);
        }
        decision.map(Either::Second)
    }

    fn register_waiter(
        &mut self,
        (first, second): &(A::Cost, B::Cost),
        until: Option<Instant>,
        reason: &Either<A::Reason, B::Reason>,
        now: Instant,
    ) {
        // A caller that waits for a release of one does not go at the instant of the other.
        match reason {
            Either::First(reason) if !self.1.check(second, now).is_when_released() => {
                if let Some(pooled) = self.0.pooled() {
                    pooled.register_waiter(first, until, reason, now);
                }
            }
            Either::Second(reason) if !self.0.check(first, now).is_when_released() => {
                if let Some(pooled) = self.1.pooled() {
                    pooled.register_waiter(second, until, reason, now);
                }
            }
            Either::First(_) | Either::Second(_) => {}
        }
    }

    fn end_section(&mut self, ask_again: Option<&dyn Fn() -> Waker>, woken: &mut Vec<Waker>) {
        if let Some(pooled) = self.0.pooled() {
            pooled.end_section(ask_again, woken);
        }
        if let Some(pooled) = self.1.pooled() {
            pooled.end_section(ask_again, woken);
        }
    }
}

impl<A: Evictable, B: Evictable> Evictable for Both<A, B> {
    fn worth(&mut self, now: Instant) -> Worth {
        self.0.worth(now).max(self.1.worth(now))
    }
}
