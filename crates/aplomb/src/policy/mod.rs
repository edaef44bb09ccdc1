//! How calls to one service are treated, as a plain value.

mod invalid;
mod presets;

use std::time::Duration;

use aplomb_admission::QueueLimits;
use aplomb_circuit_breaker::{Cooldown, OnOpen, Ramp, Trip};
use aplomb_concurrency::Limit;
use aplomb_core::{Exponential, Jitter};
use aplomb_rate_limit::{Pool, Quota};
use aplomb_retry::{Budget, ByKind};

pub use self::invalid::InvalidPolicy;
use crate::endpoint::Timeouts;

/// How calls to one service are treated: its quotas, retries, timeouts and its circuit.
///
/// A plain value: it holds settings, and no state but that of a [`Budget`] and a [`Pool`], which are handles. It is checked
/// when an [`EndpointLayer`](crate::EndpointLayer) is made of it, or by [`validate`](Self::validate).
///
/// | setting | unless set |
/// | --- | --- |
/// | quotas | none: the server's limits are learned |
/// | concurrency limit | none |
/// | retries | up to 4, after 0.5 s doubled up to 60 s, with full jitter; no budget |
/// | a server's hint | obeyed up to 120 s |
/// | waiting in the queue | ten minutes at most, with 65,536 others at most |
/// | an open circuit | is waited for where its cooldown is 150 s or less |
/// | to the head of a response, and to the first content | 600 s, as in the official SDKs of OpenAI and Anthropic |
/// | without content after that | 300 s |
/// | an attempt | one hour, which is what Anthropic's SDKs reckon 128,000 tokens with |
/// | a call | no deadline |
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aplomb::Policy;
///
/// let policy = Policy::new()
///     .requests_per_minute(500)
///     .tokens_per_minute(200_000)
///     .max_retries(6)
///     .attempt_timeout(Duration::from_secs(120))
///     .deadline(Duration::from_secs(600));
/// assert!(policy.validate().is_ok());
///
/// let never = policy.attempt_timeout(Duration::from_secs(900));
/// assert_eq!(
///     never.validate().unwrap_err().to_string(),
///     "the attempt timeout of 900s is longer than the deadline of 600s, within which it lies",
/// );
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Policy {
    pub(crate) quotas: Vec<Quota>,
    pub(crate) pool: Option<Pool>,
    pub(crate) concurrency: Option<Limit>,
    pub(crate) trip: Trip,
    pub(crate) cooldown: Cooldown,
    pub(crate) ramp: Ramp,
    pub(crate) on_open: OnOpen,
    pub(crate) max_wait: Option<Duration>,
    pub(crate) max_waiting: Option<usize>,
    pub(crate) max_retries: u32,
    pub(crate) max_retry_after: Duration,
    pub(crate) backoff: ByKind,
    pub(crate) budget: Option<Budget>,
    pub(crate) head_timeout: Option<Duration>,
    pub(crate) content_timeout: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) attempt_timeout: Option<Duration>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) look_ahead: Option<(usize, Duration)>,
    pub(crate) whole_answers: Option<usize>,
    pub(crate) include_usage: bool,
    pub(crate) seed: Option<u64>,
    usual: Usual,
}

/// How long things may take that were not set.
#[derive(Clone, Copy, Debug)]
struct Usual {
    max_wait: Duration,
    head: Duration,
    content: Duration,
    idle: Duration,
    attempt: Duration,
    deadline: Option<Duration>,
    /// How long a stream that has not come to its first content is kept from the caller.
    patience: Duration,
}

/// With these, completions arrive that think for minutes.
const USUAL: Usual = Usual {
    max_wait: Duration::from_secs(600),
    head: Duration::from_secs(600),
    content: Duration::from_secs(600),
    idle: Duration::from_secs(300),
    attempt: Duration::from_secs(60 * 60),
    deadline: None,
    patience: Duration::from_secs(30),
};

/// What is read of a stream until its first content, or of a small answer.
const LOOK_AHEAD: usize = 64 * 1024;

impl Policy {
    /// The settings of the table above.
    pub fn new() -> Self {
        Self {
            quotas: Vec::new(),
            pool: None,
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
            max_wait: None,
            max_waiting: None,
            max_retries: 4,
            max_retry_after: Duration::from_secs(120),
            backoff: ByKind::default(),
            budget: None,
            head_timeout: None,
            content_timeout: None,
            idle_timeout: None,
            attempt_timeout: None,
            deadline: None,
            look_ahead: None,
            whole_answers: None,
            include_usage: false,
            seed: None,
            usual: USUAL,
        }
    }

    /// Adds a quota. A call costs one request, and the tokens that the provider's dialect estimates for its
    /// body, or that a [`Charge`](aplomb_rate_limit::Charge) in its request's extensions says. They are
    /// settled as the provider does, unless the quota says [how](Quota::settle).
    pub fn quota(mut self, quota: Quota) -> Self {
        self.quotas.push(quota);
        self
    }

