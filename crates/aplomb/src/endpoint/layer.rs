//! The layer: configuration, and the state its services share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aplomb_circuit_breaker::{
    Circuit, Cooldown, OnOpen, Ramp, StateWatch, TracingObserver as CircuitLog, Trip,
};
use aplomb_concurrency::{Limit, Slots};
use aplomb_core::{
    Both, Exponential, Gated, HttpClassifier, Jitter, Observe, Plan, Queue, QueueLimits, WallClock,
};
use aplomb_provider::Provider;
use aplomb_rate_limit::{Quota, Quotas};
use aplomb_retry::{Budget, ByKind, Event, RetryLayer, Throttled, TracingObserver as RetryLog};
use tower::timeout::Timeout;
use tower_layer::Layer;

use super::deadline::Deadline;
use super::handle::{EndpointHandle, GateLog};
use super::{Endpoint, EndpointClassifier, EndpointDoor, Gates, Inspect};

/// Makes calls to one AI endpoint dependable: all layers, composed in the order that works.
///
/// ```text
/// deadline ▸ retry ▸ queue ▸ (circuit, quotas, concurrency) ▸ attempt timeout ▸ inspect ▸ client
/// ```
///
/// It wraps any HTTP client that is a `Service<http::Request<B>>` with a body of bytes. The circuit,
/// the quotas and, where there is one, the concurrency limit decide together, when a call is at the
/// head of the one queue before them. Every attempt passes the queue; what it came to is read once,
/// next to the client, in the dialect of the provider, and all layers act on that.
///
/// **What clones share**: the queue and its gates. `Layer::layer` makes no new ones; a setter
/// that concerns them starts new ones, so set everything first, then take clones and handles.
/// **What dropping does**: a call that is dropped leaves the queue, gives back what it had not used,
/// and drops its attempt. **Errors**: [`DeadlinePassed`](super::DeadlinePassed),
/// [`Open`](aplomb_circuit_breaker::Open), [`Exceeded`](aplomb_rate_limit::Exceeded),
/// [`Saturated`](aplomb_concurrency::Saturated), [`BrokenAnswer`](super::BrokenAnswer), tower's `Elapsed`
/// for an attempt, and the client's own, all boxed: [`find`](crate::find) tells them apart.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aplomb::EndpointLayer;
/// use aplomb::provider::OpenAi;
/// use aplomb::rate_limit::Quota;
///
/// let layer = EndpointLayer::new(OpenAi)
///     .quotas([Quota::requests_per_minute(500), Quota::tokens_per_minute(200_000)])
///     .attempt_timeout(Duration::from_secs(120))
///     .deadline(Duration::from_secs(600));
/// # drop(layer);
/// ```
#[derive(Clone)]
#[must_use]
pub struct EndpointLayer {
    config: Config,
    queue: Queue<Gates>,
    watch: StateWatch,
}

/// Who is told of attempts and waits.
pub(super) type RetryObserver = Arc<dyn Observe<Event> + Send + Sync>;

#[derive(Clone)]
struct Config {
    provider: Arc<dyn Provider>,
    clock: WallClock,
    quotas: Vec<Quota>,
    concurrency: Option<Limit>,
    trip: Trip,
    cooldown: Cooldown,
    ramp: Ramp,
    on_open: OnOpen,
    limits: QueueLimits,
    max_retries: u32,
    max_retry_after: Duration,
    backoff: ByKind,
    budget: Option<Budget>,
    observer: RetryObserver,
    attempt_timeout: Duration,
    deadline: Option<Duration>,
    whole_answers: Option<usize>,
}

impl Config {
    fn queue(&self) -> (Queue<Gates>, StateWatch) {
        let circuit = Circuit::new()
            .trip(self.trip.clone())
            .cooldown(self.cooldown)
            .ramp(self.ramp)
            .on_open(self.on_open);
        let mut quotas = Quotas::new(self.quotas.iter().copied(), rand::random());
        quotas.set_max_pause(self.max_retry_after);
        let slots = self.concurrency.map(Slots::new);
        let watch = StateWatch::new();
        let log = GateLog::new((watch.clone(), CircuitLog));
        (Queue::new(Both(circuit, Both(quotas, slots)), self.limits, log), watch)
    }
}

