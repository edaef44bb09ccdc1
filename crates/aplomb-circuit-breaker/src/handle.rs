//! A handle on the circuits of a layer, to read and to switch them.

use std::hash::Hash;

use aplomb_admission::{Closing, Full, Handle, LayerState, Queue, QueueLimits, RejectReason};
use aplomb_core::{BoxError, CallOptions, CircuitState, Classify, KeyLabel};
use tokio::sync::watch;

use crate::circuits::Circuits;
use crate::{Circuit, CircuitPermit, CircuitSettings, CircuitSnapshot};

/// Reads and switches the circuit of a [`CircuitBreakerLayer`](crate::CircuitBreakerLayer), or one of its circuits if
/// there is one for each key.
///
/// Clones are handles on the same circuit. It may be used from anywhere, including an observer.
///
/// With a circuit for each key, [`get`](Self::get) and [`of`](Self::of) return a handle on the circuit of one key alone.
/// Methods that concern one circuit panic on a handle on several, and those that take a key panic if the keys of the layer
/// are of another type.
///
/// # Examples
///
/// ```
/// use aplomb_circuit_breaker::{CircuitBreakerLayer, CircuitState};
/// use aplomb_core::RequestView;
///
/// # fn main() -> Result<(), aplomb_core::BoxError> {
/// let circuit = CircuitBreakerLayer::new().handle();
/// circuit.isolate();
/// assert_eq!(circuit.state(), CircuitState::Isolated);
///
/// let layer = CircuitBreakerLayer::new()
///     .by_public_key(|request: &RequestView<'_>| request.host().unwrap_or_default().to_owned());
/// let circuits = layer.handle();
/// let host = "api.example.com".to_owned();
/// assert!(circuits.get(&host).is_none(), "no call was sent to it yet");
/// circuits.of(&host)?.isolate(); // before its maintenance
/// assert_eq!(circuits.snapshot_of(&host).unwrap().state(), CircuitState::Isolated);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct CircuitHandle(pub(crate) Handle<Circuits>);

/// One circuit. With a circuit for each key, these methods panic on a handle that is not on one of them.
impl CircuitHandle {
    /// The state.
    pub fn state(&self) -> CircuitState {
        self.0.queue().with(Circuit::state)
    }

    /// Watches the state. A receiver sees the latest state, not every one in between: an
    /// [observer](crate::CircuitBreakerLayer::observer) sees each of them. A circuit that is watched is not evicted.
    ///
    /// A circuit does nothing by itself: the end of a cooldown is noticed with the next call, or the next look through a
    /// handle; immediately if calls are parked.
    ///
    /// # Examples
    ///
    /// ```
    /// use aplomb_circuit_breaker::{CircuitBreakerLayer, CircuitState};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let layer = CircuitBreakerLayer::new();
    /// let circuit = layer.handle();
    /// let mut watch = circuit.watch();
    /// circuit.isolate();
    /// watch.changed().await.unwrap();
    /// assert_eq!(*watch.borrow_and_update(), CircuitState::Isolated);
    /// # }
    /// ```
    pub fn watch(&self) -> watch::Receiver<CircuitState> {
        self.0.queue().with(Circuit::watch)
    }

    /// State and counts.
    pub fn snapshot(&self) -> CircuitSnapshot {
        snapshot(self.0.queue())
    }

    /// Opens the circuit now, as if it had tripped: after a cooldown, probes decide.
    pub fn force_open(&self) {
        self.0.queue().with(Circuit::force_open);
    }

    /// Closes the circuit now for everyone, and starts counting afresh. Parked calls are admitted.
    pub fn force_closed(&self) {
        self.0.queue().with(Circuit::force_closed);
    }

    /// Rejects all calls, including parked ones, until the circuit is reset or switched otherwise.
    pub fn isolate(&self) {
        self.0.queue().with(Circuit::isolate);
    }

    /// Admits all calls, including parked ones, and counts none, until the circuit is reset or switched otherwise.
    pub fn disable(&self) {
        self.0.queue().with(Circuit::disable);
    }

    /// Closes the circuit and forgets everything, including how often it has opened. Parked calls are admitted.
    pub fn reset(&self) {
        self.0.queue().with(Circuit::reset);
    }

    /// Takes a permit for one call, if the circuit admits one now.
    ///
    /// # Errors
    ///
    /// As a call's: [`CircuitOpen`](crate::CircuitOpen), boxed, and [`Rejection`](aplomb_core::Rejection) if the handle
    /// was closed.
    pub fn try_acquire(&self) -> Result<CircuitPermit, BoxError> {
        let queue = self.0.queue();
        queue.try_acquire(&()).map(CircuitPermit::new).map_err(|rejected| {
            let options = CallOptions::current().unwrap_or_default();
            if rejected.reason() == RejectReason::WaitTooLong {
                // It could have been parked.
                let open = queue.with(Circuit::reason_now);
                return self.0.state().open(open, self.0.key(), &options);
            }
            self.0.state().rejection(&rejected, self.0.key(), &options)
        })
    }

