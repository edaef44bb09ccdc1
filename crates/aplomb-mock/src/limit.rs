//! Requests and tokens per minute, decided together: both or neither.

use std::time::Duration;

use tokio::time::Instant;

use crate::bucket::{Bucket, Level};

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dimension {
    Requests,
    Tokens,
}

/// Why a request was refused, in the numbers a provider prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) dimension: Dimension,
    pub(crate) limit: u64,
    pub(crate) used: u64,
    pub(crate) requested: u64,
    /// When it would fit; `None` for a request that never does.
    pub(crate) delay: Option<Duration>,
}

/// What all the limits say of themselves in headers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Levels {
    pub(crate) requests: Option<Level>,
    pub(crate) tokens: Option<Level>,
}

#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) requests: Option<Bucket>,
    pub(crate) tokens: Option<Bucket>,
    pub(crate) refused_calls_count: bool,
}

impl Limits {
    /// Charges one request and its tokens, or refuses both.
    pub(crate) fn admit(&mut self, tokens: u64, now: Instant) -> Result<(), Refusal> {
        for bucket in self.requests.iter_mut().chain(&mut self.tokens) {
            bucket.refill(now);
        }
        let Some(dimension) = self.refusing(tokens) else {
            if let Some(bucket) = &mut self.requests {
                bucket.charge(1);
            }
            if let Some(bucket) = &mut self.tokens {
                bucket.charge(tokens);
            }
            return Ok(());
        };
        if self.refused_calls_count
            && let Some(bucket) = &mut self.requests
        {
            bucket.charge(1);
        }
        Err(self.refusal(dimension, tokens))
    }

    pub(crate) fn levels(&self) -> Levels {
        Levels {
            requests: self.requests.as_ref().map(Bucket::level),
            tokens: self.tokens.as_ref().map(Bucket::level),
        }
    }

    /// The limit that refuses, the one with the longer wait if both do.
    fn refusing(&self, tokens: u64) -> Option<Dimension> {
        let requests = delay(self.requests.as_ref(), 1);
        let wait = delay(self.tokens.as_ref(), tokens);
        match (requests.is_zero(), wait.is_zero()) {
            (true, true) => None,
            _ if wait >= requests => Some(Dimension::Tokens),
            _ => Some(Dimension::Requests),
        }
    }

    fn refusal(&self, dimension: Dimension, tokens: u64) -> Refusal {
        let (bucket, requested) = match dimension {
            Dimension::Requests => (&self.requests, 1),
            Dimension::Tokens => (&self.tokens, tokens),
        };
        let fits = bucket.as_ref().is_none_or(|bucket| requested <= bucket.burst());
        let level = bucket.as_ref().map(Bucket::level);
        let limit = level.map_or(0, |level| level.limit);
        // Both limits must have room when the client comes back.
        let delay = delay(self.requests.as_ref(), 1).max(delay(self.tokens.as_ref(), tokens));
        Refusal {
            dimension,
            limit: if fits {
                limit
            } else {
                bucket.as_ref().map_or(0, Bucket::burst)
            },
            used: limit - level.map_or(0, |level| level.remaining),
            requested,
            delay: fits.then_some(delay),
        }
    }
}

fn delay(bucket: Option<&Bucket>, cost: u64) -> Duration {
    bucket.map_or(Duration::ZERO, |bucket| bucket.delay(cost))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(rpm: u64, tpm: u64, now: Instant) -> Limits {
        Limits {
            requests: Some(Bucket::new(rpm, rpm, now)),
            tokens: Some(Bucket::new(tpm, tpm, now)),
            refused_calls_count: false,
        }
    }

    #[test]
    fn a_refusal_by_one_charges_neither() {
        let now = Instant::now();
        let mut limits = limits(10, 100, now);
        limits.admit(100, now).unwrap();
        let refusal = limits.admit(50, now).unwrap_err();
        assert_eq!(refusal.dimension, Dimension::Tokens);
        assert_eq!(refusal.delay, Some(Duration::from_secs(30)));
        assert_eq!(limits.levels().requests.unwrap().remaining, 9);
    }

    #[test]
    fn a_request_above_the_limit_is_never_promised_a_time() {
        let now = Instant::now();
        let refusal = limits(10, 100, now).admit(101, now).unwrap_err();
        assert_eq!((refusal.limit, refusal.requested, refusal.delay), (100, 101, None));
    }

    #[test]
    fn refused_calls_that_count_put_the_next_one_off() {
        let now = Instant::now();
        let mut limits = limits(60, 100, now);
        limits.requests = Some(Bucket::new(60, 1, now));
        limits.refused_calls_count = true;
        limits.admit(1, now).unwrap();
        let half = now + Duration::from_millis(500);
        assert_eq!(limits.admit(1, half).unwrap_err().delay, Some(Duration::from_secs(1)));
        assert!(limits.admit(1, now + Duration::from_secs(1)).is_err());
        assert!(limits.admit(1, now + Duration::from_secs(2)).is_ok());
    }
}
