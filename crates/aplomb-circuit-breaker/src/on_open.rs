//! What becomes of calls while a circuit is open.

use std::time::Duration;

/// What becomes of calls while a circuit is not letting them through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnOpen {
    /// They are refused at once. The default.
    #[default]
    FailFast,
    /// They wait for the circuit to close, first come first served: a batch survives an outage.
    ///
    /// A call is refused at once where the cooldown lasts longer than `max` or than the call's
    /// deadline, and where the circuit was forced open. While probes are out, the others wait for
    /// what the probes find. Waiting takes a tokio runtime with time enabled.
    Park {
        /// The longest wait. Where a circuit has a queue of its own, as in the layers, it bounds the wait
        /// of each call as a whole; where it is one of several gates, each cooldown, and the queue's own
        /// limits bound the whole.
        max: Duration,
    },
}
