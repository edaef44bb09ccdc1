//! A gate decides and never waits.

use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use crate::{Idle, Outcome, Reading, Usage};

/// A state machine that says whether a call may go now.
///
/// Quotas, circuits and concurrency limits are gates. A gate does no waiting, takes no lock and reads
/// no clock: it is asked under the lock of the [`Queue`](crate::Queue) before it, which hands it the
/// time and does all the waiting.
///
/// Asking ([`check`](Gate::check)) takes nothing; taking ([`admit`](Gate::admit)) follows only when
/// every gate that was asked said [`Decision::Admit`], in the same step. So several gates joined by
/// [`Both`](crate::Both) admit all or nothing, and nothing is held while something else is awaited.
pub trait Gate: Send + 'static {
    /// What a caller asks for: a cost, or nothing but to pass.
    type Ask: Send + 'static;

    /// What is remembered of an admitted call until it ends.
    type Slip: Send + 'static;

    /// Why a caller has to wait or is refused. Cheap to make: it is made for every caller that waits.
    type Why: Send + 'static;

    /// What there is to tell an observer once the lock is released; `Infallible` where there is nothing.
    type Notice: Send + 'static;

    /// Says whether `ask` may be admitted at `now`. Takes nothing, but may note that time has passed.
    fn check(&mut self, ask: &Self::Ask, now: Instant) -> Decision<Self::Why>;

    /// Takes what `ask` costs. Called right after `check` admitted it, with the same `now`.
    fn admit(&mut self, ask: &Self::Ask, now: Instant) -> Self::Slip;

    /// Is told that the call is sent, where that is later than its admission: until then something was done for
    /// it on this side, or its client was not ready. The peer's time begins now.
    fn sent(&mut self, slip: &mut Self::Slip, now: Instant) {
        let _ = (slip, now);
    }

    /// Is told that the first content of the answer has arrived, if that is seen before the end.
    fn content(&mut self, slip: &mut Self::Slip, now: Instant) {
        let _ = (slip, now);
    }

    /// Is told what the head of the answer says about the server's own limits, if it says anything.
    fn heard(&mut self, slip: &mut Self::Slip, readings: &[Reading], now: Instant) {
        let _ = (slip, readings, now);
    }

    /// Is told what an answer had consumed when its caller went away, just before the end.
    fn used(&mut self, slip: &mut Self::Slip, usage: Usage, now: Instant) {
        let _ = (slip, usage, now);
    }

    /// Is told how an admitted call ended. Called exactly once for every slip, whatever happens.
    fn end(&mut self, slip: Self::Slip, end: End, now: Instant);

    /// The earliest instant at which the last of `asks` could be admitted if they are admitted in
    /// this order, or `None` where that cannot be known.
    ///
    /// With it the queue refuses a call at once whose deadline would pass while it waits.
    fn forecast(&mut self, asks: &mut dyn Iterator<Item = &Self::Ask>, now: Instant) -> Option<Instant> {
        let _ = (asks, now);
        None
    }

    /// The next instant at which something that is in flight will be given up without having ended,
    /// as a lease that runs out: the queue asks again then, also for who waits for a release.
    fn lapses(&self) -> Option<Instant> {
        None
    }

    /// How long it probably takes until a call that goes now is answered; zero where nobody knows.
    ///
    /// Who has to wait gives up so long before its deadline. Let through any later it would only be
    /// dropped half-way; and where all wait for one call to succeed, as before a circuit that is half-open, a
    /// line of callers who are let through with their last breath would wait for ever.
    fn answers_in(&self) -> Duration {
        Duration::ZERO
    }

    /// The longest that anybody waits before this gate, whatever the bounds of the queue; `None` where
    /// those alone hold. Read when a caller comes to wait.
    ///
    /// Joined to another by [`Both`](crate::Both) a gate has no say in this: the wait may be the other's.
    fn longest_wait(&self) -> Option<Duration> {
        None
    }

    /// Takes the oldest notice that has not been told yet.
    fn notice(&mut self) -> Option<Self::Notice> {
        None
    }

    /// Whether other queues draw on what this gate gives, so that it may be gone between `check` and
    /// `admit`. Nothing below is ever asked of a gate that is not shared.
    #[inline]
    fn is_shared(&self) -> bool {
        false
    }

    /// Takes what `check` has just admitted, to be handed out by `admit`, which follows at once; or says
    /// what has become of it. Asked when every gate has admitted.
    fn confirm(&mut self, ask: &Self::Ask, now: Instant) -> Decision<Self::Why> {
        let _ = (ask, now);
        Decision::Admit
    }

    /// Is told that the caller who was asked for last waits for this gate and for no other: until this
    /// instant, or for a release. One that it is not told of waits for another gate, at least for now.
    fn awaited(&mut self, ask: &Self::Ask, until: Option<Instant>, why: &Self::Why, now: Instant) {
        let _ = (ask, until, why, now);
    }

    /// Is told that a step under the queue's lock ends, in which it may have been asked and told.
    ///
    /// While callers wait, `queue` makes a waker that has the queue ask again, to be woken outside of all
    /// locks. What is put into `woken` is woken as soon as the lock is released.
    fn step_ends(&mut self, queue: Option<&dyn Fn() -> Waker>, woken: &mut Vec<Waker>) {
        let _ = (queue, woken);
    }
}

/// A gate that can be put to rest while nobody uses it, and resumed later.
///
/// There may be a million keys with a gate each, of which a few are in use at any time. Of the others
/// only this much is kept: see [`Queues`](crate::Queues).
pub trait Rests: Gate {
    /// What is kept. Small; and idle where a gate made anew would be the same.
    type Rest: Idle + Clone + Send + 'static;

    /// What is to be kept, while no call is in flight. `None` where the gate has to stay as it is.
    fn rest(&self, now: Instant) -> Option<Self::Rest>;

    /// Goes on from what was kept of another gate of the same key. Called before anything else.
    fn resume(&mut self, rest: Self::Rest);
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

/// What a gate says to a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<W> {
    /// Go.
    Admit,
    /// Not before this instant, which is later than now. It may be moved by what happens until then.
    NotBefore(Instant, W),
    /// When a call that is in flight has ended.
    WhenReleased(W),
    /// Not at all.
    Refuse(W),
}

impl<W> Decision<W> {
    const fn is_admit(&self) -> bool {
        matches!(self, Self::Admit)
    }

    const fn is_when_released(&self) -> bool {
        matches!(self, Self::WhenReleased(_))
    }

    /// Changes the reason.
    pub fn map<V>(self, change: impl FnOnce(W) -> V) -> Decision<V> {
        match self {
            Self::Admit => Decision::Admit,
            Self::NotBefore(at, why) => Decision::NotBefore(at, change(why)),
            Self::WhenReleased(why) => Decision::WhenReleased(change(why)),
            Self::Refuse(why) => Decision::Refuse(change(why)),
        }
    }
}

/// How an admitted call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// It was never sent: the caller went away first, or a gate further in refused it.
    Unsent,
    /// It was sent, and nobody waited for its end.
    Abandoned,
    /// It was sent and judged.
    Judged {
        /// What it came to.
        outcome: Outcome,
        /// What it consumed, where that is known.
        usage: Option<Usage>,
    },
}

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