    /// Sets all quotas at once.
    pub fn quotas(mut self, quotas: impl IntoIterator<Item = Quota>) -> Self {
        self.quotas = quotas.into_iter().collect();
        self
    }

    /// Adds a quota of requests per minute: [`Quota::requests_per_minute`].
    pub fn requests_per_minute(self, requests: u64) -> Self {
        self.quota(Quota::requests_per_minute(requests))
    }

    /// Adds a quota of tokens per minute, input and output together: [`Quota::tokens_per_minute`].
    pub fn tokens_per_minute(self, tokens: u64) -> Self {
        self.quota(Quota::tokens_per_minute(tokens))
    }

    /// Adds a quota of input tokens per minute: [`Quota::input_tokens_per_minute`].
    pub fn input_tokens_per_minute(self, tokens: u64) -> Self {
        self.quota(Quota::input_tokens_per_minute(tokens))
    }

    /// Adds a quota of output tokens per minute: [`Quota::output_tokens_per_minute`].
    pub fn output_tokens_per_minute(self, tokens: u64) -> Self {
        self.quota(Quota::output_tokens_per_minute(tokens))
    }

    /// Sets a pool of quotas to draw on together with other endpoints, beside the quotas of its own: two models on
    /// one account. Each keeps its own queue, circuit and timeouts, and they are served in the order in which they
    /// came to wait for the pool.
    ///
    /// What the server says of its limits teaches the pool. Its quotas are settled by debt alone where they do
    /// not [say](Quota::settle). Copies of the policy draw on the same pool.
    ///
    /// # Examples
    ///
    /// ```
    /// use aplomb::rate_limit::{Pool, Quota};
    /// use aplomb::route::{self, Routes};
    /// use aplomb::{EndpointLayer, Policy, provider::OpenAi};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), aplomb::InvalidPolicy> {
    /// let account = Pool::new([Quota::tokens_per_minute(200_000)]);
    /// let large = Policy::interactive().pool(&account).requests_per_minute(500);
    /// let small = Policy::batch().pool(&account).requests_per_minute(5_000);
    /// let routes = Routes::new()
    ///     .route(route::model("gpt-4o"), EndpointLayer::with_policy(OpenAi, large)?)
    ///     .route(route::model("gpt-4o-mini"), EndpointLayer::with_policy(OpenAi, small)?);
    /// # drop(routes);
    /// # Ok(()) }
    /// ```
    pub fn pool(mut self, pool: &Pool) -> Self {
        self.pool = Some(pool.clone());
        self
    }

    /// Sets how many calls may be in flight at a time: a number, or an
    /// [`Adaptive`](aplomb_concurrency::Adaptive) limit that finds its level. There is none unless set:
    /// providers limit rates, and a limit that finds its level takes some round trips for it. It is for a
    /// server of your own. Each of its moves is logged with `tracing`, at debug.
    pub fn concurrency(mut self, limit: impl Into<Limit>) -> Self {
        self.concurrency = Some(limit.into());
        self
    }

    /// Sets what opens the circuit.
    pub fn trip(mut self, trip: Trip) -> Self {
        self.trip = trip;
        self
    }

    /// Sets how long the circuit stays open: between 1 and 2 s at first, up to 15 s, unless set.
    pub fn cooldown(mut self, cooldown: Cooldown) -> Self {
        self.cooldown = cooldown;
        self
    }

    /// Sets how the circuit lets the calls in when it has closed: two at first, and one more with each
    /// answer, unless set.
    pub fn ramp(mut self, ramp: Ramp) -> Self {
        self.ramp = ramp;
        self
    }

    /// Refuses calls at once while the circuit is open, where they would wait for it otherwise.
    pub fn fail_fast(mut self) -> Self {
        self.on_open = OnOpen::FailFast;
        self
    }

    /// Lets calls wait for an open circuit whose cooldown is not longer than `cooldown`: 150 s unless set,
    /// which is longer than any but that of an exhausted account or a refused credential.
    pub fn park(mut self, cooldown: Duration) -> Self {
        self.on_open = OnOpen::Park { max: cooldown };
        self
    }

