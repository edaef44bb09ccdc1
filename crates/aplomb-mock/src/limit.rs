//! The limits per minute, which admit a request all together or not at all.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::bucket::{Bucket, Level};
use crate::charging::{Charge, Dimension};
use crate::config::Config;

/// Why a request was refused, in the numbers a provider prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) dimension: Dimension,
    pub(crate) limit: u64,
    pub(crate) used: u64,
    pub(crate) requested: u64,
    /// The period of the limit: a minute, or the length of a window.
    pub(crate) period: Duration,
    /// The time until it would fit; `None` for a request that never does.
    pub(crate) delay: Option<Duration>,
}

/// The state of all limits, as headers report it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Levels {
    pub(crate) requests: Option<Level>,
    pub(crate) tokens: Option<Level>,
    pub(crate) input_tokens: Option<Level>,
    pub(crate) output_tokens: Option<Level>,
}

impl Levels {
    /// The limit of tokens with the least left, which Anthropic's `tokens` headers report.
    pub(crate) fn tightest(&self) -> Option<Level> {
        let all = [self.tokens, self.input_tokens, self.output_tokens];
        all.into_iter().flatten().min_by_key(|level| level.remaining)
    }
}

#[derive(Debug)]
pub(crate) struct Limits {
    buckets: Vec<(Dimension, Bucket)>,
    /// Changes to come, by time.
    changes: VecDeque<(Instant, Dimension, u64)>,
    refused_calls_count: bool,
}

impl Limits {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        let bucket =
            |dimension, limit: Option<u64>| Some((dimension, bucket(config, dimension, limit?, now)));
        let buckets = [
            bucket(Dimension::Requests, config.requests),
            bucket(Dimension::Tokens, config.tokens),
            bucket(Dimension::InputTokens, config.input_tokens),
            bucket(Dimension::OutputTokens, config.output_tokens),
        ];
        let mut changes: Vec<_> = config
            .changes
            .iter()
            .filter_map(|change| Some((now.checked_add(change.after)?, change.dimension, change.limit)))
            .collect();
        changes.sort_by_key(|(at, ..)| *at);
        Self {
            buckets: buckets.into_iter().flatten().collect(),
            changes: changes.into(),
            refused_calls_count: config.refused_calls_count,
        }
    }

    /// Charges one request and its tokens, or refuses both.
    ///
    /// A limit refuses when it is used up, even if the request costs nothing of it.
    pub(crate) fn admit(&mut self, charge: &Charge, now: Instant) -> Result<(), Refusal> {
        self.refill(now);
        let refused = self.refusal(charge).is_some();
        for (dimension, bucket) in &mut self.buckets {
            if !refused || (self.refused_calls_count && *dimension == Dimension::Requests) {
                bucket.charge(dimension.cost(charge));
            }
        }
        // The delay is computed after charging: a refused call that counts delays itself.
        match self.refusal(charge).filter(|_| refused) {
            Some(refusal) => Err(refusal),
            None => Ok(()),
        }
    }

    /// Charges tokens that have been used, even if there are fewer.
    pub(crate) fn owe(&mut self, charge: &Charge, now: Instant) {
        self.refill(now);
        for (dimension, bucket) in self.of_tokens() {
            bucket.owe(dimension.cost(charge));
        }
    }

    /// Gives back tokens that were charged and not used.
    pub(crate) fn give_back(&mut self, charge: &Charge, now: Instant) {
        self.refill(now);
        for (dimension, bucket) in self.of_tokens() {
            bucket.give_back(dimension.cost(charge));
        }
    }

    pub(crate) fn levels(&self) -> Levels {
        let mut levels = Levels::default();
        for (dimension, bucket) in &self.buckets {
            let level = match dimension {
                Dimension::Requests => &mut levels.requests,
                Dimension::Tokens => &mut levels.tokens,
                Dimension::InputTokens => &mut levels.input_tokens,
                Dimension::OutputTokens => &mut levels.output_tokens,
            };
            *level = Some(bucket.level());
        }
        levels
    }

    fn refill(&mut self, now: Instant) {
        while let Some((at, dimension, limit)) = self.changes.front().copied().filter(|(at, ..)| *at <= now) {
            self.changes.pop_front();
            for (_, bucket) in self.buckets.iter_mut().filter(|(changed, _)| *changed == dimension) {
                bucket.refill(at);
                bucket.set_limit(limit);
            }
        }
        for (_, bucket) in &mut self.buckets {
            bucket.refill(now);
        }
    }

    fn of_tokens(&mut self) -> impl Iterator<Item = &mut (Dimension, Bucket)> {
        self.buckets.iter_mut().filter(|(dimension, _)| *dimension != Dimension::Requests)
    }

    /// The refusal of a request: by a limit it never fits, or else by the one with the longest delay.
    fn refusal(&self, charge: &Charge) -> Option<Refusal> {
        let asked = self.buckets.iter().map(|(dimension, bucket)| {
            let requested = dimension.cost(charge).max(1);
            (dimension, bucket, requested, requested > bucket.burst(), bucket.delay(requested))
        });
        // After the longest delay, all limits have room.
        let (dimension, bucket, requested, never, delay) =
            asked.max_by_key(|(_, _, _, never, delay)| (*never, *delay))?;
        if delay.is_zero() {
            return None;
        }
        let Level { limit, remaining, .. } = bucket.level();
        Some(Refusal {
            dimension: *dimension,
            limit: if never { bucket.burst() } else { limit },
            used: limit - remaining,
            requested,
            period: bucket.period(),
            delay: (!never).then_some(delay),
        })
    }
}

