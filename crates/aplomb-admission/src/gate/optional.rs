//! A gate that may be left out.

use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use crate::{Decision, End, Gate, Rests};
use aplomb_core::{Reading, Usage};

/// A gate that may be left out: where there is none, everybody passes.
impl<G: Gate> Gate for Option<G> {
    type Ask = G::Ask;
    type Slip = Option<G::Slip>;
    type Why = G::Why;
    type Notice = G::Notice;

    fn check(&mut self, ask: &Self::Ask, now: Instant) -> Decision<Self::Why> {
        self.as_mut().map_or(Decision::Admit, |gate| gate.check(ask, now))
    }

    fn admit(&mut self, ask: &Self::Ask, now: Instant) -> Self::Slip {
        self.as_mut().map(|gate| gate.admit(ask, now))
    }

    fn content(&mut self, slip: &mut Self::Slip, now: Instant) {
        if let (Some(gate), Some(slip)) = (self, slip) {
            gate.content(slip, now);
        }
    }

    fn sent(&mut self, slip: &mut Self::Slip, now: Instant) {
        if let (Some(gate), Some(slip)) = (self, slip) {
            gate.sent(slip, now);
        }
    }

    fn heard(&mut self, slip: &mut Self::Slip, readings: &[Reading], now: Instant) {
        if let (Some(gate), Some(slip)) = (self, slip) {
            gate.heard(slip, readings, now);
        }
    }

    fn used(&mut self, slip: &mut Self::Slip, usage: Usage, now: Instant) {
        if let (Some(gate), Some(slip)) = (self, slip) {
            gate.used(slip, usage, now);
        }
    }

    fn end(&mut self, slip: Self::Slip, end: End, now: Instant) {
        if let (Some(gate), Some(slip)) = (self, slip) {
            gate.end(slip, end, now);
        }
    }

    fn forecast(&mut self, asks: &mut dyn Iterator<Item = &Self::Ask>, now: Instant) -> Option<Instant> {
        self.as_mut()?.forecast(asks, now)
    }

    fn lapses(&self) -> Option<Instant> {
        self.as_ref()?.lapses()
    }

    fn answers_in(&self) -> Duration {
        self.as_ref().map_or(Duration::ZERO, Gate::answers_in)
    }

    fn longest_wait(&self) -> Option<Duration> {
        self.as_ref()?.longest_wait()
    }

    fn notice(&mut self) -> Option<Self::Notice> {
        self.as_mut()?.notice()
    }

    #[inline]
    fn is_shared(&self) -> bool {
        self.as_ref().is_some_and(Gate::is_shared)
    }

    fn confirm(&mut self, ask: &Self::Ask, now: Instant) -> Decision<Self::Why> {
        self.as_mut().map_or(Decision::Admit, |gate| gate.confirm(ask, now))
    }

    fn awaited(&mut self, ask: &Self::Ask, until: Option<Instant>, why: &Self::Why, now: Instant) {
        if let Some(gate) = self {
            gate.awaited(ask, until, why, now);
        }
    }

    fn step_ends(&mut self, queue: Option<&dyn Fn() -> Waker>, woken: &mut Vec<Waker>) {
        if let Some(gate) = self {
            gate.step_ends(queue, woken);
        }
    }
}

/// Where there is no gate, there is nothing to be kept.
impl<G: Rests> Rests for Option<G> {
    type Rest = Option<G::Rest>;

    fn rest(&self, now: Instant) -> Option<Self::Rest> {
        self.as_ref().map_or(Some(None), |gate| gate.rest(now).map(Some))
    }

    fn resume(&mut self, rest: Self::Rest) {
        if let (Some(gate), Some(rest)) = (self, rest) {
            gate.resume(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scripted;

    #[test]
    fn a_gate_that_is_left_out_admits_everybody() {
        let now = Instant::now();
        let mut none: Option<Scripted> = None;
        assert_eq!(none.check(&(), now), Decision::Admit);
        let slip = none.admit(&(), now);
        none.end(slip, End::Unsent, now);
        let mut some = Some(Scripted::new(Decision::Refuse(1)));
        assert_eq!(some.check(&(), now), Decision::Refuse(1));
        let slip = some.admit(&(), now);
        some.end(slip, End::Unsent, now);
        let gate = some.unwrap();
        assert_eq!((gate.admitted, gate.ends), (1, vec![End::Unsent]));
    }
}
