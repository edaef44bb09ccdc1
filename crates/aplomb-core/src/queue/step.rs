//! A step under the queue's lock, and what follows from it: also where it unwinds.

use std::sync::Arc;
#[cfg(not(aplomb_loom))]
use std::sync::MutexGuard;
use std::task::Waker;

#[cfg(aplomb_loom)]
use loom::sync::MutexGuard;
use tokio::time::Instant;

use super::{Again, Shared, Waiting};
use crate::Gate;

/// A step, which has to be concluded.
///
/// One that is not, since a gate has panicked, ends all the same: who was settled in it
/// is woken, and a gate that is shared keeps no place for who is gone.
pub(super) struct Step<'a, G: Gate> {
    shared: &'a Arc<Shared<G>>,
    // Fields are dropped in their order: callers are woken outside of the lock.
    pub(super) state: MutexGuard<'a, Waiting<G>>,
    woken: Woken,
    pub(super) now: Instant,
    ended: bool,
}

/// Callers to be woken, at the latest when this is dropped.
#[derive(Default)]
pub(super) struct Woken(pub(super) Vec<Waker>);

impl<'a, G: Gate> Step<'a, G> {
    #[inline]
    pub(super) fn begin(shared: &'a Arc<Shared<G>>) -> Self {
        let mut state = shared.lock();
        let now = state.line.tick(Instant::now());
        Self { shared, state, woken: Woken::default(), now, ended: false }
    }

    /// Ends it, and does what follows from it.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a few instructions, unless there is something to do"
    )]
    pub(super) fn conclude(mut self) {
        let notice = self.state.line.gate().notice();
        // Nearly always nobody waits, and there is nothing to tell.
        if notice.is_some() || !self.state.is_quiet() || self.state.line.gate().is_shared() {
            self.follow_up(notice);
        } else {
            self.ended = true;
        }
    }

    /// What follows from a step.
    #[cold]
    fn follow_up(mut self, notice: Option<G::Notice>) {
        let mut notices = Vec::from_iter(notice);
        if !self.state.is_quiet() {
            self.shared.look(&mut self.state, self.now, &mut self.woken.0);
        }
        self.end();
        notices.extend(std::iter::from_fn(|| self.state.line.gate().notice()));
        let shared = self.shared;
        drop(self);
        for notice in &notices {
            shared.observer.observe(notice);
        }
    }

    /// Tells a gate that is shared that the step ends.
    fn end(&mut self) {
        // First: where this panics it is not repeated.
        self.ended = true;
        let line = &mut self.state.line;
        if line.gate().is_shared() {
            let queue = || Waker::from(Arc::new(Again(Arc::downgrade(self.shared))));
            let queue: &dyn Fn() -> Waker = &queue;
            let waits = !line.is_empty();
            line.gate().step_ends(waits.then_some(queue), &mut self.woken.0);
        }
    }

    /// Ends it without a look at the line, which may panic as well: the caller at the head has one when it
    /// is polled.
    #[cold]
    fn leave_to_others(&mut self) {
        self.end();
        self.woken.0.extend(self.state.line.head().cloned());
    }
}

impl<G: Gate> Drop for Step<'_, G> {
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "nothing, where it is known to have ended")]
    fn drop(&mut self) {
        if !self.ended {
            self.leave_to_others();
        }
    }
}

impl Drop for Woken {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Waker::wake);
    }
}
