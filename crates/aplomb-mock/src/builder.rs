//! The builder of mocks.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use crate::charging::{Charging, Dimension};
use crate::chosen::{Answer, Asked, Chooser};
use crate::config::{Brownout, Change, Config, Secret};
use crate::fault::Fault;
use crate::hints::Hints;
use crate::latency::Latency;
use crate::mock::Mock;
use crate::outage::{Outage, WhenFull, Window};
use crate::plan::Plan;
use crate::server::Server;
use crate::size::{Factor, Words};

/// Configures a [`Mock`], to be called in process ([`build`](Self::build)) or served ([`start`](Self::start)).
///
/// By default it answers every valid request at once, without limits or faults.
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it is built or started"]
pub struct Builder {
    config: Config,
}

impl Mock {
    /// Returns a builder with the defaults.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Builder {
    /// Limits requests per minute, refilled continuously. Default: unlimited; 0 counts as 1.
    pub fn requests_per_minute(mut self, requests: u64) -> Self {
        self.config.requests = Some(requests);
        self
    }

    /// Sets how many requests may come at once. Default and maximum: a minute's worth.
    pub fn request_burst(mut self, requests: u64) -> Self {
        self.config.request_burst = Some(requests);
        self
    }

    /// Limits requests in fixed windows: this many in each, the first of which starts with the mock. Replaces
    /// [`requests_per_minute`](Self::requests_per_minute). Default: none; 0 counts as 1, and the shortest window is a
    /// millisecond.
    pub fn requests_per_window(mut self, requests: u64, window: Duration) -> Self {
        (self.config.requests, self.config.request_window) = (Some(requests), Some(window));
        self
    }

    /// Changes the limit of requests at this time since the start or the last reset. Ignored without a limit. Default:
    /// never.
    pub fn request_limit_from(mut self, after: Duration, requests: u64) -> Self {
        self.config
            .changes
            .push(Change { after, dimension: Dimension::Requests, limit: requests });
        self
    }

    /// Lets other clients send this many requests per minute on the same limit, as long as it allows. Default: 0.
    pub fn other_requests_per_minute(mut self, requests: u64) -> Self {
        self.config.other_requests = requests;
        self
    }

    /// Limits tokens per minute, input and output together, refilled continuously. Default: unlimited; 0 counts as 1.
    ///
    /// [`charging`](Self::charging) decides what a request is charged, and when. A refused request is told a delay of
    /// `(used + requested − limit) × window / limit`, after which it is admitted.
    pub fn tokens_per_minute(mut self, tokens: u64) -> Self {
        self.config.tokens = Some(tokens);
        self
    }

    /// Limits tokens, input and output together, in fixed windows, as
    /// [`requests_per_window`](Self::requests_per_window) limits requests. Default: none.
    pub fn tokens_per_window(mut self, tokens: u64, window: Duration) -> Self {
        (self.config.tokens, self.config.token_window) = (Some(tokens), Some(window));
        self
    }

    /// Changes the limit of tokens, input and output together, at this time since the start or the last reset. Ignored
    /// without a limit. Default: never.
    pub fn token_limit_from(mut self, after: Duration, tokens: u64) -> Self {
        self.config.changes.push(Change { after, dimension: Dimension::Tokens, limit: tokens });
        self
    }

    /// Lets other clients use this many tokens per minute of the same limit of input and output together, as long as it
    /// allows. Default: 0.
    pub fn other_tokens_per_minute(mut self, tokens: u64) -> Self {
        self.config.other_tokens = tokens;
        self
    }

    /// Limits tokens of input per minute, in addition to all other limits. Default: unlimited; 0 counts as 1.
    pub fn input_tokens_per_minute(mut self, tokens: u64) -> Self {
        self.config.input_tokens = Some(tokens);
        self
    }

    /// Limits tokens of output per minute, in addition to all other limits. Default: unlimited; 0 counts as 1.
    pub fn output_tokens_per_minute(mut self, tokens: u64) -> Self {
        self.config.output_tokens = Some(tokens);
        self
    }

