//! The behaviour of a server, as plain data.

use std::ops::Range;
use std::time::Duration;

use super::draw::Draw;

/// How a server treats its requests. The default answers all of them after a second.
#[derive(Clone, Debug)]
pub struct World {
    /// The time from a request to the head of its answer, if nothing slows the server down.
    pub latency: Latency,
    /// The number of requests that it works on at a time, and the effect of more.
    pub work: Work,
    /// Its rate limits. A request has to fit in all of them.
    pub limits: Vec<Limit>,
    /// The number of requests that may be unanswered at a time; more are refused.
    pub places: Option<(usize, Refusal)>,
    /// Faults that happen at random, whatever the load.
    pub faults: Vec<Fault>,
    /// Outages.
    pub outages: Vec<Outage>,
    /// Prompts that are always refused: one in this many, and how.
    pub poisoned: Option<(u64, Refusal)>,
    /// The number of requests that the account pays for.
    pub funds: Option<u64>,
    /// The words of a streamed answer and the pause between them, if clients ask for streams.
    pub stream: Option<(usize, Duration)>,
    /// The time to a refusal or failure.
    pub fails_in: Duration,
}

impl Default for World {
    fn default() -> Self {
        Self {
            latency: Latency::Fixed(Duration::from_secs(1)),
            work: Work::Everything,
            limits: Vec::new(),
            places: None,
            faults: Vec::new(),
            outages: Vec::new(),
            poisoned: None,
            funds: None,
            stream: None,
            fails_in: Duration::from_millis(2),
        }
    }
}

/// The time that answers take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Latency {
    /// All take the same time.
    Fixed(Duration),
    /// All times from the first to the second are equally likely.
    Uniform(Duration, Duration),
    /// A heavy tail: half take longer than this median, and one in a hundred ten times as long.
    HeavyTailed(Duration),
}

impl Latency {
    pub(crate) fn draw(self, draw: Draw) -> Duration {
        match self {
            Self::Fixed(latency) => latency,
            Self::Uniform(least, most) => least + most.saturating_sub(least).mul_f64(draw.share()),
            // Lognormal with σ = 1: the 99th percentile is e^2.33 medians.
            Self::HeavyTailed(median) => median.mul_f64(draw.normal().clamp(-4.0, 4.0).exp()),
        }
    }
}

/// The capacity of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Any number, at full speed.
    Everything,
    /// This many; the others wait for their turn.
    Queue(usize),
    /// This many at full speed. Of `n` requests beyond that each is served at `(capacity / n)²` of full speed, work
    /// that no client waits for any more included. Above ten times the capacity, requests are answered with 503.
    Collapse(u32),
}

/// A rate limit.
#[derive(Clone, Debug)]
pub struct Limit {
    /// The amount that is counted.
    pub unit: Unit,
    /// The amount in each window.
    pub amount: u64,
    /// The window.
    pub per: Duration,
    /// The way it refills.
    pub shape: Shape,
    /// The headers of answers about it.
    pub headers: Headers,
    /// True if refused requests count.
    pub refused_count: bool,
    /// Changes of the amount, with their times.
    pub changes: Vec<(Duration, u64)>,
    /// Other clients of the same quota: when, and how many units per second they ask for.
    pub others: Vec<(Range<Duration>, f64)>,
    /// How a request above the limit is refused.
    pub refusal: Refusal,
}

impl Limit {
    /// A bucket of this many requests per window that holds `burst` of them. It is not announced in headers, and a
    /// refusal names the exact delay.
    pub fn bucket(amount: u64, per: Duration, burst: u64) -> Self {
        Self {
            unit: Unit::Requests,
            amount,
            per,
            shape: Shape::Bucket { burst },
            headers: Headers::None,
            refused_count: false,
            changes: Vec::new(),
            others: Vec::new(),
            refusal: Refusal::too_many(Hint::Exact),
        }
    }

    /// A fixed window of this many requests, otherwise like [`bucket`](Self::bucket).
    pub fn window(amount: u64, per: Duration) -> Self {
        let shape = Shape::Window { elapsed: Duration::ZERO };
        Self { shape, ..Self::bucket(amount, per, amount) }
    }

    /// Announces the limit in headers.
    #[must_use]
    pub fn headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// Sets how requests above the limit are refused.
    #[must_use]
    pub fn refusal(mut self, refusal: Refusal) -> Self {
        self.refusal = refusal;
        self
    }

    /// Counts refused requests too.
    #[must_use]
    pub fn refused_count(mut self) -> Self {
        self.refused_count = true;
        self
    }

