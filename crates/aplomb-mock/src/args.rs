//! The arguments of the program.

use std::io;
use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use aplomb_mock::{Builder, Charging, Fault, Hints, Latency, Mock, Outage, Plan, WhenFull};
use clap::Parser;

use crate::parse::{
    brownout, charging, counts, duration, factors, fault, hints, latency, limit_from, outage, per_window,
    when_full,
};

/// An AI provider to test against: OpenAI's chat completions and Anthropic's messages, with limits and planned faults.
///
/// GET /stats reports what it has seen, POST /reset starts over. Durations are written 250ms, 1.5s or 2m.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Requests per minute [default: unlimited]
    #[arg(long)]
    rpm: Option<u64>,
    /// Requests that may come at once [default: a minute's worth]
    #[arg(long)]
    burst: Option<u64>,
    /// Requests in each fixed window, instead of --rpm: 100/10s
    #[arg(long, value_name = "LIMIT/WINDOW", value_parser = per_window, conflicts_with_all = ["rpm", "burst"])]
    requests_per_window: Option<(u64, Duration)>,
    /// Change the limit of requests at a time since the start: 30s=300. May be repeated
    #[arg(long, value_name = "TIME=LIMIT", value_parser = limit_from)]
    request_limit_from: Vec<(Duration, u64)>,
    /// Requests per minute that other clients send on the same limit
    #[arg(long, default_value_t = 0)]
    other_rpm: u64,
    /// Tokens per minute, input and output together [default: unlimited]
    #[arg(long)]
    tpm: Option<u64>,
    /// Tokens in each fixed window, instead of --tpm: 10000/10s
    #[arg(long, value_name = "LIMIT/WINDOW", value_parser = per_window, conflicts_with = "tpm")]
    tokens_per_window: Option<(u64, Duration)>,
    /// Change the limit of tokens at a time since the start: 30s=30000. May be repeated
    #[arg(long, value_name = "TIME=LIMIT", value_parser = limit_from)]
    token_limit_from: Vec<(Duration, u64)>,
    /// Tokens per minute that other clients use of the same limit
    #[arg(long, default_value_t = 0)]
    other_tpm: u64,
    /// Tokens of input per minute [default: unlimited]
    #[arg(long)]
    itpm: Option<u64>,
    /// Tokens of output per minute [default: unlimited]
    #[arg(long)]
    otpm: Option<u64>,
    /// Tokens that may come at once, for each limit [default: a minute's worth]
    #[arg(long)]
    token_burst: Option<u64>,
    /// How tokens count: the larger of prompt and `max_tokens` (OpenAI), their sum (Azure, Groq), the prompt and the output as it
    /// is produced (Anthropic), or their sum, corrected at the end (Bedrock)
    #[arg(long, default_value = "sum", value_name = "larger|sum|produced|corrected", value_parser = charging)]
    charging: Charging,
    /// The true tokens of a prompt over a quarter of its characters: 2, or 0.5..2 to draw one for each prompt
    #[arg(long, default_value = "1", value_name = "FACTOR", value_parser = factors)]
    input_factor: RangeInclusive<f64>,
    /// Count refused requests against the requests per minute too
    #[arg(long)]
    refused_calls_count: bool,
    /// How much to tell about limits: all, retry-after, text or none
    #[arg(long, default_value = "all", value_parser = hints)]
    hints: Hints,
    /// The seed of faults, latencies and sizes
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A fault and its share of attempts, as 503=0.05: 429, 429@DELAY, 500, 502, 503, 503@DELAY, 529, reset, hang, slow-head@DELAY,
    /// truncate, unfinished, stream-error, late-stream-error, only-pings@DELAY, late-pings@DELAY, stall. May be repeated
    #[arg(long, value_name = "KIND=RATE", value_parser = fault)]
    fault: Vec<(Fault, f64)>,
    /// Spare a prompt after this many faults in a row
    #[arg(long, default_value_t = 3)]
    max_consecutive: u32,
    /// A fault and its share of attempts, from and to these times since the start: 10s..20s=503=0.3. May be repeated
    #[arg(long, value_name = "FROM..TO=KIND=RATE", value_parser = brownout)]
    brownout: Vec<(Range<Duration>, Fault, f64)>,
    /// An outage from and to these times since the start: 10s..30s, or 10s..30s=reset (503, refuse, reset, hang). May be repeated
    #[arg(long, value_name = "FROM..TO", value_parser = outage)]
    outage: Vec<(Range<Duration>, Outage)>,
    /// The time to an answer: 50ms, 50ms..200ms (uniform), or 100ms~0.5 (lognormal: median and sigma)
    #[arg(long, value_parser = latency)]
    latency: Option<Latency>,
    /// The time to a fault that precedes the answer, such as a 503 [default: that of an answer]
    #[arg(long, value_parser = latency)]
    fault_latency: Option<Latency>,
    /// The pause between the words of a stream
    #[arg(long, value_parser = duration)]
    token_gap: Option<Duration>,
    /// The words of an answer before `max_tokens`: 32, or 8..200 to draw them for each prompt
    #[arg(long, default_value = "32", value_parser = counts)]
    answer_words: RangeInclusive<usize>,
    /// The environment variable with the API key to require [default: no key is required]
    #[arg(long, value_name = "NAME")]
    api_key_env: Option<String>,
    /// Exhaust the account after this many accepted requests
    #[arg(long, value_name = "N")]
    insufficient_quota_after: Option<u64>,
    /// Requests served at full speed; n requests above that are served at (capacity / n)² of it
    #[arg(long, value_name = "N")]
    capacity: Option<u32>,
    /// Finish work for clients that have gone away, and serve the others more slowly until then
    #[arg(long, requires = "capacity")]
    abandoned_work_goes_on: bool,
    /// Refuse requests while this many are in flight
    #[arg(long, value_name = "N")]
    max_in_flight: Option<u64>,
    /// The answer to requests above --max-in-flight: overloaded (503 or 529), 429 or 429@DELAY
    #[arg(long, default_value = "overloaded", value_parser = when_full)]
    when_full: WhenFull,
}

