//! The layer: configuration, and the state its services share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aplomb_circuit_breaker::{
    Circuit, Cooldown, OnOpen, Ramp, StateWatch, TracingObserver as CircuitLog, Trip,
};
use aplomb_concurrency::{Limit, Slots};
use aplomb_core::{Both, Exponential, Gated, Jitter, Observe, Plan, Queue, QueueLimits, WallClock};
use aplomb_provider::Provider;
use aplomb_rate_limit::{Quota, Quotas};
use aplomb_retry::{Budget, ByKind, Event, RetryLayer, Throttled, TracingObserver as RetryLog};
use tower_layer::Layer;

use super::deadline::Deadline;
use super::handle::{EndpointHandle, GateLog};
use super::inspect::Setup;
use super::timeouts::Timeouts;
use super::{Endpoint, EndpointClassifier, EndpointDoor, Gates, Inspect};

/// Makes calls to one AI endpoint dependable: all layers, composed in the order that works.
///
/// ```text
/// deadline ▸ retry ▸ queue ▸ (circuit, quotas, concurrency) ▸ timeouts, inspect ▸ client
/// ```
///
/// It wraps any HTTP client that is a `Service<http::Request<B>>` with a body of bytes. The circuit,
/// the quotas and, where there is one, the concurrency limit decide together, when a call is at the
/// head of the one queue before them. Every attempt passes the queue; what it came to is read once,
/// next to the client, in the dialect of the provider, and all layers act on that.
///
/// A stream is handed on when its first content has arrived: an error that it begins with is a failed
/// attempt. What follows is looked at as it flows: the tokens that were used settle the quotas, and an
/// answer that breaks off, or goes silent, ends with an error.
///
/// **What clones share**: the queue and its gates. `Layer::layer` makes no new ones; a setter
/// that concerns them starts new ones, so set everything first, then take clones and handles.
/// **What dropping does**: a call that is dropped leaves the queue, gives back what it had not used,
/// and drops its attempt. **Errors**: [`DeadlinePassed`](super::DeadlinePassed),
/// [`Open`](aplomb_circuit_breaker::Open), [`Exceeded`](aplomb_rate_limit::Exceeded),
/// [`Saturated`](aplomb_concurrency::Saturated), [`BrokenAnswer`](super::BrokenAnswer),
/// [`TimedOut`](super::TimedOut), and the client's own, all boxed: [`find`](crate::find) tells them apart.
/// The body of an answer may end with `BrokenAnswer`, `TimedOut` and `DeadlinePassed` too.
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
    timeouts: Timeouts,
    look_ahead: Option<(usize, Duration)>,
    deadline: Option<Duration>,
    whole_answers: Option<usize>,
}

/// What is read of a stream until its first content, or of a small answer.
const LOOK_AHEAD: usize = 64 * 1024;

/// How long a stream that has not come to its first content is kept from the caller, unless it is set.
const LOOK_AHEAD_PATIENCE: Duration = Duration::from_secs(30);

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
    /// to 4 retries; 600 s to the head of a response and to the first content, as in the official SDKs of
    /// OpenAI and Anthropic; 300 s without content after that; one hour for an attempt, which is what
    /// Anthropic's SDKs reckon 128,000 tokens with; no deadline; at most ten minutes in the queue, with
    /// 65,536 others; hints obeyed up to 120 s; calls wait in the queue for a circuit whose cooldown is 150 s
    /// or less.
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
            timeouts: Timeouts {
                head: Duration::from_secs(600),
                content: Duration::from_secs(600),
                idle: Duration::from_secs(300),
                attempt: Duration::from_secs(60 * 60),
            },
            look_ahead: None,
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

    /// Sets how long an attempt may take, from when it is sent to the end of its body: one hour unless set.
    /// Waiting in the queue is not part of it, and connecting is the client's: it is, unless the client
    /// limits it.
    ///
    /// This and the three below end an attempt with [`TimedOut`](super::TimedOut), drop it, and count as a
    /// failure with the circuit. What times out before anything has reached the caller is retried; after
    /// that the body ends with the error. They share one timer, and none is set for what is there at once.
    pub fn attempt_timeout(self, timeout: Duration) -> Self {
        self.set(|config| config.timeouts.attempt = timeout)
    }

    /// Sets how long an attempt may take to the head of its response: 600 s unless set. An answer that does
    /// not stream has its head when all of it is there.
    pub fn head_timeout(self, timeout: Duration) -> Self {
        self.set(|config| config.timeouts.head = timeout)
    }

    /// Sets how long an attempt may take to the first content of its answer: 600 s unless set. Pings,
    /// comments, and that an answer begins, are not content; where no event stream is read, any bytes
    /// but blanks are.
    ///
    /// A stream is kept from its caller as long as this where it is set, so that it can be sent again; see
    /// [`look_ahead`](Self::look_ahead).
    pub fn content_timeout(self, timeout: Duration) -> Self {
        self.set(|config| {
            config.timeouts.content = timeout;
            let (bytes, _) = config.look_ahead.unwrap_or((LOOK_AHEAD, LOOK_AHEAD_PATIENCE));
            config.look_ahead = Some((bytes, timeout));
        })
    }

    /// Sets how long an answer may go on without content once it has had some: 300 s unless set. Only
    /// the time counts in which its body is waited for: who reads slowly makes no server slow.
    pub fn idle_timeout(self, timeout: Duration) -> Self {
        self.set(|config| config.timeouts.idle = timeout)
    }

    /// Sets how far a stream is looked into for its first content before its caller has it: 64 KiB and
    /// 30 s unless set, or as long as the [`content_timeout`](Self::content_timeout) where that is set. Of
    /// the two the later call counts.
    ///
    /// Within these bounds an error in the stream, its end or a timeout is a failed attempt, and is
    /// retried. Beyond them the caller gets what there is. Answers in JSON that announce a size of no more
    /// bytes are looked into as well.
    pub fn look_ahead(self, max_bytes: usize, max_wait: Duration) -> Self {
        self.set(|config| config.look_ahead = Some((max_bytes, max_wait)))
    }

    /// Sets how long a call may take, waits, retries and the body of its answer included. A deadline in a
    /// call's own options holds as well; the earlier one ends the call, or the body, with
    /// [`DeadlinePassed`](super::DeadlinePassed). No circuit counts it.
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
        let Config { provider, clock, timeouts, whole_answers, .. } = self.config.clone();
        let classifier = EndpointClassifier::new(Arc::clone(&provider), clock.clone());
        let look_ahead = self.config.look_ahead.unwrap_or((LOOK_AHEAD, LOOK_AHEAD_PATIENCE));
        let setup = Setup { provider, clock, timeouts, look_ahead, whole_answers };
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

        let gated = Gated::new(Inspect::new(client, Arc::new(setup)), Arc::new(plan));
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
