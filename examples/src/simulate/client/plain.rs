//! The retry loops of tenacity, backoff and `OpenAI`'s SDK.

use std::pin::Pin;
use std::time::Duration;

use http_body_util::BodyExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use super::{Ask, Http};
use crate::simulate::prompt::Prompt;

/// A retry loop around a client.
#[derive(Clone)]
pub(crate) struct Plain {
    pub(crate) http: Http,
    pub(crate) recipe: Recipe,
    /// The timeout of an attempt.
    pub(crate) timeout: Duration,
    pub(crate) seed: u64,
}

/// The kind of loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recipe {
    Tenacity,
    Backoff,
    Sdk,
}

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Failure {
    /// With this status, and the delay in `retry-after-ms` or `retry-after`.
    Status(u16, Option<Duration>),
    /// Without an answer: no connection, a reset, a timeout.
    Connection,
    /// While the answer was read, after the call that is retried had returned.
    Reading,
}

impl Recipe {
    /// The wait before the next attempt, after this many; `None` if it gives up.
    fn wait(self, attempts: u32, failure: Failure, random: &mut StdRng) -> Option<Duration> {
        if failure == Failure::Reading {
            return None;
        }
        match self {
            // U(min, min(2^(n - 1), max)), with min = 1 and max = 60; stop_after_attempt(6).
            Self::Tenacity => {
                let most = doubled(1.0, attempts - 1).min(60.0);
                (attempts < 6).then(|| Duration::from_secs_f64(random.random_range(1.0..=most)))
            }
            // U(0, 2^n) from n = 0, at most 60.
            Self::Backoff => {
                let most = doubled(1.0, attempts - 1).min(60.0);
                Some(Duration::from_secs_f64(random.random_range(0.0..=most)))
            }
            Self::Sdk => {
                let hint = match failure {
                    Failure::Status(408 | 409 | 429 | 500.., hint) => hint.filter(|hint| !hint.is_zero()),
                    Failure::Status(..) => return None,
                    Failure::Connection | Failure::Reading => None,
                };
                // It does not wait longer than two minutes.
                if attempts > 5 || hint.is_some_and(|hint| hint > Duration::from_secs(120)) {
                    return None;
                }
                let backoff = doubled(0.5, attempts - 1).min(8.0) * (1.0 - 0.25 * random.random::<f64>());
                Some(hint.unwrap_or(Duration::from_secs_f64(backoff)))
            }
        }
    }
}

fn doubled(first: f64, times: u32) -> f64 {
    first * f64::from(times.min(30)).exp2()
}

impl Plain {
    async fn attempt(&self, prompt: &Prompt) -> Result<bool, Failure> {
        let head = self.http.clone().oneshot(prompt.request());
        let Ok(Ok(response)) = timeout(self.timeout, head).await else {
            return Err(Failure::Connection);
        };
        if !response.status().is_success() {
            let number =
                |name: &str| -> Option<f64> { response.headers().get(name)?.to_str().ok()?.parse().ok() };
            let millis = number("retry-after-ms").map(|millis| millis / 1e3);
            let hint = millis.or_else(|| number("retry-after")).map(Duration::from_secs_f64);
            return Err(Failure::Status(response.status().as_u16(), hint));
        }
        let body = response.into_body().collect().await.map_err(|_| Failure::Reading)?.to_bytes();
        if prompt.is_answered_by(&body) {
            Ok(true)
        } else {
            Err(Failure::Reading)
        }
    }
}

impl Ask for Plain {
    fn ask<'a>(&'a self, prompt: &'a Prompt) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(async move {
            let mut random = StdRng::seed_from_u64(self.seed.wrapping_mul(1_000_003) ^ prompt.number);
            for attempts in 1.. {
                let failure = match self.attempt(prompt).await {
                    Ok(answered) => return answered,
                    Err(failure) => failure,
                };
                match self.recipe.wait(attempts, failure, &mut random) {
                    Some(wait) => sleep(wait).await,
                    None => break,
                }
            }
            false
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(recipe: Recipe, failure: Failure) -> Vec<Option<(f64, f64)>> {
        let mut random = StdRng::seed_from_u64(1);
        let mut of = |attempts| {
            let mut all = (0..200).map(|_| recipe.wait(attempts, failure, &mut random));
            let first = all.next()??.as_secs_f64();
            let widen = |(least, most): (f64, f64), wait: Option<Duration>| {
                let wait = wait.unwrap().as_secs_f64();
                (least.min(wait), most.max(wait))
            };
            Some(all.fold((first, first), widen))
        };
        (1..=7).map(&mut of).collect()
    }

    #[test]
    fn tenacity_waits_a_second_at_least_and_gives_up_after_six_attempts() {
        let waits = waits(Recipe::Tenacity, Failure::Connection);
        let bounds = [1.0, 2.0, 4.0, 8.0, 16.0];
        for (wait, most) in waits.iter().zip(bounds) {
            let (least, longest) = wait.unwrap();
            assert!(
                least >= 1.0 && longest <= most && longest >= 0.9 * most,
                "{least} to {longest} of {most}"
            );
        }
        assert_eq!(waits[5..], [None, None]);
    }

    #[test]
    fn backoff_waits_anything_up_to_its_bound_for_ever() {
        let waits = waits(Recipe::Backoff, Failure::Status(429, Some(Duration::from_secs(9))));
        for (wait, most) in waits.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0]) {
            let (least, longest) = wait.unwrap();
            assert!(least <= 0.1 * most && longest <= most && longest >= 0.9 * most);
        }
    }

    #[test]
    fn the_sdk_obeys_hints_up_to_two_minutes_and_retries_five_times() {
        let hinted = waits(Recipe::Sdk, Failure::Status(429, Some(Duration::from_secs(9))));
        assert!(hinted[..5].iter().all(|wait| *wait == Some((9.0, 9.0))));
        assert_eq!(hinted[5], None);
        assert_eq!(waits(Recipe::Sdk, Failure::Status(429, Some(Duration::from_secs(121))))[0], None);
        assert_eq!(waits(Recipe::Sdk, Failure::Status(400, None))[0], None);
        for (wait, most) in
            waits(Recipe::Sdk, Failure::Status(503, None)).iter().zip([0.5, 1.0, 2.0, 4.0, 8.0])
        {
            let (least, longest) = wait.unwrap();
            assert!(least >= 0.75 * most && longest <= most);
        }
    }
}
