//! The state, to be watched.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::{CircuitState, Transition};

/// An observer that shows the state of a circuit to those who [watch](Self::watch) it.
///
/// A [`CircuitBreakerLayer`](crate::CircuitBreakerLayer) has one already, see
/// [`CircuitHandle::watch`](crate::CircuitHandle::watch). It is of use where a [`Circuit`](crate::Circuit) is one of several gates
/// behind a queue. Clones show the same state. One is made for one circuit: closed at first.
#[derive(Clone, Debug)]
pub struct StateWatch(Arc<Shown>);

#[derive(Debug)]
struct Shown {
    state: watch::Sender<CircuitState>,
    epoch: AtomicU64,
}

impl StateWatch {
    /// Shows the state of a circuit that has not changed yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Shown {
            state: watch::Sender::new(CircuitState::Closed),
            epoch: AtomicU64::new(0),
        }))
    }

    /// The state, to be watched. What is seen is the latest state, not each on the way.
    pub fn watch(&self) -> watch::Receiver<CircuitState> {
        self.0.state.subscribe()
    }
}

impl Default for StateWatch {
    fn default() -> Self {
        Self::new()
    }
}

impl StateWatch {
    /// Shows the state after a transition.
    pub fn show(&self, event: &Transition) {
        let Shown { state, epoch } = &*self.0;
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CircuitCause;
    use tokio::time::Instant;

    #[test]
    fn of_two_changes_told_in_the_wrong_order_the_later_one_stays() {
        let shown = StateWatch::new();
        let watch = shown.watch();
        let change = |epoch, from, to| Transition {
            from,
            to,
            epoch,
            cause: CircuitCause::Forced,
            at: Instant::now(),
            cooldown: None,
            last: None,
        };
        shown.show(&change(2, CircuitState::Open, CircuitState::HalfOpen));
        shown.show(&change(1, CircuitState::Closed, CircuitState::Open));
        assert_eq!(*watch.borrow(), CircuitState::HalfOpen);
    }
}