impl EndpointLayer {
    /// An endpoint that speaks the dialect of `provider`.
    ///
    /// Unless set: no quotas (a throttled response still pauses every call); no concurrency limit; up
    /// to 4 retries; 600 s for an attempt, as in the official SDKs of OpenAI and Anthropic; no deadline;
    /// at most ten minutes in the queue, with 65,536 others; hints obeyed up to 120 s; calls wait in the
    /// queue for a circuit whose cooldown is 150 s or less.
    pub fn new(provider: impl Provider + 'static) -> Self {
        let config = Config {
            provider: Arc::new(provider),
            clock: WallClock::system(),
            quotas: Vec::new(),
            concurrency: None,
            trip: Trip::default(),
            // One probe every 15 s is no burden, and an outage is over 15 s after its end.
            cooldown: Cooldown::new(
                Exponential::new(Duration::from_secs(2))
                    .max(Duration::from_secs(15))
                    .jitter(Jitter::Equal),
            ),
            ramp: Ramp::default(),
            // Longer than any cooldown but that of an exhausted account or a refused credential.
            on_open: OnOpen::Park { max: Duration::from_secs(150) },
            limits: QueueLimits::new().max_wait(Duration::from_secs(600)),
            max_retries: 4,
            max_retry_after: Duration::from_secs(120),
            backoff: ByKind::default(),
            budget: None,
            observer: Arc::new(RetryLog),
            attempt_timeout: Duration::from_secs(600),
            deadline: None,
            whole_answers: None,
        };
        let (queue, watch) = config.queue();
        Self { config, queue, watch }
    }

    /// Sets what is known of the endpoint's limits. A call costs one request, and the tokens that a
    /// [`Charge`](aplomb_rate_limit::Charge) in its request's extensions says.
    pub fn quotas(self, quotas: impl IntoIterator<Item = Quota>) -> Self {
        self.restart(|config| config.quotas = quotas.into_iter().collect())
    }

    /// Sets how many calls may be in flight at a time: a number, or an
    /// [`Adaptive`](aplomb_concurrency::Adaptive) limit that finds its level. There is none unless set:
    /// providers limit rates, and a limit that finds its level takes some round trips for it. It is for a
    /// server of your own. Each of its moves is logged with `tracing`, at debug.
    pub fn concurrency(self, limit: impl Into<Limit>) -> Self {
        self.restart(|config| config.concurrency = Some(limit.into()))
    }

    /// Sets what opens the circuit.
    pub fn trip(self, trip: Trip) -> Self {
        self.restart(|config| config.trip = trip)
    }

    /// Sets how long the circuit stays open: between 1 and 2 s at first, up to 15 s, unless set.
    pub fn cooldown(self, cooldown: Cooldown) -> Self {
        self.restart(|config| config.cooldown = cooldown)
    }

    /// Sets how the circuit lets the calls in when it has closed: two at first, and one more with each
    /// answer, unless set.
    pub fn ramp(self, ramp: Ramp) -> Self {
        self.restart(|config| config.ramp = ramp)
    }

    /// Refuses calls at once while the circuit is open, where they would wait for it otherwise.
    pub fn fail_fast(self) -> Self {
        self.restart(|config| config.on_open = OnOpen::FailFast)
    }

    /// Sets how long an attempt may wait in the queue, and an open circuit is waited for.
    pub fn max_wait(self, wait: Duration) -> Self {
        self.restart(|config| config.limits = config.limits.max_wait(wait))
    }

    /// Sets how many calls may wait in the queue.
    pub fn max_waiting(self, calls: usize) -> Self {
        self.restart(|config| config.limits = config.limits.max_waiting(calls))
    }

    /// Sets how often a request is sent again at most.
    pub fn max_retries(self, retries: u32) -> Self {
        self.set(|config| config.max_retries = retries)
    }

