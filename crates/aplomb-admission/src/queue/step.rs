//! A step under the queue's lock, and what follows from it: also where it unwinds.

use std::sync::Arc;
#[cfg(not(aplomb_loom))]
use std::sync::MutexGuard;
use std::task::Waker;

#[cfg(aplomb_loom)]
use loom::sync::MutexGuard;
use tokio::time::Instant;

use super::line::Line;
use super::{Again, Shared, Waiting};
use crate::Gate;

/// A step, which has to be concluded.
///
/// One that is not, since a gate has panicked, ends all the same: who was settled in it is woken, and a gate
/// that is shared keeps no place for who is gone.
pub(super) struct Step<'a, G: Gate> {
    shared: &'a Arc<Shared<G>>,
    /// Nothing once it has ended.
    state: Option<MutexGuard<'a, Waiting<G>>>,
    pub(super) now: Instant,
}

/// Callers to be woken, at the latest when this is dropped.
#[derive(Default)]
pub(super) struct Woken(pub(super) Vec<Waker>);

impl<'a, G: Gate> Step<'a, G> {
    #[inline]
    pub(super) fn begin(shared: &'a Arc<Shared<G>>) -> Self {
        let mut state = shared.lock();
        let now = state.line.tick(Instant::now());
        Self { shared, state: Some(state), now }
    }

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "nothing, where it is known not to have ended"
    )]
    fn state(&mut self) -> &mut Waiting<G> {
        self.state.as_mut().expect("a step ends only when it is let go")
    }

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "nothing, where it is known not to have ended"
    )]
    pub(super) fn line(&mut self) -> &mut Line<G> {
        &mut self.state().line
    }

    /// Ends it, and does what follows from it.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a few instructions, unless there is something to do"
    )]
    pub(super) fn conclude(self) {
        if let Some(news) = self.end_if_quiet() {
            news.follow_up();
        }
    }

    /// Ends it where nothing follows from it.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "nearly all steps end here")]
    pub(super) fn end_if_quiet(mut self) -> Option<News<'a, G>> {
        let state = self.state();
        let notice = state.line.gate().next_event();
        // Nearly always nobody waits, and there is nothing to tell.
        if notice.is_some() || !state.is_quiet() || state.line.gate().pooled().is_some() {
            return Some(News { step: self, notice });
        }
        self.state = None;
        None
    }
}

/// A step from which something follows.
pub(super) struct News<'a, G: Gate> {
    step: Step<'a, G>,
    notice: Option<G::Event>,
}

impl<G: Gate> News<'_, G> {
    #[cold]
    pub(super) fn follow_up(self) {
        // Dropped after the lock, which is the step's.
        let mut woken = Woken::default();
        let Self { mut step, notice } = self;
        let (shared, now) = (step.shared, step.now);
        let mut notices = Vec::from_iter(notice);
        if !step.state().is_quiet() {
            shared.look(step.state(), now, &mut woken.0);
        }
        // What panics from here on is not asked to end once more.
        let Some(mut state) = step.state.take() else {
            return;
        };
        end(shared, &mut state, &mut woken.0);
        notices.extend(std::iter::from_fn(|| state.line.gate().next_event()));
        drop(state);
        drop(woken);
        for notice in &notices {
            shared.observer.on_event(notice);
        }
    }
}

/// Tells a gate that is shared that a step ends.
fn end<G: Gate>(shared: &Arc<Shared<G>>, state: &mut Waiting<G>, woken: &mut Vec<Waker>) {
    let line = &mut state.line;
    let waits = !line.is_empty();
    if let Some(pooled) = line.gate().pooled() {
        let ask_again = || Waker::from(Arc::new(Again(Arc::downgrade(shared))));
        let ask_again: &dyn Fn() -> Waker = &ask_again;
        pooled.end_section(waits.then_some(ask_again), woken);
    }
}

/// Ends a step without a look at the line, which may panic as well: the caller at the head has one when it is
/// polled.
#[cold]
fn leave_to_others<G: Gate>(shared: &Arc<Shared<G>>, state: MutexGuard<'_, Waiting<G>>) {
    let mut woken = Woken::default();
    // Dropped before them.
    let mut state = state;
    end(shared, &mut state, &mut woken.0);
    woken.0.extend(state.line.head().cloned());
}

impl<G: Gate> Drop for Step<'_, G> {
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "nothing, where it is known to have ended")]
    fn drop(&mut self) {
        if let Some(state) = self.state.take() {
            leave_to_others(self.shared, state);
        }
    }
}

impl Drop for Woken {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Waker::wake);
    }
}
