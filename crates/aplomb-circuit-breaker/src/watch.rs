//! Who is told of each change of state.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aplomb_core::Observe;
use tokio::sync::watch;

use crate::{State, Transition};

/// Those who watch the state, and the observer. Clones tell the same.
#[derive(Clone)]
pub(crate) struct Audience(Arc<Inner>);

struct Inner {
    state: watch::Sender<State>,
    epoch: AtomicU64,
    observer: Arc<dyn Observe<Transition> + Send + Sync>,
}

impl Audience {
    pub(crate) fn new(observer: Arc<dyn Observe<Transition> + Send + Sync>) -> Self {
        Self(Arc::new(Inner {
            state: watch::Sender::new(State::Closed),
            epoch: AtomicU64::new(0),
            observer,
        }))
    }

    pub(crate) fn observer(&self) -> Arc<dyn Observe<Transition> + Send + Sync> {
        Arc::clone(&self.0.observer)
    }

    pub(crate) fn watch(&self) -> watch::Receiver<State> {
        self.0.state.subscribe()
    }
}

impl Observe<Transition> for Audience {
    fn observe(&self, event: &Transition) {
        let Inner { state, epoch, observer } = &*self.0;
        // Two threads may tell of their changes in the other order; the later change is to stay. The
        // channel's own lock makes comparing and setting one step.
        state.send_if_modified(|state| {
            let is_news = event.epoch() > epoch.load(Ordering::Relaxed);
            if is_news {
                epoch.store(event.epoch(), Ordering::Relaxed);
                *state = event.to();
            }
            is_news
        });
        observer.observe(event);
    }
}

impl fmt::Debug for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audience").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cause;
    use tokio::time::Instant;

    #[test]
    fn of_two_changes_told_in_the_wrong_order_the_later_one_stays() {
        let audience = Audience::new(Arc::new(()));
        let watch = audience.watch();
        let change = |epoch, from, to| Transition {
            from,
            to,
            epoch,
            cause: Cause::Forced,
            at: Instant::now(),
            cooldown: None,
            last: None,
        };
        audience.observe(&change(2, State::Open, State::HalfOpen));
        audience.observe(&change(1, State::Closed, State::Open));
        assert_eq!(*watch.borrow(), State::HalfOpen);
    }
}
