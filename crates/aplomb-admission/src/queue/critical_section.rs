//! A critical section of the queue, and what follows from it: also if it unwinds.

use std::sync::Arc;
#[cfg(not(aplomb_loom))]
use std::sync::MutexGuard;
use std::task::Waker;

#[cfg(aplomb_loom)]
use loom::sync::MutexGuard;
use tokio::time::Instant;

use super::wait_queue::{Place, Settled, WaitQueue};
use super::{AskAgain, Shared, State};
use crate::Gate;

/// A critical section, which has to be left.
///
/// If it is not, because a gate has panicked, it ends all the same: callers that it settled are woken, and a pooled gate
/// keeps no place for a caller that is gone.
pub(super) struct CriticalSection<'a, G: Gate> {
    shared: &'a Arc<Shared<G>>,
    /// `None` once it has ended.
    state: Option<MutexGuard<'a, State<G>>>,
    pub(super) now: Instant,
}

/// The wakers of callers, woken at the latest when the list is dropped.
#[derive(Default)]
pub(super) struct WakeList(pub(super) Vec<Waker>);

impl<'a, G: Gate> CriticalSection<'a, G> {
    #[inline]
    pub(super) fn enter(shared: &'a Arc<Shared<G>>) -> Self {
        let mut state = shared.lock();
        let now = state.tick(Instant::now());
        Self { shared, state: Some(state), now }
    }

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "nothing, where it is known not to have ended"
    )]
    pub(super) fn state(&mut self) -> &mut State<G> {
        self.state.as_mut().expect("a critical section ends only when it is left")
    }

    /// A caller is polled: it is admitted if it may go now. Returns what became of it, if that is settled.
    ///
    /// Also returns a waker that is no longer needed, to be dropped outside of the lock as the wakers added to `woken` are.
    pub(super) fn poll(
        &mut self,
        place: Place,
        waker: &Waker,
        woken: &mut WakeList,
    ) -> (Option<Settled<G>>, Option<Waker>) {
        let (shared, now) = (self.shared, self.now);
        let (settled, unneeded) = self.waiting().collect(place, waker);
        if settled.is_some() {
            return (settled, unneeded);
        }
        // It is not woken by what is done here.
        self.waiting().set_polled(Some(place));
        let state = self.state.as_mut().expect("it has not ended");
        shared.look(state, Some(place), now, &mut woken.0);
        self.waiting().set_polled(None);
        (self.waiting().take_settled(place), unneeded)
    }

    fn waiting(&mut self) -> &mut WaitQueue<G> {
        let waiters = self.state().waiters.as_mut();
        &mut waiters.expect("the waiters are kept for as long as there are any").queue
    }

    /// Ends it, and does what follows from it.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a few instructions, unless there is something to do"
    )]
    pub(super) fn leave(self) {
        if let Some(effects) = self.leave_if_quiet() {
            effects.run();
        }
    }

    /// Ends it if nothing follows from it.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "nearly all critical sections end here")]
    pub(super) fn leave_if_quiet(mut self) -> Option<DeferredEffects<'a, G>> {
        let state = self.state();
        // Nearly always nobody waits, and there is no event.
        if let Some(event) = state.gate.next_event() {
            return Some(DeferredEffects { section: self, event: Some(event), own: None });
        }
        if state.waiters.is_some() || state.gate.pooled().is_some() {
            return Some(DeferredEffects { section: self, event: None, own: None });
        }
        self.state = None;
        None
    }

    /// Ends it in the task of a caller that waits in this place, and does what follows from it.
    pub(super) fn leave_waiting(self, own: Place) {
        DeferredEffects { section: self, event: None, own: Some(own) }.run();
    }

    /// Ends it, and leaves the events to the next one: it is the runtime's timer that runs it, and no place for the code
    /// of observers.
    pub(super) fn leave_without_events(self) {
        drop(DeferredEffects { section: self, event: None, own: None }.admit());
    }
}

/// The effects of a critical section, outside of its lock.
pub(super) struct DeferredEffects<'a, G: Gate> {
    section: CriticalSection<'a, G>,
    event: Option<G::Event>,
    /// The place of the caller whose task this is, if it has one.
    own: Option<Place>,
}

impl<'a, G: Gate> DeferredEffects<'a, G> {
    #[cold]
    pub(super) fn run(mut self) {
        let mut events = Vec::from_iter(self.event.take());
        let shared = self.section.shared;
        let Some(mut state) = self.admit() else {
            return;
        };
        events.extend(std::iter::from_fn(|| state.0.gate.next_event()));
        drop(state);
        if !events.is_empty() {
            let label = shared.key.as_deref().map(shared.settings.label);
            for event in &events {
                (shared.settings.observer)(event, label.as_ref());
            }
        }
    }

    /// Admits those who may go. When what is returned is dropped, the lock is released and they are woken.
    fn admit(self) -> Option<Admitting<'a, G>> {
        // Dropped after the lock.
        let mut woken = WakeList::default();
        let Self { mut section, own, .. } = self;
        let (shared, now) = (section.shared, section.now);
        shared.look(section.state(), own, now, &mut woken.0);
        // A panic from here on does not end the section a second time.
        let mut state = section.state.take()?;
        end(shared, &mut state, &mut woken.0);
        state.tidy();
        Some(Admitting(state, woken))
    }
}

/// The state under its lock, and the callers to wake when it has been released.
struct Admitting<'a, G: Gate>(
    MutexGuard<'a, State<G>>,
    #[expect(dead_code, reason = "woken when dropped")] WakeList,
);

/// Ends the section for a pooled gate.
fn end<G: Gate>(shared: &Arc<Shared<G>>, state: &mut State<G>, woken: &mut Vec<Waker>) {
    let waits = state.waiting() > 0;
    if let Some(pooled) = state.gate.pooled() {
        let ask_again = || Waker::from(Arc::new(AskAgain(Arc::downgrade(shared))));
        let ask_again: &dyn Fn() -> Waker = &ask_again;
        pooled.end_section(waits.then_some(ask_again), woken);
    }
}

/// Ends a section that unwinds without a look at the queue, which may panic as well: the caller at the head takes one when
/// it is polled.
#[cold]
fn leave_to_others<G: Gate>(shared: &Arc<Shared<G>>, state: MutexGuard<'_, State<G>>) {
    let mut woken = WakeList::default();
    // Dropped before them.
    let mut state = state;
    end(shared, &mut state, &mut woken.0);
    woken.0.extend(state.head().cloned());
}

impl<G: Gate> Drop for CriticalSection<'_, G> {
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "nothing, where it is known to have ended")]
    fn drop(&mut self) {
        if let Some(state) = self.state.take() {
            leave_to_others(self.shared, state);
        }
    }
}

impl WakeList {
    #[cold]
    fn wake(&mut self) {
        self.0.drain(..).for_each(Waker::wake);
    }
}

impl Drop for WakeList {
    #[inline]
    fn drop(&mut self) {
        // Nearly always nobody waits.
        if !self.0.is_empty() {
            self.wake();
        }
    }
}