    /// Sets how long to wait before a retry where the server does not say: 0.5 s doubled up to 60 s,
    /// with full jitter, unless set.
    pub fn backoff(self, backoff: ByKind) -> Self {
        self.set(|config| config.backoff = backoff)
    }

    /// Sets what pays for retries; nothing unless set. Those that wait for the quotas or for an open
    /// circuit are free.
    pub fn budget(self, budget: Budget) -> Self {
        self.set(|config| config.budget = Some(budget))
    }

    /// Sets who is told of attempts, waits and ends. Unless set, retries are logged with `tracing`:
    /// [`TracingObserver`](aplomb_retry::TracingObserver).
    pub fn observer(self, observer: impl Observe<Event> + Send + Sync + 'static) -> Self {
        self.set(|config| config.observer = Arc::new(observer))
    }

    /// Sets the longest wait a server may ask for. When it asks for longer, its answer is handed to
    /// the caller at once, and the other calls pause this long.
    pub fn max_retry_after(self, longest: Duration) -> Self {
        self.restart(|config| config.max_retry_after = longest)
    }

    /// Sets how long an attempt may take: to the head of its response, or, with
    /// [`whole_answers`](Self::whole_answers), to the end of its body.
    pub fn attempt_timeout(self, timeout: Duration) -> Self {
        self.set(|config| config.attempt_timeout = timeout)
    }

    /// Sets how long a call may take, waits and retries included: to the head of its response, or, with
    /// [`whole_answers`](Self::whole_answers), to the end of its body. A deadline in a call's own
    /// options holds as well; the earlier one ends the call.
    pub fn deadline(self, deadline: Duration) -> Self {
        self.set(|config| config.deadline = Some(deadline))
    }

    /// Reads every answer to its end, at most `max_bytes` of it, before the caller receives it.
    ///
    /// An answer that breaks off, a stream without its end marker or with an error in it, is then an
    /// attempt that failed, and is retried. For those who want answers rather than streams: a stream
    /// reaches the caller only when it is complete.
    pub fn whole_answers(self, max_bytes: usize) -> Self {
        self.set(|config| config.whole_answers = Some(max_bytes))
    }

    /// Sets the clock that dates in headers are compared with where a response has no `Date`.
    pub fn wall_clock(self, clock: WallClock) -> Self {
        self.set(|config| config.clock = clock)
    }

    /// A handle, to look at the endpoint and to switch it.
    #[must_use]
    pub fn handle(&self) -> EndpointHandle {
        EndpointHandle::new(self.queue.clone(), self.watch.clone())
    }

    /// What does not concern the queue and its gates, which go on.
    fn set(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// What does: they begin anew.
    fn restart(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        (self.queue, self.watch) = self.config.queue();
        self
    }
}

impl<S> Layer<S> for EndpointLayer {
    type Service = Endpoint<S>;

    fn layer(&self, client: S) -> Endpoint<S> {
        let Config { provider, clock, attempt_timeout, whole_answers, .. } = self.config.clone();
        let classifier = EndpointClassifier::new(HttpClassifier::new().clock(clock.clone()));
        let mut retry = RetryLayer::new()
            .classifier(classifier.clone())
            .max_retries(self.config.max_retries)
            .max_retry_after(self.config.max_retry_after)
            .backoff(self.config.backoff)
            // The pause of the quotas does the waiting, for all calls at once.
            .throttled(Throttled::Requeue)
            .observer(Arc::clone(&self.config.observer));
        if let Some(budget) = &self.config.budget {
            retry = retry.budget(budget.clone());
        }
        let plan = Plan::new(EndpointDoor::new(self.queue.clone()), classifier, aplomb_core::AtBodyEnd);

        let attempt = Timeout::new(Inspect::new(client, provider, clock, whole_answers), attempt_timeout);
        let gated = Gated::new(attempt, Arc::new(plan));
        Endpoint::new(Deadline::new(retry.layer(gated), self.config.deadline))
    }
}

impl fmt::Debug for EndpointLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointLayer")
            .field("provider", &self.config.provider)
            .field("quotas", &self.config.quotas)
            .finish_non_exhaustive()
    }
}
