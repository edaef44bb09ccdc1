//! The state, as seen by those who watch it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aplomb_core::CircuitState;
use tokio::sync::watch;

/// Shows the state of a circuit to those who watch it. Clones show the same.
#[derive(Clone, Debug)]
pub(crate) struct StateWatch(Arc<Shown>);

#[derive(Debug)]
struct Shown {
    state: watch::Sender<CircuitState>,
    epoch: AtomicU64,
}

impl StateWatch {
    pub(super) fn new(state: CircuitState, epoch: u64) -> Self {
        Self(Arc::new(Shown { state: watch::Sender::new(state), epoch: AtomicU64::new(epoch) }))
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<CircuitState> {
        self.0.state.subscribe()
    }

    pub(super) fn is_watched(&self) -> bool {
        self.0.state.receiver_count() > 0
    }

    /// Shows the state that began with an epoch.
    pub(crate) fn show(&self, new: CircuitState, new_epoch: u64) {
        let Shown { state, epoch } = &*self.0;
        // Two threads may report their transitions in the wrong order: the later one stays. The channel's own lock makes
        // comparing and setting one step.
        state.send_if_modified(|state| {
            let is_later = new_epoch > epoch.load(Ordering::Relaxed);
            if is_later {
                epoch.store(new_epoch, Ordering::Relaxed);
                *state = new;
            }
            is_later
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_transitions_reported_in_the_wrong_order_the_later_one_stays() {
        let shown = StateWatch::new(CircuitState::Closed, 0);
        let watch = shown.subscribe();
        shown.show(CircuitState::HalfOpen, 2);
        shown.show(CircuitState::Open, 1);
        assert_eq!(*watch.borrow(), CircuitState::HalfOpen);
    }
}
