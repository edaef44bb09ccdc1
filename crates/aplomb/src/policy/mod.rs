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
use crate::endpoint::MinThroughput;

/// The settings of an endpoint: quotas, retries, timeouts and the circuit.
///
/// A plain value without state, except for a [`Budget`] and a [`Pool`], which are handles. It is checked when an
/// [`EndpointLayer`](crate::EndpointLayer) is made of it, or by [`validate`](Self::validate).
///
/// | setting | default |
/// | --- | --- |
/// | quotas | none: the server's limits are learned |
/// | concurrency limit | none: how many calls a server takes is found when it refuses more |
/// | retries | 4, after 0.5 s doubled up to 4 s, with full jitter; no budget |
/// | longest server hint obeyed | 120 s |
/// | wait in the queue | at most 10 min, with at most 65,536 other calls |
/// | open circuit | calls wait if its cooldown is 150 s or less |
/// | head of a response, first content | 600 s, as in the official SDKs of OpenAI and Anthropic |
/// | silence after that | 300 s |
/// | attempt | one hour, which Anthropic's SDKs assume for 128,000 tokens |
/// | call | no deadline |
///
/// Most users set the quotas that they know, a preset, and the times that their callers can wait: [`max_wait`](Self::max_wait),
/// [`deadline`](Self::deadline), and the timeouts of an attempt. These are for special cases, and their defaults are better
/// than most guesses: [`trip`](Self::trip), [`cooldown`](Self::cooldown), [`ramp`](Self::ramp), [`backoff`](Self::backoff),
/// [`budget`](Self::budget), [`park`](Self::park), [`max_waiting`](Self::max_waiting), [`look_ahead`](Self::look_ahead) and
/// [`seed`](Self::seed).
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
    pub(crate) max_unanswered_retries: Option<u32>,
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
    pub(crate) retry_empty_answers: u32,
    pub(crate) min_throughput: Option<MinThroughput>,
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
            max_unanswered_retries: None,
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
            retry_empty_answers: 0,
            min_throughput: None,
            include_usage: false,
            seed: None,
            default_times: DEFAULT_TIMES,
        }
    }

    /// Adds a quota. A call costs one request, and the tokens that the provider's dialect estimates from its body
    /// or that a [`Charge`](aplomb_rate_limit::Charge) in its request's extensions specifies. They are settled as
    /// the provider does it, unless the quota [says otherwise](Quota::settle).
    ///
    /// Set the quotas that you know: they avoid the refusals by which an unknown limit is found. Set the
    /// [burst](Quota::burst) too if all of a window may be used at once.
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
    /// [`Adaptive`](aplomb_concurrency::Adaptive) limit that finds it. Default: no limit; if the server refuses more than so
    /// many calls at a time, that number is found.
    ///
    /// Set it for a server of your own that gets slower with more calls instead of refusing them, and wherever you know the
    /// number. It replaces the number that would be found.
    pub fn concurrency(mut self, limit: impl Into<Limit>) -> Self {
        self.concurrency = Some(limit.into());
        self
    }

    /// Sets the conditions that open the circuit. Default: nobody gets through; an exhausted account; a refused credential
    /// where each has a key of its own.
    ///
    /// Only for special cases: a rule about a share of failures also stops a server that answers the rest.
    pub fn trip(mut self, trip: Trip) -> Self {
        self.trip = trip;
        self
    }

    /// Sets how long the circuit stays open. Default: a probe is sent after 0.2 s, and then whenever the outage has
    /// lasted 4.5 % longer, at least 0.7 s and at most 15 s apart.
    ///
    /// Only for special cases, such as a server that must not be probed as often. A circuit with a cooldown or a ramp of
    /// its own decides by itself when it closes, by its probes and not by what else the server is seen to do.
    pub fn cooldown(mut self, cooldown: Cooldown) -> Self {
        self.cooldown = cooldown;
        self.own_recovery = true;
        self
    }

    /// Sets how calls are let in after the circuit has closed. Default: two at first, and one more with each that is
    /// accepted, or has been unanswered for four times as long as a refusal takes.
    ///
    /// Only for special cases, such as a server that has caches to warm; like [`cooldown`](Self::cooldown), it makes the circuit
    /// decide by itself.
    pub fn ramp(mut self, ramp: Ramp) -> Self {
        self.ramp = ramp;
        self.own_recovery = true;
        self
    }

    /// Rejects calls immediately while the circuit is open. Default: they wait, see [`park`](Self::park).
    ///
    /// Set it if there is something better to do than to wait: another provider, or an apology.
    pub fn fail_fast(mut self) -> Self {
        self.on_open = OnOpen::FailFast;
        self
    }

    /// Lets calls wait for an open circuit whose cooldown is at most `cooldown`. Default: 150 s, which is longer
    /// than any cooldown except that of an exhausted account or a refused credential.
    ///
    /// Only for special cases, such as a batch that waits for money: `max_wait` bounds the wait as well.
    pub fn park(mut self, cooldown: Duration) -> Self {
        self.on_open = OnOpen::Park { max: cooldown };
        self
    }

    /// Sets how long an attempt may wait in the queue, also for an open circuit. Default: 10 min.
    ///
    /// Set it to how long your callers are willing to wait before anything is sent.
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = Some(wait);
        self
    }

    /// Sets how many calls may wait in the queue. Default: 65,536.
    ///
    /// Only for special cases: to reject calls early in a service that is overloaded, or to admit more in a batch.
    pub fn max_waiting(mut self, calls: usize) -> Self {
        self.max_waiting = Some(calls);
        self
    }

    /// Sets how often a request is retried at most. Default: 4. Retries of a call that waits while nobody gets through are not
    /// counted.
    ///
    /// Set more for work that has to be completed: with a tenth of the calls failing, 4 are enough for all but one call in
    /// 100,000; with a half, for all but one in 32.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = retries;
        self
    }

    /// Sets how often a request is retried at most after an attempt whose answer never came: it timed out, or its connection was
    /// lost. Default: as often as after any other failure.
    ///
    /// Set it where answers are dear: the server may have worked on the request to its end, and a completion is paid for
    /// whether it arrives or not. What the server has certainly not begun with is not counted. With 0, such an attempt is the
    /// last one.
    pub fn max_unanswered_retries(mut self, retries: u32) -> Self {
        self.max_unanswered_retries = Some(retries);
        self
    }

    /// Sets how long to wait before a retry if the server does not say, while others get through. Default: 0.5 s doubled
    /// up to 4 s, with full jitter. When nobody gets through, calls wait in the queue instead.
    ///
    /// Only for special cases: a longer backoff makes a few answers later, and nothing else better.
    pub fn backoff(mut self, backoff: ByKind) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets a budget for retries. Default: none. Retries that wait for quotas or an open circuit are free. Clones of
    /// the policy share the budget.
    ///
    /// Only for special cases: where retries are many and the server is yours, it bounds them as a share of all calls.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Sets the longest wait that a server may ask for. If it asks for longer, the caller gets its response at once,
    /// and other calls pause this long if nobody gets through. A [pool](Self::pool) pauses as long as the longest of the policies that use
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

    /// Ends an attempt whose answer comes at a crawl although it never goes silent: fewer than `bytes_per_second` bytes of content,
    /// on average over `window`. Default: off.
    ///
    /// A token has about four bytes in English. Windows follow each other from the first content on; only the time in which the
    /// caller waits for more counts. Pings, roles and the rest of an event are not content; of tool calls and of bodies that are not
    /// streams all bytes are. A rate or a window of zero switches it off.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use aplomb::Policy;
    ///
    /// // Two tokens a second, averaged over half a minute.
    /// let policy = Policy::new().min_throughput(8, Duration::from_secs(30));
    /// # drop(policy);
    /// ```
    pub fn min_throughput(mut self, bytes_per_second: u32, window: Duration) -> Self {
        self.min_throughput = MinThroughput::new(bytes_per_second, window);
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

    /// Asks again, at most so many times in a call, for an answer that has no content: no text, no tool call, nothing of another kind.
    /// Default: 0, since some are legitimate: an answer of which all was filtered, or a model that had nothing to add.
    ///
    /// An answer that does not even say why it ended is a failed attempt in any case. What has reached the caller is not asked
    /// for again; with this set, JSON is read ahead although its size is not announced. If the last answer has no content either, the
    /// caller gets it. The other settings for retries hold too.
    pub fn retry_empty_answers(mut self, times: u32) -> Self {
        self.retry_empty_answers = times;
        self
    }

    /// Asks for the usage of streams: adds `"stream_options": {"include_usage": true}` to streaming requests in
    /// OpenAI's chat and completion format that do not say whether they want it. Default: off, since the stream gets
    /// one more event without choices, and old servers reject unknown fields.
    ///
    /// Only bodies of the types `http_body_util::Full<Bytes>` and `String`, and those of reqwest that are in memory, can
    /// be changed.
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