    /// Takes a permit for one call; waits for it, if calls are [parked](crate::OnOpen::Park).
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Self::try_acquire).
    pub async fn acquire(&self, options: &CallOptions) -> Result<CircuitPermit, BoxError> {
        self.0.acquire((), options).await.map(CircuitPermit::new)
    }

    /// Runs any operation behind the circuit: `Ok` counts as a success, `Err` as a failure of the server, except for
    /// rejections by aplomb layers. [`run_classified`](Self::run_classified) decides otherwise.
    ///
    /// Options of the call are those of the current [scope](CallOptions::scope). Dropping the future takes the call
    /// back.
    ///
    /// # Errors
    ///
    /// The error of the operation, or [`CircuitOpen`](crate::CircuitOpen); boxed.
    ///
    /// # Examples
    ///
    /// ```
    /// use aplomb_circuit_breaker::CircuitBreakerLayer;
    /// # async fn lookup(host: &str) -> std::io::Result<String> { Ok(host.to_owned()) }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), aplomb_core::BoxError> {
    /// let circuit = CircuitBreakerLayer::new().handle();
    /// let answer = circuit.run(|| lookup("example.com")).await?;
    /// # assert_eq!(answer, "example.com"); Ok(()) }
    /// ```
    pub async fn run<T, E, F>(&self, operation: impl FnOnce() -> F) -> Result<T, BoxError>
    where
        F: Future<Output = Result<T, E>>,
        E: Into<BoxError>,
    {
        self.0.run((), operation).await
    }

    /// Runs any operation behind the circuit, judged by a classifier.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub async fn run_classified<T, E, F>(
        &self,
        classifier: &impl Classify<T, E>,
        operation: impl FnOnce() -> F,
    ) -> Result<T, BoxError>
    where
        F: Future<Output = Result<T, E>>,
        E: Into<BoxError>,
    {
        self.0.run_classified((), classifier, operation).await
    }
}

/// All circuits of the layer; on a handle on one key, its circuit.
impl CircuitHandle {
    /// A handle on the circuit of `key`, if the key is in use. It is not evicted while the handle exists.
    pub fn get<K: Hash + Eq + Clone + Send + Sync + 'static>(&self, key: &K) -> Option<Self> {
        self.0.get(key).map(Self)
    }

    /// A handle on the circuit of `key`, which is made if the key is new.
    ///
    /// # Errors
    ///
    /// [`Full`] if the key is new and there is no room for it.
    pub fn of<K: Hash + Eq + Clone + Send + Sync + 'static>(&self, key: &K) -> Result<Self, Full> {
        self.0.of(key).map(Self)
    }

    /// State and counts of the circuit of `key`, if the key is in use.
    pub fn snapshot_of<K: Hash + Eq + Clone + Send + Sync + 'static>(
        &self,
        key: &K,
    ) -> Option<CircuitSnapshot> {
        self.0.look_at(key, snapshot)
    }

    /// State and counts of all circuits, with the labels of their keys. Keys that come and go meanwhile may be missing.
    pub fn snapshots(&self) -> Vec<(Option<KeyLabel>, CircuitSnapshot)> {
        self.0.look_at_each(snapshot)
    }

    /// The number of keys in use; `None` if there is one circuit for all calls.
    pub fn keys(&self) -> Option<usize> {
        self.0.keys()
    }

    /// Evicts all keys whose circuits equal fresh ones, and returns their number. It need not be called: that happens
    /// bit by bit.
    pub fn forget_idle(&self) -> usize {
        self.0.forget_idle()
    }

    /// Applies other settings to all circuits, and to those of new keys. States stay, and counts as far as both have
    /// the same rules. Where each key has settings of its own, those stay.
    pub fn set_settings(&self, settings: CircuitSettings) {
        self.0.state().set_settings(settings);
    }

    /// The number of calls that are parked, for all circuits together.
    pub fn parked(&self) -> usize {
        self.0.waiting()
    }

    /// Changes the limits of the queues of parked calls, for all keys. Calls that are parked keep those under which they
    /// came. How long a call may be parked is also limited by [`OnOpen`](crate::OnOpen).
    pub fn set_queue_limits(&self, change: impl FnOnce(QueueLimits) -> QueueLimits) {
        self.0.set_queue_limits(change);
    }

    /// Rejects all new calls from now on, for good; parked ones are served or rejected, as `closing` says. Calls in
    /// flight are not affected.
    pub fn close(&self, closing: Closing) {
        self.0.close(closing);
    }
}

fn snapshot(queue: &Queue<Circuit>) -> CircuitSnapshot {
    queue.with(Circuit::snapshot)
}