    /// Counts tokens instead of requests.
    #[must_use]
    pub fn tokens(mut self, given_back: bool) -> Self {
        self.unit = Unit::Tokens { given_back };
        self
    }
}

/// The amount that a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Requests.
    Requests,
    /// The tokens of the prompt and the most that its answer may have, on arrival.
    Tokens {
        /// True if those that the answer did not need are returned at its end.
        given_back: bool,
    },
}

/// The way a limit refills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Continuously, up to this many at once.
    Bucket {
        /// The most that the bucket holds.
        burst: u64,
    },
    /// All of it at the start of each window.
    Window {
        /// How much of the first window had passed at the start.
        elapsed: Duration,
    },
    /// As in `HAProxy`'s stick tables: the count of this window, and of the last one in proportion to the rest of this one.
    Sliding,
}

/// The headers of answers about a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headers {
    /// None.
    None,
    /// `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, as `OpenAI` does: the reset is when the limit is full
    /// again.
    OpenAi,
    /// The same, with a reset that is always a minute.
    OpenAiWrongReset,
    /// `x-ratelimit-{limit,remaining,reset}`, as Envoy does: no window, and a reset in whole seconds.
    Bare,
}

/// How a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// When to come back.
    pub hint: Hint,
    /// The body.
    pub words: Words,
}

impl Refusal {
    /// A 429 in `OpenAI`'s words.
    pub const fn too_many(hint: Hint) -> Self {
        Self { status: 429, hint, words: Words::OpenAi }
    }

    /// A 503 in `OpenAI`'s words, without a hint.
    pub const fn overloaded() -> Self {
        Self { status: 503, hint: Hint::None, words: Words::OpenAi }
    }
}

/// The delay that a refusal names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// None.
    None,
    /// The true one, in `retry-after`, `retry-after-ms` and the text; none if there is none.
    Exact,
    /// `retry-after` with this many seconds, true or not.
    Seconds(u64),
}

/// The body of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// `OpenAI`'s JSON.
    OpenAi,
    /// nginx's page.
    Html,
    /// Envoy's line.
    Line,
    /// `LiteLLM`'s JSON about too many requests at a time.
    LiteLlmParallel,
    /// `LiteLLM`'s JSON about a key's requests per minute.
    LiteLlmRequests,
    /// `OpenAI`'s JSON for a request that is larger than the limit.
    TooLarge,
}

/// Something that happens at random to a share of requests.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The share.
    pub share: f64,
    /// When; `None` for always.
    pub when: Option<Range<Duration>>,
    /// The fault.
    pub what: What,
}

/// A fault of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It is refused.
    Refused(Refusal),
    /// It fails with this status.
    Fails(u16),
    /// Its connection is reset.
    Reset,
    /// It is never answered.
    Hangs,
    /// It fails with this status after the time of an answer.
    FailsLate(u16),
    /// Its stream begins with an error about the server.
    StreamError,
    /// Its stream begins with an error about a rate limit, "try again in 1.2s".
    StreamRefused,
    /// Its stream breaks halfway.
    StreamBreaks,
}

/// An outage.
#[derive(Clone, Debug)]
pub struct Outage {
    /// When.
    pub when: Range<Duration>,
    /// The fault that requests meet.
    pub how: Down,
}

/// The fault that requests meet during an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// No connection. Requests in flight when it begins are reset.
    Refuses,
    /// Connections are reset at once, also those in flight when it begins.
    Resets,
    /// Nothing is answered, also those in flight when it begins.
    Hangs,
    /// A 503; requests in flight when it begins are answered.
    Unavailable,
}

impl World {
    /// The outage at this time, if any.
    pub(crate) fn outage(&self, now: Duration) -> Option<&Outage> {
        self.outages.iter().find(|outage| outage.when.contains(&now))
    }

    /// The next outage that interrupts requests in flight at `now`, if it begins before `end`.
    pub(crate) fn broken(&self, now: Duration, end: Duration) -> Option<&Outage> {
        let breaks = |outage: &&Outage| {
            outage.how != Down::Unavailable && outage.when.start > now && outage.when.start < end
        };
        self.outages.iter().filter(breaks).min_by_key(|outage| outage.when.start)
    }

    /// The refusal of a prompt that is always refused.
    pub(crate) fn poison(&self, prompt: u64) -> Option<Refusal> {
        let (every, refusal) = self.poisoned?;
        (prompt % every == every / 2).then_some(refusal)
    }
}
