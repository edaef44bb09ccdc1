//! The settings of an endpoint, as a plain value.

#[cfg(feature = "serde")]
mod from_config;
mod invalid;
mod presets;
mod times;

use std::time::Duration;

use aplomb_circuit_breaker::{Cooldown, OnOpen, Ramp, Trip};
use aplomb_concurrency::Limit;
use aplomb_core::{Exponential, Jitter};
use aplomb_rate_limit::{Pool, Quota};
use aplomb_retry::{Budget, ByKind};

pub use self::invalid::InvalidPolicy;
use self::times::{DEFAULT_TIMES, DefaultTimes};

/// The settings of an endpoint: quotas, retries, timeouts and the circuit.
///
/// A plain value without state, except for a [`Budget`] and a [`Pool`], which are handles. It is checked when an
/// [`EndpointLayer`](crate::EndpointLayer) is made of it, or by [`validate`](Self::validate).
///
/// | setting | default |
/// | --- | --- |
/// | quotas | none: the server's limits are learned |
/// | concurrency limit | none |
/// | retries | 4, after 0.5 s doubled up to 60 s, with full jitter; no budget |
/// | longest server hint obeyed | 120 s |
/// | wait in the queue | at most 10 min, with at most 65,536 other calls |
/// | open circuit | calls wait if its cooldown is 150 s or less |
/// | head of a response, first content | 600 s, as in the official SDKs of OpenAI and Anthropic |
/// | silence after that | 300 s |
/// | attempt | one hour, which Anthropic's SDKs assume for 128,000 tokens |
/// | call | no deadline |
///
/// With the feature `serde` a policy can be read from a configuration file. The keys are the names of the setters;
/// times are seconds, or texts such as `"1m 30s"`:
///
/// ```toml
/// preset = "batch"              # or "interactive"; default: the table above
/// requests_per_minute = 500
/// quotas = [{ dimension = "tokens", amount = 10_000_000, window = "1d" }]
/// attempt_timeout = "10m"
/// whole_answers = 1_048_576
/// ```
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
///     "the attempt timeout of 900s is longer than the deadline of 600s",
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
    /// True if the circuit's cooldown or ramp was set: then it decides by itself when it closes.
    pub(crate) own_recovery: bool,
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
    default_times: DefaultTimes,
}

/// The backoff of a call that fails alone.
const ISOLATED: Exponential = Exponential::new(Duration::from_millis(500)).max(Duration::from_secs(4));

impl Policy {
    /// The defaults of the table above.
    pub fn new() -> Self {
        Self {
            quotas: Vec::new(),
            pool: None,
            concurrency: None,
            trip: Trip::default(),
            // A probe every 15 s is no load, and calls resume at most 15 s after an outage.
            cooldown: Cooldown::new(
                Exponential::new(Duration::from_secs(2))
                    .max(Duration::from_secs(15))
                    .jitter(Jitter::Equal),
            ),
            ramp: Ramp::default(),
            own_recovery: false,
            // Longer than any cooldown except that of an exhausted account or a refused credential.
            on_open: OnOpen::Park { max: Duration::from_secs(150) },
            max_wait: None,
            max_waiting: None,
            max_retries: 4,
            max_retry_after: Duration::from_secs(120),
            // Others get through: a retry costs one request. When nobody does, calls wait in the queue.
            backoff: ByKind::default().throttled(ISOLATED).others(ISOLATED),
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
            default_times: DEFAULT_TIMES,
        }
    }

    /// Adds a quota. A call costs one request, and the tokens that the provider's dialect estimates from its body
    /// or that a [`Charge`](aplomb_rate_limit::Charge) in its request's extensions specifies. They are settled as
    /// the provider does it, unless the quota [says otherwise](Quota::settle).
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

    /// Sets a pool of quotas that several endpoints share, in addition to their own: two models on one account,
    /// for example. Each endpoint keeps its own queue, circuit and timeouts. Calls are served in the order in which
    /// they started to wait for the pool.
    ///
    /// The limits that the server reports are learned by the pool. Its quotas are settled by debt only, unless they
    /// [say otherwise](Quota::settle). Clones of the policy use the same pool.
    ///
    /// # Examples
    ///
    /// ```
    /// use aplomb::rate_limit::{Pool, Quota};
    /// use aplomb::route::{Route, Routes};
    /// use aplomb::{EndpointLayer, Policy, provider::OpenAi};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), aplomb::InvalidPolicy> {
    /// let account = Pool::new([Quota::tokens_per_minute(200_000)]);
    /// let large = Policy::interactive().pool(&account).requests_per_minute(500);
    /// let small = Policy::batch().pool(&account).requests_per_minute(5_000);
    /// let routes = Routes::new()
    ///     .route(Route::new().model("gpt-4o"), EndpointLayer::with_policy(OpenAi, large)?)
    ///     .route(Route::new().model("gpt-4o-mini"), EndpointLayer::with_policy(OpenAi, small)?);
    /// # drop(routes);
    /// # Ok(()) }
    /// ```
    pub fn pool(mut self, pool: &Pool) -> Self {
        self.pool = Some(pool.clone());
        self
    }

    /// Sets how many calls may be in flight at a time: a number, or an
    /// [`Adaptive`](aplomb_concurrency::Adaptive) limit that finds it. Default: no limit, since providers limit
    /// rates. It is meant for servers of your own.
    pub fn concurrency(mut self, limit: impl Into<Limit>) -> Self {
        self.concurrency = Some(limit.into());
        self
    }