    /// Sets how long an attempt may wait in the queue, and an open circuit is waited for.
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = Some(wait);
        self
    }

    /// Sets how many calls may wait in the queue.
    pub fn max_waiting(mut self, calls: usize) -> Self {
        self.max_waiting = Some(calls);
        self
    }

    /// Sets how often a request is sent again at most.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = retries;
        self
    }

    /// Sets how long to wait before a retry where the server does not say: 0.5 s doubled up to 60 s,
    /// with full jitter, unless set.
    pub fn backoff(mut self, backoff: ByKind) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets what pays for retries; nothing unless set. Those that wait for the quotas or for an open
    /// circuit are free. Copies of the policy share the budget.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Sets the longest wait a server may ask for. When it asks for longer, its answer is handed to
    /// the caller at once, and the other calls pause this long. A [pool](Self::pool) pauses as long as any policy
    /// that draws on it wants, at least.
    pub fn max_retry_after(mut self, longest: Duration) -> Self {
        self.max_retry_after = longest;
        self
    }

    /// Sets how long an attempt may take, from when it is sent to the end of its body: one hour unless set.
    /// Waiting in the queue is not part of it, and connecting is the client's: it is, unless the client
    /// limits it.
    ///
    /// This and the three below end an attempt with [`TimedOut`](crate::TimedOut), drop it, and count as a
    /// failure with the circuit. What times out before anything has reached the caller is retried; after
    /// that the body ends with the error. They share one timer, and none is set for what is there at once.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = Some(timeout);
        self
    }

    /// Sets how long an attempt may take to the head of its response: 600 s unless set. An answer that does
    /// not stream has its head when all of it is there.
    pub fn head_timeout(mut self, timeout: Duration) -> Self {
        self.head_timeout = Some(timeout);
        self
    }

    /// Sets how long an attempt may take to the first content of its answer: 600 s unless set. Pings,
    /// comments, and that an answer begins, are not content; where no event stream is read, any bytes
    /// but blanks are.
    ///
    /// A stream is kept from its caller as long as this where it is set, so that it can be sent again, unless
    /// [`look_ahead`](Self::look_ahead) says otherwise.
    pub fn content_timeout(mut self, timeout: Duration) -> Self {
        self.content_timeout = Some(timeout);
        self
    }

    /// Sets how long an answer may go on without content once it has had some: 300 s unless set. Only
    /// the time counts in which its body is waited for: who reads slowly makes no server slow.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// Sets how long a call may take, waits, retries and the body of its answer included. A deadline in a
    /// call's own options holds as well; the earlier one ends the call, or the body, with
    /// [`DeadlinePassed`](crate::DeadlinePassed). No circuit counts it.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Sets how far a stream is looked into for its first content before its caller has it: 64 KiB and
    /// 30 s unless set, or as long as the [`content_timeout`](Self::content_timeout) where that is set.
    ///
    /// Within these bounds an error in the stream, its end or a timeout is a failed attempt, and is
    /// retried. Beyond them the caller gets what there is. Answers in JSON that announce a size of no more
    /// bytes are looked into as well.
    pub fn look_ahead(mut self, max_bytes: usize, max_wait: Duration) -> Self {
        self.look_ahead = Some((max_bytes, max_wait));
        self
    }

    /// Reads every answer to its end, at most `max_bytes` of it, before the caller receives it.
    ///
    /// An answer that breaks off, a stream without its end marker or with an error in it, is then an
    /// attempt that failed, and is retried. For those who want answers rather than streams: a stream
    /// reaches the caller only when it is complete.
    pub fn whole_answers(mut self, max_bytes: usize) -> Self {
        self.whole_answers = Some(max_bytes);
        self
    }

    /// Asks for the usage of streams where that has to be asked for: adds
    /// `"stream_options": {"include_usage": true}` to requests for a stream in OpenAI's chat and
    /// completion shapes that do not say themselves what they want. Not done unless set: the stream gets one
    /// more event, without choices, and old servers refuse what they do not know.
    ///
    /// Only bodies of `http_body_util::Full<Bytes>` and `String` can be changed; others are sent as they are.
    pub fn include_usage(mut self) -> Self {
        self.include_usage = true;
        self
    }

    /// Makes the random part of waits, pauses and cooldowns repeatable, for tests and simulations. Default:
    /// random. Not for production: processes with the same seed retry at the same instants.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    pub(crate) fn queue_limits(&self) -> QueueLimits {
        let limits = QueueLimits::new().max_wait(self.max_wait.unwrap_or(self.usual.max_wait));
        self.max_waiting.map_or(limits, |calls| limits.max_waiting(calls))
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        let usual = self.usual;
        Timeouts {
            head: self.head_timeout.unwrap_or(usual.head),
            content: self.content_timeout.unwrap_or(usual.content),
            idle: self.idle_timeout.unwrap_or(usual.idle),
            attempt: self.attempt_timeout.unwrap_or(usual.attempt),
        }
    }

    /// How long a call may take.
    pub(crate) fn ends_after(&self) -> Option<Duration> {
        self.deadline.or(self.usual.deadline)
    }

    /// How much of an answer, and for how long, is looked into before the caller has it.
    pub(crate) fn looks_ahead(&self) -> (usize, Duration) {
        let patience = self.content_timeout.unwrap_or(self.usual.patience);
        self.look_ahead.unwrap_or((LOOK_AHEAD, patience))
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::new()
    }
}
