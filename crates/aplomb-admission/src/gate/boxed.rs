//! A gate in a box, whose slips are in boxes.

use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use crate::{Decision, End, Gate, Rests};
use aplomb_core::{Reading, Usage};

/// A gate in a box keeps its slips in boxes: for several gates joined, of which the slip is large. It goes
/// from hand to hand with its permit and the body of the answer, and each of these moves costs more than a
/// large slip's place on the heap does in all.
impl<G: Gate> Gate for Box<G> {
    type Ask = G::Ask;
    type Slip = Box<G::Slip>;
    type Why = G::Why;
    type Notice = G::Notice;

    fn check(&mut self, ask: &Self::Ask, now: Instant) -> Decision<Self::Why> {
        (**self).check(ask, now)
    }

    fn admit(&mut self, ask: &Self::Ask, now: Instant) -> Self::Slip {
        Box::new((**self).admit(ask, now))
    }

    fn sent(&mut self, slip: &mut Self::Slip, now: Instant) {
        (**self).sent(slip, now);
    }

    fn content(&mut self, slip: &mut Self::Slip, now: Instant) {
        (**self).content(slip, now);
    }

    fn heard(&mut self, slip: &mut Self::Slip, readings: &[Reading], now: Instant) {
        (**self).heard(slip, readings, now);
    }

    fn used(&mut self, slip: &mut Self::Slip, usage: Usage, now: Instant) {
        (**self).used(slip, usage, now);
    }

    fn end(&mut self, slip: Self::Slip, end: End, now: Instant) {
        (**self).end(*slip, end, now);
    }

    fn forecast(&mut self, asks: &mut dyn Iterator<Item = &Self::Ask>, now: Instant) -> Option<Instant> {
        (**self).forecast(asks, now)
    }

    fn lapses(&self) -> Option<Instant> {
        (**self).lapses()
    }

    fn answers_in(&self) -> Duration {
        (**self).answers_in()
    }

    fn longest_wait(&self) -> Option<Duration> {
        (**self).longest_wait()
    }

    fn notice(&mut self) -> Option<Self::Notice> {
        (**self).notice()
    }

    #[inline]
    fn is_shared(&self) -> bool {
        (**self).is_shared()
    }

    fn confirm(&mut self, ask: &Self::Ask, now: Instant) -> Decision<Self::Why> {
        (**self).confirm(ask, now)
    }

    fn awaited(&mut self, ask: &Self::Ask, until: Option<Instant>, why: &Self::Why, now: Instant) {
        (**self).awaited(ask, until, why, now);
    }

    fn step_ends(&mut self, queue: Option<&dyn Fn() -> Waker>, woken: &mut Vec<Waker>) {
        (**self).step_ends(queue, woken);
    }
}

impl<G: Rests> Rests for Box<G> {
    type Rest = G::Rest;

    fn rest(&self, now: Instant) -> Option<Self::Rest> {
        (**self).rest(now)
    }

    fn resume(&mut self, rest: Self::Rest) {
        (**self).resume(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scripted;

    #[test]
    fn a_box_changes_nothing() {
        let now = Instant::now();
        let mut boxed = Box::new(Scripted::new(Decision::Refuse(1)));
        assert_eq!(Gate::check(&mut boxed, &(), now), Decision::Refuse(1));
        let slip = Gate::admit(&mut boxed, &(), now);
        Gate::end(&mut boxed, slip, End::Abandoned, now);
        assert_eq!((boxed.admitted, &boxed.ends[..]), (1, &[End::Abandoned][..]));
    }
}