fn bucket(config: &Config, dimension: Dimension, limit: u64, now: Instant) -> Bucket {
    let (burst, window, others) = match dimension {
        Dimension::Requests => (config.request_burst, config.request_window, config.other_requests),
        Dimension::Tokens => (config.token_burst, config.token_window, config.other_tokens),
        Dimension::InputTokens | Dimension::OutputTokens => (config.token_burst, None, 0),
    };
    let bucket = match window {
        Some(window) => Bucket::windowed(limit, window, now),
        None => Bucket::continuous(limit, burst, now),
    };
    bucket.shared_with(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(rpm: u64, tpm: u64, now: Instant) -> Limits {
        let config = Config { requests: Some(rpm), tokens: Some(tpm), ..Config::default() };
        Limits::new(&config, now)
    }

    fn tokens(total: u64) -> Charge {
        Charge { input: total, output: 0, total }
    }

    #[test]
    fn a_refusal_by_one_charges_neither() {
        let now = Instant::now();
        let mut limits = limits(10, 100, now);
        limits.admit(&tokens(100), now).unwrap();
        let refusal = limits.admit(&tokens(50), now).unwrap_err();
        assert_eq!(refusal.dimension, Dimension::Tokens);
        assert_eq!(refusal.delay, Some(Duration::from_secs(30)));
        assert_eq!(limits.levels().requests.unwrap().remaining, 9);
    }

    #[test]
    fn a_request_above_the_limit_is_never_promised_a_time() {
        let now = Instant::now();
        let mut limits = limits(1, 100, now);
        let refusal = limits.admit(&tokens(101), now).unwrap_err();
        assert_eq!((refusal.limit, refusal.requested, refusal.delay), (100, 101, None));
        // Not even where another limit puts it off for longer.
        limits.admit(&tokens(1), now).unwrap();
        let refusal = limits.admit(&tokens(101), now).unwrap_err();
        assert_eq!((refusal.dimension, refusal.delay), (Dimension::Tokens, None));
    }

    #[test]
    fn refused_calls_that_count_put_the_next_one_off() {
        let now = Instant::now();
        let config = Config {
            requests: Some(60),
            request_burst: Some(1),
            refused_calls_count: true,
            ..Config::default()
        };
        let mut limits = Limits::new(&config, now);
        limits.admit(&tokens(1), now).unwrap();
        let half = now + Duration::from_millis(500);
        assert_eq!(limits.admit(&tokens(1), half).unwrap_err().delay, Some(Duration::from_secs(1)));
        assert!(limits.admit(&tokens(1), now + Duration::from_secs(1)).is_err());
        assert!(limits.admit(&tokens(1), now + Duration::from_secs(2)).is_ok());
    }

    #[test]
    fn output_that_is_owed_keeps_requests_out_that_charge_none() {
        let now = Instant::now();
        let config = Config { input_tokens: Some(600), output_tokens: Some(60), ..Config::default() };
        let mut limits = Limits::new(&config, now);
        limits.admit(&tokens(10), now).unwrap();
        limits.owe(&Charge::output(65), now);
        let refusal = limits.admit(&tokens(10), now).unwrap_err();
        assert_eq!((refusal.dimension, refusal.requested), (Dimension::OutputTokens, 1));
        assert_eq!(refusal.delay, Some(Duration::from_secs(6)));
        assert_eq!(limits.levels().tightest().unwrap().limit, 60);
        assert!(limits.admit(&tokens(10), now + Duration::from_secs(6)).is_ok());
        assert_eq!(limits.levels().input_tokens.unwrap().remaining, 590);
    }
}
