//! The call that is being polled on this thread.

use std::cell::Cell;

use crate::CallOptions;

thread_local! {
    static CURRENT: Current = const {
        Current {
            options: Cell::new(None),
            has_options: Cell::new(false),
            step: Cell::new(Step { in_attempt: false, was_queued: false }),
        }
    };
}

struct Current {
    /// Of a call whose request cannot carry them.
    options: Cell<Option<CallOptions>>,
    /// Whether there are any: they are large, and a read of the cell copies them.
    has_options: Cell<bool>,
    step: Cell<Step>,
}

impl Current {
    fn replace_options(&self, options: Option<CallOptions>) -> Option<CallOptions> {
        self.has_options.set(options.is_some());
        self.options.replace(options)
    }
}

/// A step of an attempt: one poll of it.
#[derive(Clone, Copy, Debug)]
struct Step {
    in_attempt: bool,
    was_queued: bool,
}

/// State of the call that is being polled on this thread, beyond what its request carries.
///
/// A retry says that its attempt is being polled. A retry layer inside then stands down, so that retries do not
/// multiply. In the other direction, a gate notes that it makes the attempt wait in its queue; such a retry puts no
/// load on the server, and costs no budget.
///
/// It lasts for one step at a time, and costs a few instructions; in the request's extensions it would cost three
/// allocations for each call. A spawned task does not see it.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct CurrentCall;

impl CurrentCall {
    /// Returns whether this thread is polling an attempt that will be retried from outside.
    #[inline]
    pub fn is_attempt() -> bool {
        CURRENT.with(|current| current.step.get().in_attempt)
    }

    /// Begins a step of an attempt. It ends when the result is dropped.
    #[inline]
    pub fn attempt() -> AttemptStep {
        AttemptStep::begin(true)
    }

    /// Begins a step that is not part of the current call: for calls that a hook makes. It ends when the result is
    /// dropped.
    #[inline]
    pub fn none() -> AttemptStep {
        AttemptStep::begin(false)
    }

    /// Notes that the attempt waits in a queue.
    #[inline]
    pub fn note_queued() {
        CURRENT.with(|current| current.step.set(Step { was_queued: true, ..current.step.get() }));
    }

    /// The options that are in scope.
    #[inline]
    pub(crate) fn options() -> Option<CallOptions> {
        CURRENT.with(|current| {
            if current.has_options.get() {
                current.options.get()
            } else {
                None
            }
        })
    }

    /// Runs `step` with these options in scope.
    pub(crate) fn with_options<T>(options: CallOptions, step: impl FnOnce() -> T) -> T {
        let before = CURRENT.with(|current| current.replace_options(Some(options)));
        let _scope = OptionsScope(before);
        step()
    }
}

/// Restores the options that were in scope before, also after a panic.
struct OptionsScope(Option<CallOptions>);

impl Drop for OptionsScope {
    fn drop(&mut self) {
        CURRENT.with(|current| current.replace_options(self.0));
    }
}

/// A step of an attempt. Dropping it restores what was there before, also after a panic.
#[doc(hidden)]
#[derive(Debug)]
#[must_use]
pub struct AttemptStep {
    before: Step,
}

impl AttemptStep {
    #[inline]
    fn begin(in_attempt: bool) -> Self {
        let step = Step { in_attempt, was_queued: false };
        Self { before: CURRENT.with(|current| current.step.replace(step)) }
    }

    /// Returns whether a gate has noted, since the step began, that the attempt waits in its queue.
    #[inline]
    pub fn was_queued(&self) -> bool {
        CURRENT.with(|current| current.step.get().was_queued)
    }
}

impl Drop for AttemptStep {
    #[inline]
    fn drop(&mut self) {
        CURRENT.with(|current| current.step.set(self.before));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn each_step_restores_the_one_before() {
        assert!(!CurrentCall::is_attempt());
        let outer = CurrentCall::attempt();
        let inner = CurrentCall::attempt();
        CurrentCall::note_queued();
        assert!(inner.was_queued());
        drop(inner);
        let none = CurrentCall::none();
        assert!(!CurrentCall::is_attempt());
        drop(none);
        assert!(CurrentCall::is_attempt() && !outer.was_queued(), "each has its own note");
        drop(outer);
        assert!(!CurrentCall::is_attempt());
        let panicked = catch_unwind(|| {
            let _step = CurrentCall::attempt();
            CurrentCall::with_options(CallOptions::new(), || panic!("in a step"))
        });
        assert!(panicked.is_err() && !CurrentCall::is_attempt() && CurrentCall::options().is_none());
    }
}