    /// Sets the conditions that open the circuit.
    pub fn trip(mut self, trip: Trip) -> Self {
        self.trip = trip;
        self
    }

    /// Sets how long the circuit stays open. Default: between 1 and 2 s at first, then up to 15 s.
    pub fn cooldown(mut self, cooldown: Cooldown) -> Self {
        self.cooldown = cooldown;
        self.own_recovery = true;
        self
    }

    /// Sets how calls are let in after the circuit has closed. Default: two at first, and one more with each
    /// response.
    pub fn ramp(mut self, ramp: Ramp) -> Self {
        self.ramp = ramp;
        self.own_recovery = true;
        self
    }

    /// Rejects calls immediately while the circuit is open. Default: they wait, see [`park`](Self::park).
    pub fn fail_fast(mut self) -> Self {
        self.on_open = OnOpen::FailFast;
        self
    }

    /// Lets calls wait for an open circuit whose cooldown is at most `cooldown`. Default: 150 s, which is longer
    /// than any cooldown except that of an exhausted account or a refused credential.
    pub fn park(mut self, cooldown: Duration) -> Self {
        self.on_open = OnOpen::Park { max: cooldown };
        self
    }

    /// Sets how long an attempt may wait in the queue, also for an open circuit. Default: 10 min.
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = Some(wait);
        self
    }

    /// Sets how many calls may wait in the queue. Default: 65,536.
    pub fn max_waiting(mut self, calls: usize) -> Self {
        self.max_waiting = Some(calls);
        self
    }

    /// Sets how often a request is retried at most. Default: 4.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = retries;
        self
    }

    /// Sets how long to wait before a retry if the server does not say. Default: 0.5 s doubled up to 60 s, with full
    /// jitter.
    pub fn backoff(mut self, backoff: ByKind) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets a budget for retries. Default: none. Retries that wait for quotas or an open circuit are free. Clones of
    /// the policy share the budget.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Sets the longest wait that a server may ask for. If it asks for longer, the caller gets its response at once,
    /// and other calls pause this long. A [pool](Self::pool) pauses as long as the longest of the policies that use
    /// it. Default: 120 s.
    pub fn max_retry_after(mut self, longest: Duration) -> Self {
        self.max_retry_after = longest;
        self
    }

    /// Sets how long an attempt may take, from when it is sent to the end of its body. Default: one hour. Waiting in
    /// the queue is not included; connecting is, unless the client limits it.
    ///
    /// This timeout and the three below end an attempt with [`TimedOut`](crate::TimedOut), drop it, and count as a
    /// failure in the circuit. If nothing has reached the caller yet, the attempt is retried; later the body ends
    /// with the error. They share one timer, which is not set for anything that is available at once.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = Some(timeout);
        self
    }

    /// Sets how long an attempt may take to the head of its response. Default: 600 s. The head of a completion that
    /// does not stream arrives only when the completion is finished.
    pub fn head_timeout(mut self, timeout: Duration) -> Self {
        self.head_timeout = Some(timeout);
        self
    }

    /// Sets how long an attempt may take to the first content of its response. Default: 600 s. Pings, comments and
    /// the start of a message are not content. In a body that is not an event stream, any bytes except blanks are.
    ///
    /// If set, a stream is kept from its caller this long, so that it can be retried, unless
    /// [`look_ahead`](Self::look_ahead) says otherwise.
    pub fn content_timeout(mut self, timeout: Duration) -> Self {
        self.content_timeout = Some(timeout);
        self
    }

    /// Sets how long a response may go without content after its first content. Default: 300 s. Only time in which
    /// the caller waits for the body counts: a slow reader does not make the server slow.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// Sets how long a call may take, including waits, retries and the body of its response. Default: no deadline.
    /// If a call has a deadline in its own options, the earlier one applies. It ends the call, or the body, with
    /// [`DeadlinePassed`](crate::DeadlinePassed), which the circuit does not count.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Sets how much of a stream is read, and for how long, to find its first content before the caller gets it.
    /// Default: 64 KiB and 30 s, or the [`content_timeout`](Self::content_timeout) if that is set.
    ///
    /// Within these limits an error in the stream, its end, or a timeout is a failed attempt, which is retried.
    /// Beyond them the caller gets what there is. JSON with an announced size of at most `max_bytes` is read
    /// completely.
    pub fn look_ahead(mut self, max_bytes: usize, max_wait: Duration) -> Self {
        self.look_ahead = Some((max_bytes, max_wait));
        self
    }

    /// Reads every response to its end, at most `max_bytes` of it, before the caller gets it.
    ///
    /// Then a response that breaks off, a stream without its end marker, or one that contains an error is a failed
    /// attempt, which is retried. If you want complete answers rather than streams, set this.
    pub fn whole_answers(mut self, max_bytes: usize) -> Self {
        self.whole_answers = Some(max_bytes);
        self
    }

    /// Asks for the usage of streams: adds `"stream_options": {"include_usage": true}` to streaming requests in
    /// OpenAI's chat and completion format that do not say whether they want it. Default: off, since the stream gets
    /// one more event without choices, and old servers reject unknown fields.
    ///
    /// Only bodies of the types `http_body_util::Full<Bytes>` and `String` can be changed.
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
}

impl Default for Policy {
    fn default() -> Self {
        Self::new()
    }
}
