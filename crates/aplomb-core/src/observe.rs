//! Observers: they receive the events of the layers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::Event;

/// Receives events: for logs, metrics and tests.
///
/// A closure `Fn(&Event)` is an observer. `()` ignores all events; a tuple passes them to both of its
/// members; an `Arc` shares one observer. The default of every layer is [`LogEvents`](crate::LogEvents).
///
/// Observers are called outside of any lock, by whatever caused the event: the task of a call, a handle,
/// the timer of a queue. They should be quick and should not block. A panic is caught and logged: the call
/// goes on.
///
/// # Examples
///
/// ```
/// use aplomb_core::{Event, LogEvents, Observe};
///
/// fn observe(_: impl Observe) {}
///
/// observe(|event: &Event| println!("{event}"));
/// observe((LogEvents, |event: &Event| eprintln!("{:?}", event.kind())));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an observer",
    label = "expected a closure `|event: &Event| ..` or a type that implements `Observe`",
    note = "observers are called from any thread: they must be `Send + Sync`"
)]
pub trait Observe: Send + Sync {
    /// Called once for each event.
    fn on_event(&self, event: &Event);

    /// Returns whether rejected calls are of interest now. If not, their events may be left out: a layer may reject
    /// thousands of calls a second. Default: true.
    fn observes_rejections(&self) -> bool {
        true
    }
}

impl Observe for () {
    #[inline]
    fn on_event(&self, _: &Event) {}

    #[inline]
    fn observes_rejections(&self) -> bool {
        false
    }
}

impl<F: Fn(&Event) + Send + Sync> Observe for F {
    fn on_event(&self, event: &Event) {
        self(event);
    }
}

impl<O: Observe + ?Sized> Observe for Arc<O> {
    fn on_event(&self, event: &Event) {
        (**self).on_event(event);
    }

    fn observes_rejections(&self) -> bool {
        (**self).observes_rejections()
    }
}

impl<A: Observe, B: Observe> Observe for (A, B) {
    fn on_event(&self, event: &Event) {
        self.0.on_event(event);
        self.1.on_event(event);
    }

    fn observes_rejections(&self) -> bool {
        self.0.observes_rejections() || self.1.observes_rejections()
    }
}

/// Passes `event` to `observer`, and outlives a panic of it: for layers.
#[doc(hidden)]
#[inline]
pub fn notify<O: Observe + ?Sized>(observer: &O, event: &Event) {
    if catch_unwind(AssertUnwindSafe(|| observer.on_event(event))).is_err() {
        tracing::error!(layer = %event.layer(), "observer panicked");
    }
}

/// Passes the event of a rejected call to `observer`, if it observes rejections: for layers.
#[doc(hidden)]
#[inline]
pub fn notify_rejected<O: Observe + ?Sized>(observer: &O, event: impl FnOnce() -> Event) {
    if catch_unwind(AssertUnwindSafe(|| observer.observes_rejections())).unwrap_or(true) {
        notify(observer, &event());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventKind, LayerName};
    use std::sync::Mutex;

    #[test]
    fn closures_tuples_and_arcs_observe() {
        let seen = Arc::new(Mutex::new(0));
        let count = {
            let seen = Arc::clone(&seen);
            Arc::new(move |_: &Event| *seen.lock().unwrap() += 1)
        };
        let shared: Arc<dyn Observe + Send + Sync> = Arc::new(((), (Arc::clone(&count), count)));
        notify(&shared, &Event::resumed(LayerName::RateLimit));
        assert_eq!(*seen.lock().unwrap(), 2);
    }

    #[test]
    fn rejections_are_left_out_only_if_nobody_observes_them() {
        let seen = Mutex::new(0);
        let count = |_: &Event| *seen.lock().unwrap() += 1;
        let rejected = || Event::rejected(LayerName::RateLimit, "queue full", None);
        notify_rejected(&(), || unreachable!("nobody looks at it"));
        notify_rejected(&((), count), rejected);
        assert_eq!(*seen.lock().unwrap(), 1);
    }

    #[test]
    fn a_panic_of_an_observer_is_caught() {
        let event = Event::resumed(LayerName::RateLimit);
        notify(&|event: &Event| assert!(!matches!(event.kind(), EventKind::Resumed)), &event);
    }
}
