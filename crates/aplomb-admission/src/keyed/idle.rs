//! What may be forgotten.

use tokio::time::Instant;

use crate::Gate;

/// State of a key that may be forgotten while it says nothing.
///
/// A budget that is full, a quota that nothing has been drawn from, a circuit that is closed and
/// healthy: made anew, they would be the same.
pub trait Idle {
    /// Whether nobody would notice at `now` if this were forgotten, and made anew when it is next
    /// used.
    ///
    /// It is asked under a lock: it must be quick, and must not use the map it lies in.
    fn is_idle(&self, now: Instant) -> bool;

    /// Whether this may be forgotten at `now` to make room for another key, though somebody would notice:
    /// because it was learned, and will be learned again.
    ///
    /// Unless written, only what is idle. A debt, a pause or an open circuit must stay: who could have it
    /// forgotten by bringing enough other keys would do so. Asked only of what is at rest in
    /// [`Queues`](crate::Queues), under a lock.
    fn is_spare(&self, now: Instant) -> bool {
        self.is_idle(now)
    }
}

impl Idle for () {
    fn is_idle(&self, _: Instant) -> bool {
        true
    }
}

/// Nothing is idle.
impl<T: Idle> Idle for Option<T> {
    fn is_idle(&self, now: Instant) -> bool {
        self.as_ref().is_none_or(|some| some.is_idle(now))
    }

    fn is_spare(&self, now: Instant) -> bool {
        self.as_ref().is_none_or(|some| some.is_spare(now))
    }
}

impl<T: Idle + ?Sized> Idle for Box<T> {
    fn is_idle(&self, now: Instant) -> bool {
        (**self).is_idle(now)
    }

    fn is_spare(&self, now: Instant) -> bool {
        (**self).is_spare(now)
    }
}

impl<A: Idle, B: Idle> Idle for (A, B) {
    fn is_idle(&self, now: Instant) -> bool {
        self.0.is_idle(now) && self.1.is_idle(now)
    }

    fn is_spare(&self, now: Instant) -> bool {
        self.0.is_spare(now) && self.1.is_spare(now)
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
