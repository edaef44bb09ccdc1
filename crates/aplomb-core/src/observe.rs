//! Who is told what happens.

use std::sync::Arc;

/// Is told what happens in a layer: for logs, metrics, tests.
///
/// The unused observer is `()`, and costs nothing; a closure `Fn(&Event)` is one as well; a tuple
/// tells both of its members. Observers are called outside of any lock, from whatever made the event
/// happen: a call's task, a handle, the runtime's timer. They should be quick, and must not panic.
pub trait Observe<Event: ?Sized> {
    /// Is told of one event.
    fn observe(&self, event: &Event);
}

impl<Event: ?Sized> Observe<Event> for () {
    #[inline]
    fn observe(&self, _: &Event) {}
}

impl<Event: ?Sized, F: Fn(&Event)> Observe<Event> for F {
    fn observe(&self, event: &Event) {
        self(event);
    }
}

impl<Event: ?Sized, O: Observe<Event> + ?Sized> Observe<Event> for Arc<O> {
    fn observe(&self, event: &Event) {
        (**self).observe(event);
    }
}

impl<Event: ?Sized, A: Observe<Event>, B: Observe<Event>> Observe<Event> for (A, B) {
    fn observe(&self, event: &Event) {
        self.0.observe(event);
        self.1.observe(event);
    }
}