    /// Sets how many tokens may come at once, for each limit of tokens. Default and maximum: a minute's worth. A larger
    /// request is refused with a 429 that tells no delay.
    pub fn token_burst(mut self, tokens: u64) -> Self {
        self.config.token_burst = Some(tokens);
        self
    }

    /// Sets how tokens count against the limits. Default: [`Charging::Sum`].
    pub fn charging(mut self, charging: Charging) -> Self {
        self.config.charging = charging;
        self
    }

    /// Sets the true tokens of a prompt over a quarter of its characters, so that estimates are wrong. Default: 1.
    ///
    /// Each prompt has its own factor, drawn within the bounds by the seed of the [`Plan`]; half and double are equally
    /// likely. Factors are clamped to 0.01 to 100. `2.0..=2.0` doubles all. The product is rounded up.
    pub fn input_factor(mut self, bounds: RangeInclusive<f64>) -> Self {
        self.config.input_factor = Factor::between(*bounds.start(), *bounds.end());
        self
    }

    /// Sets whether refused requests count against the requests per minute too, as OpenAI documents. Default: no.
    pub fn refused_calls_count(mut self, count: bool) -> Self {
        self.config.refused_calls_count = count;
        self
    }

    /// Sets how much the mock tells about its limits. Default: [`Hints::All`].
    pub fn hints(mut self, hints: Hints) -> Self {
        self.config.hints = hints;
        self
    }

    /// Sets the plan of faults. Default: none.
    pub fn plan(mut self, plan: Plan) -> Self {
        self.config.plan = plan;
        self
    }

    /// Sets the time to the first byte of an answer. Default: none.
    pub fn latency(mut self, latency: Latency) -> Self {
        self.config.latency = latency;
        self
    }

    /// Sets the time to a fault that precedes the answer, such as a 503 or a reset. Default: that of an answer.
    ///
    /// Real refusals take milliseconds where answers take seconds. They take nothing of the [`capacity`](Self::capacity).
    pub fn fault_latency(mut self, latency: Latency) -> Self {
        self.config.fault_latency = Some(latency);
        self
    }

    /// Sets the pause between the words of a stream. Default: none.
    pub fn token_gap(mut self, gap: Duration) -> Self {
        self.config.token_gap = gap;
        self
    }

    /// Sets the words of an answer before `max_tokens`. Default: 32; minimum: 1.
    pub fn answer_words(mut self, words: usize) -> Self {
        self.config.answer_words = Words::Exactly(words);
        self
    }

    /// Draws the words of an answer before `max_tokens`: all numbers within the bounds are equally likely, and each attempt of
    /// a prompt gets the same. Minimum: 1. Empty bounds mean their start.
    pub fn answer_words_between(mut self, bounds: RangeInclusive<usize>) -> Self {
        self.config.answer_words = Words::Between(bounds);
        self
    }

    /// Sets the words of the answer to each prompt, before `max_tokens`. Minimum: 1.
    ///
    /// ```
    /// // The prompt says how long its answer is.
    /// let mock = aplomb_mock::Mock::builder().answer_words_by(|prompt| prompt.parse().unwrap_or(32));
    /// ```
    pub fn answer_words_by(mut self, words: impl Fn(&str) -> usize + Send + Sync + 'static) -> Self {
        self.config.answer_words = Words::By(Arc::new(words));
        self
    }

