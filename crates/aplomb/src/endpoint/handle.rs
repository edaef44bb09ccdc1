//! Looking at an endpoint, and switching it.

use std::convert::Infallible;

use aplomb_circuit_breaker::{Snapshot as CircuitSnapshot, State, StateWatch, Transition};
use aplomb_concurrency::{Moved, Snapshot as ConcurrencySnapshot, TracingObserver as LimitLog};
use aplomb_core::{Closing, Either, Observe, Queue};
use aplomb_rate_limit::{Learned, Quota};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Gates;

/// A handle on an [`EndpointLayer`](crate::EndpointLayer)'s queue and gates.
///
/// Clones are handles on the same endpoint.
#[derive(Clone, Debug)]
pub struct EndpointHandle {
    queue: Queue<Gates>,
    watch: StateWatch,
}

impl EndpointHandle {
    pub(super) const fn new(queue: Queue<Gates>, watch: StateWatch) -> Self {
        Self { queue, watch }
    }

    /// How many calls wait in the queue.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// How many calls have been admitted and have not ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.queue.with(|gates, _| gates.1.0.in_flight())
    }

    /// What was learned of the server's limits: those it told of in the heads of its responses, and the rate
    /// found where it tells of none. For a later run that shall not start blind.
    pub fn learned(&self) -> Learned {
        self.queue.with(|gates, _| gates.1.0.learned())
    }

    /// Starts with what was learned in an earlier run. What is configured goes before it, and what the
    /// server says from now on as well.
    pub fn remember(&self, learned: &Learned) {
        self.queue.with(|gates, now| gates.1.0.remember(learned, now));
    }

    /// What each quota has left, those that were learned included; negative where it is in debt.
    #[must_use]
    pub fn available(&self) -> Vec<(Quota, i64)> {
        self.queue.with(|gates, now| gates.1.0.available(now).collect())
    }

    /// Until when a throttled response pauses every call, if one does.
    #[must_use]
    pub fn paused_until(&self) -> Option<Instant> {
        self.queue.with(|gates, now| gates.1.0.paused_until(now))
    }

    /// How the concurrency limit stands, where there is one.
    #[must_use]
    pub fn concurrency(&self) -> Option<ConcurrencySnapshot> {
        let waiting = self.queue.waiting();
        self.queue.with(|gates, now| gates.1.1.as_mut().map(|slots| slots.snapshot(waiting, now)))
    }

    /// How the circuit stands.
    #[must_use]
    pub fn circuit(&self) -> CircuitSnapshot {
        self.queue.with(|gates, now| gates.0.snapshot(now))
    }

    /// The state of the circuit, to be watched: the latest, not each on the way.
    #[must_use]
    pub fn watch_circuit(&self) -> watch::Receiver<State> {
        self.watch.watch()
    }

    /// Opens the circuit now, as a failure would that opens it: for a cooldown, after which probes
    /// decide.
    pub fn force_open(&self) {
        self.queue.with(|gates, now| gates.0.force_open(now));
    }

    /// Closes the circuit now for everybody, and begins to count anew.
    pub fn force_closed(&self) {
        self.queue.with(|gates, now| gates.0.force_closed(now));
    }

    /// Lets nothing pass, until the circuit is reset or switched otherwise. Calls that wait are refused.
    pub fn isolate(&self) {
        self.queue.with(|gates, now| gates.0.isolate(now));
    }

    /// Lets the circuit pass everything and count nothing, until it is reset or switched otherwise.
    pub fn disable(&self) {
        self.queue.with(|gates, now| gates.0.disable(now));
    }

    /// Closes the circuit and forgets everything, how often it has opened included.
    pub fn reset(&self) {
        self.queue.with(|gates, now| gates.0.reset(now));
    }

    /// Refuses new calls from now on; those who wait are served or refused, as `closing` says.
    pub fn close(&self, closing: Closing) {
        self.queue.close(closing);
    }
}

/// Passes on what the circuit has to tell, and the concurrency limit; quotas tell nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct GateLog<O>(O);

impl<O> GateLog<O> {
    /// Logs every move of the limit, and tells `observer` every change of the circuit.
    pub(super) const fn new(observer: O) -> Self {
        Self(observer)
    }
}

impl<O: Observe<Transition>> Observe<Either<Transition, Either<Infallible, Moved>>> for GateLog<O> {
    fn observe(&self, notice: &Either<Transition, Either<Infallible, Moved>>) {
        match notice {
            Either::First(transition) => self.0.observe(transition),
            Either::Second(Either::First(never)) => match *never {},
            Either::Second(Either::Second(moved)) => LimitLog.observe(moved),
        }
    }
}
