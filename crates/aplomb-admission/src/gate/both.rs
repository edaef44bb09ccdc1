//! Two gates that decide in one step.

use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use crate::{Decision, End, Gate, Rests};
use aplomb_core::{Reading, Usage};

/// Two gates that admit together or not at all. Nest it for more.
///
/// A refusal of either refuses; the later of two instants holds; what waits for a release of one and
/// for an instant of the other is told the instant, and asks again then.
#[derive(Clone, Copy, Debug, Default)]
pub struct Both<A, B>(pub A, pub B);

/// What concerns one of the two gates of [`Both`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The first gate.
    First(A),
    /// The second gate.
    Second(B),
}

impl<A: Gate, B: Gate> Gate for Both<A, B> {
    type Ask = (A::Ask, B::Ask);
    type Slip = (A::Slip, B::Slip);
    type Why = Either<A::Why, B::Why>;
    type Notice = Either<A::Notice, B::Notice>;

    fn check(&mut self, ask: &Self::Ask, now: Instant) -> Decision<Self::Why> {
        use Decision::{Admit, NotBefore, Refuse};
        let first = self.0.check(&ask.0, now).map(Either::First);
        if let Refuse(_) = first {
            return first;
        }
        let second = self.1.check(&ask.1, now).map(Either::Second);
        match (first, second) {
            (_, Refuse(why)) => Refuse(why),
            (Admit, other) | (other, Admit) => other,
            (NotBefore(first, why), NotBefore(second, _)) if first >= second => NotBefore(first, why),
            (_, NotBefore(at, why)) | (NotBefore(at, why), _) => NotBefore(at, why),
            (released, _) => released,
        }
    }

    fn admit(&mut self, ask: &Self::Ask, now: Instant) -> Self::Slip {
        (self.0.admit(&ask.0, now), self.1.admit(&ask.1, now))
    }

    fn sent(&mut self, slip: &mut Self::Slip, now: Instant) {
        self.0.sent(&mut slip.0, now);
        self.1.sent(&mut slip.1, now);
    }

    fn content(&mut self, slip: &mut Self::Slip, now: Instant) {
        self.0.content(&mut slip.0, now);
        self.1.content(&mut slip.1, now);
    }

    fn heard(&mut self, slip: &mut Self::Slip, readings: &[Reading], now: Instant) {
        self.0.heard(&mut slip.0, readings, now);
        self.1.heard(&mut slip.1, readings, now);
    }

    fn used(&mut self, slip: &mut Self::Slip, usage: Usage, now: Instant) {
        self.0.used(&mut slip.0, usage, now);
        self.1.used(&mut slip.1, usage, now);
    }

    fn end(&mut self, slip: Self::Slip, end: End, now: Instant) {
        self.0.end(slip.0, end, now);
        self.1.end(slip.1, end, now);
    }

    fn forecast(&mut self, asks: &mut dyn Iterator<Item = &Self::Ask>, now: Instant) -> Option<Instant> {
        // Each gate reads the line for itself; the line is short, and a forecast is made only for a
        // call that has a deadline and finds others waiting.
        let asks: Vec<_> = asks.collect();
        let first = self.0.forecast(&mut asks.iter().map(|ask| &ask.0), now);
        let second = self.1.forecast(&mut asks.iter().map(|ask| &ask.1), now);
        first.max(second)
    }

    fn lapses(&self) -> Option<Instant> {
        self.0.lapses().into_iter().chain(self.1.lapses()).min()
    }

    fn answers_in(&self) -> Duration {
        self.0.answers_in().max(self.1.answers_in())
    }

    fn notice(&mut self) -> Option<Self::Notice> {
        self.0.notice().map(Either::First).or_else(|| self.1.notice().map(Either::Second))
    }

    #[inline]
    fn is_shared(&self) -> bool {
        self.0.is_shared() || self.1.is_shared()
    }

    fn confirm(&mut self, ask: &Self::Ask, now: Instant) -> Decision<Self::Why> {
        let first = self.0.confirm(&ask.0, now);
        if !first.is_admit() {
            return first.map(Either::First);
        }
        let second = self.1.confirm(&ask.1, now);
        if !second.is_admit() && self.0.is_shared() {
            // Nothing is held of one while the other is waited for.
            let slip = self.0.admit(&ask.0, now);
            self.0.end(slip, End::Unsent, now);
        }
        second.map(Either::Second)
    }

    fn awaited(&mut self, ask: &Self::Ask, until: Option<Instant>, why: &Self::Why, now: Instant) {
        // Who waits for a release of one does not go at the instant of the other.
        match why {
            Either::First(why) => {
                if self.0.is_shared() && !self.1.check(&ask.1, now).is_when_released() {
                    self.0.awaited(&ask.0, until, why, now);
                }
            }
            Either::Second(why) => {
                if self.1.is_shared() && !self.0.check(&ask.0, now).is_when_released() {
                    self.1.awaited(&ask.1, until, why, now);
                }
            }
        }
    }

    fn step_ends(&mut self, queue: Option<&dyn Fn() -> Waker>, woken: &mut Vec<Waker>) {
        self.0.step_ends(queue, woken);
        self.1.step_ends(queue, woken);
    }
}

impl<A: Rests, B: Rests> Rests for Both<A, B> {
    type Rest = (A::Rest, B::Rest);

    fn rest(&self, now: Instant) -> Option<Self::Rest> {
        Some((self.0.rest(now)?, self.1.rest(now)?))
    }

    fn resume(&mut self, (first, second): Self::Rest) {
        self.0.resume(first);
        self.1.resume(second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scripted;

    #[test]
    fn both_admit_or_nobody_pays() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let latest = now + Duration::from_secs(2);
        for (first, second, expected) in [
            (Decision::Admit, Decision::Admit, Decision::Admit),
            (
                Decision::Admit,
                Decision::NotBefore(later, 2),
                Decision::NotBefore(later, Either::Second(2)),
            ),
            (
                Decision::NotBefore(latest, 1),
                Decision::NotBefore(later, 2),
                Decision::NotBefore(latest, Either::First(1)),
            ),
            (
                Decision::NotBefore(later, 1),
                Decision::NotBefore(latest, 2),
                Decision::NotBefore(latest, Either::Second(2)),
            ),
            (
                Decision::WhenReleased(1),
                Decision::NotBefore(later, 2),
                Decision::NotBefore(later, Either::Second(2)),
            ),
            (Decision::WhenReleased(1), Decision::Admit, Decision::WhenReleased(Either::First(1))),
            (Decision::Refuse(1), Decision::Admit, Decision::Refuse(Either::First(1))),
            (Decision::NotBefore(later, 1), Decision::Refuse(2), Decision::Refuse(Either::Second(2))),
        ] {
            let mut gate = Both(Scripted::new(first), Scripted::new(second));
            assert_eq!(gate.check(&((), ()), now), expected);
            assert_eq!((gate.0.admitted, gate.1.admitted), (0, 0), "checking takes nothing");
        }
    }
}