    /// Chooses the answer to each request: its text, tool calls, any JSON, any status. Default: the [`answer`](crate::answer) of
    /// its prompt.
    ///
    /// It is asked about requests that are accepted and get no fault instead of an answer. Other paths and methods are
    /// accepted too, and bodies that are not JSON; such a request is one of an empty model, and its path is the prompt.
    /// Against limits of output tokens, an answer counts as the usual one.
    ///
    /// ```
    /// use aplomb_mock::{Answer, Mock};
    /// use serde_json::json;
    ///
    /// let mock = Mock::builder().answer_with(|asked| match asked.prompt() {
    ///     "weather" => Answer::tool_call("get_weather", json!({"city": "Rome"})),
    ///     "broken" => Answer::json(json!({"no": "choices"})),
    ///     "forbidden" => Answer::json(json!({"error": {"message": "no"}})).status(403),
    ///     _ if asked.path() == "/v1/models" => Answer::json(json!({"object": "list", "data": []})),
    ///     prompt => Answer::text(prompt.to_uppercase()),
    /// });
    /// # drop(mock);
    /// ```
    pub fn answer_with(mut self, answer: impl Fn(&Asked<'_>) -> Answer + Send + Sync + 'static) -> Self {
        self.config.answer_with = Some(Chooser(Arc::new(answer)));
        self
    }

    /// Adds an outage from and to these times since the start or the last reset. Default: none.
    pub fn outage(mut self, when: Range<Duration>, how: Outage) -> Self {
        self.config.outages.push(Window { when, how });
        self
    }

    /// Deals `fault` to this share of attempts, from 0 to 1, from and to these times since the start or the last reset, in
    /// addition to the plan. Default: none.
    ///
    /// The attempts that it hits are drawn by the seed of the [`Plan`].
    pub fn brownout(mut self, when: Range<Duration>, fault: Fault, rate: f64) -> Self {
        self.config.brownouts.push(Brownout { when, fault, rate });
        self
    }

    /// Exhausts the account after this many accepted requests. Default: never.
    ///
    /// From then on every request gets OpenAI's 429 `insufficient_quota`, or Anthropic's 429 with the error code
    /// `enforced_spend_limit_reached`. Neither tells a delay.
    pub fn insufficient_quota_after(mut self, requests: u64) -> Self {
        self.config.insufficient_quota_after = Some(requests);
        self
    }

    /// Sets how many requests are served at full speed. Default: any number; 0 counts as 1.
    ///
    /// While `n` requests above the capacity wait for the head of their answer, each is served at `(capacity / n)²` of full
    /// speed: the more are sent, the fewer are done. A client that goes away leaves more to the others.
    pub fn capacity(mut self, requests: u32) -> Self {
        self.config.capacity = Some(requests);
        self
    }

    /// Sets whether work for a client that has gone away is finished, and slows the others down until then. Default: no;
    /// without effect without a [`capacity`](Self::capacity).
    pub fn abandoned_work_goes_on(mut self, goes_on: bool) -> Self {
        self.config.abandoned_work_goes_on = goes_on;
        self
    }

    /// Refuses requests while this many are in flight, including hanging ones and unfinished streams. Default: never.
    pub fn max_in_flight(mut self, requests: u64) -> Self {
        self.config.max_in_flight = Some(requests);
        self
    }

    /// Sets the answer to requests above [`max_in_flight`](Self::max_in_flight). Default: [`WhenFull::Overloaded`].
    pub fn when_full(mut self, answer: WhenFull) -> Self {
        self.config.when_full = answer;
        self
    }

    /// Requires this key: `Authorization: Bearer …` in OpenAI's API, `x-api-key` in Anthropic's. Default: any key, or none.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.config.api_key = Some(Secret(key.into()));
        self
    }

    /// Sets the largest request body, in bytes. A larger one gets a 413. Default: 4 MiB.
    pub fn max_body_bytes(mut self, bytes: usize) -> Self {
        self.config.max_body_bytes = bytes;
        self
    }

    /// Sets how many different prompts are tracked, at about 100 bytes each. Default: 100,000.
    ///
    /// Further ones count in the totals only, and their faults go by the number of the request instead of the attempt.
    pub fn tracked_prompts(mut self, prompts: usize) -> Self {
        self.config.tracked_prompts = prompts;
        self
    }

    /// Builds the mock, to be called in process. Its time starts now.
    pub fn build(self) -> Mock {
        Mock::new(self.config)
    }

    /// Serves the mock on a free port of the loopback interface until the [`Server`] is dropped.
    ///
    /// # Errors
    ///
    /// Fails if there is no free port.
    pub async fn start(self) -> io::Result<Server> {
        self.bind((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Serves the mock on this address until the [`Server`] is dropped.
    ///
    /// # Errors
    ///
    /// Fails if the address cannot be bound.
    pub async fn bind(self, address: SocketAddr) -> io::Result<Server> {
        Server::bind(self.build(), address).await
    }
}
