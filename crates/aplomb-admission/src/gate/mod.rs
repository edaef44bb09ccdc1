//! A gate decides and never waits.

mod both;
mod boxed;
mod optional;

use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

pub use self::both::{Both, Either};
use crate::Idle;
use aplomb_core::{Outcome, Reading, Usage};

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