impl Args {
    /// Makes the builder; fails if the variable of the API key is not set.
    pub(crate) fn builder(self) -> io::Result<Builder> {
        let plan = Plan::seeded(self.seed).max_consecutive(self.max_consecutive);
        let plan = self.fault.into_iter().fold(plan, |plan, (fault, rate)| plan.rate(fault, rate));
        let mut builder = Mock::builder()
            .plan(plan)
            .hints(self.hints)
            .refused_calls_count(self.refused_calls_count)
            .latency(self.latency.unwrap_or_default())
            .token_gap(self.token_gap.unwrap_or_default())
            .charging(self.charging)
            .input_factor(self.input_factor)
            .answer_words_between(self.answer_words)
            .other_requests_per_minute(self.other_rpm)
            .other_tokens_per_minute(self.other_tpm)
            .abandoned_work_goes_on(self.abandoned_work_goes_on)
            .when_full(self.when_full);
        for (after, requests) in self.request_limit_from {
            builder = builder.request_limit_from(after, requests);
        }
        for (after, tokens) in self.token_limit_from {
            builder = builder.token_limit_from(after, tokens);
        }
        for (when, fault, rate) in self.brownout {
            builder = builder.brownout(when, fault, rate);
        }
        builder = with(builder, self.requests_per_window, |builder, (requests, window)| {
            builder.requests_per_window(requests, window)
        });
        builder = with(builder, self.tokens_per_window, |builder, (tokens, window)| {
            builder.tokens_per_window(tokens, window)
        });
        builder = with(builder, self.fault_latency, Builder::fault_latency);
        for (when, how) in self.outage {
            builder = builder.outage(when, how);
        }
        if let Some(name) = self.api_key_env {
            let key = std::env::var(&name).map_err(|error| io::Error::other(format!("{name}: {error}")))?;
            builder = builder.api_key(key);
        }
        builder = with(builder, self.rpm, Builder::requests_per_minute);
        builder = with(builder, self.burst, Builder::request_burst);
        builder = with(builder, self.tpm, Builder::tokens_per_minute);
        builder = with(builder, self.itpm, Builder::input_tokens_per_minute);
        builder = with(builder, self.otpm, Builder::output_tokens_per_minute);
        builder = with(builder, self.token_burst, Builder::token_burst);
        builder = with(builder, self.insufficient_quota_after, Builder::insufficient_quota_after);
        builder = with(builder, self.capacity, Builder::capacity);
        Ok(with(builder, self.max_in_flight, Builder::max_in_flight))
    }
}

fn with<T>(builder: Builder, value: Option<T>, set: fn(Builder, T) -> Builder) -> Builder {
    match value {
        Some(value) => set(builder, value),
        None => builder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn every_argument_is_accepted() {
        let line = "aplomb-mock --listen 127.0.0.1:0 --rpm 600 --burst 20 --tpm 90000 --token-burst 9000 --seed 7 \
                    --fault 503@2s=0.05 --fault hang=0.01 --fault late-pings@1s=0.01 --outage 10s..30s=reset --latency 50ms..200ms --token-gap 5ms \
                    --insufficient-quota-after 9 --capacity 8 --max-in-flight 80 --hints none --itpm 9000 --otpm 900 --charging produced --input-factor 0.5..2 \
                    --answer-words 8..200";
        assert!(Args::try_parse_from(line.split_whitespace()).unwrap().builder().is_ok());
        let line = "aplomb-mock --requests-per-window 100/10s --request-limit-from 30s=50 --other-rpm 60 --fault 429@1s=0.05 \
                    --tokens-per-window 9000/10s --token-limit-from 1m=900 --other-tpm 600 --fault-latency 2ms \
                    --brownout 10s..20s=500=0.3 --outage 30s..40s=refuse --capacity 8 --abandoned-work-goes-on \
                    --max-in-flight 16 --when-full 429@60s";
        assert!(Args::try_parse_from(line.split_whitespace()).unwrap().builder().is_ok());
    }

    #[test]
    fn a_missing_key_is_an_error() {
        let args = Args::try_parse_from(["aplomb-mock", "--api-key-env", "APLOMB_NO_SUCH_VARIABLE"]).unwrap();
        assert!(args.builder().is_err());
    }
}
