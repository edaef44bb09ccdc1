//! Simulations: callers before a limiter, and a provider behind it, in virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use aplomb_core::{BoxError, Classify, HttpClassifier};
use aplomb_mock::{Hints, Latency, Mock};
use aplomb_rate_limit::{Dimension, RateLimitLayer, RateLimiter, Reading};
use http::HeaderMap;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt};

/// A provider of this many requests per minute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Provider {
    pub(crate) per_minute: u64,
    pub(crate) burst: u64,
    pub(crate) hints: Hints,
    pub(crate) latency: Duration,
}

impl Provider {
    pub(crate) fn mock(self) -> Mock {
        Mock::builder()
            .requests_per_minute(self.per_minute)
            .request_burst(self.burst)
            .hints(self.hints)
            .latency(Latency::constant(self.latency))
            .build()
    }

    /// The time that this many prompts take a client that knows the limit.
    pub(crate) fn ideal(self, prompts: u64) -> Duration {
        let flow = Duration::from_secs(60) * u32::try_from(prompts.saturating_sub(self.burst)).unwrap();
        flow / u32::try_from(self.per_minute).unwrap() + self.latency
    }
}

/// The result of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) answered: u64,
    pub(crate) requests: u64,
    pub(crate) refused: u64,
    pub(crate) took: Duration,
}

/// Reads the headers of the mock's answers.
pub(crate) fn read_headers<B>(response: &http::Response<B>) -> Vec<Reading> {
    let number = |headers: &HeaderMap, name: &str| headers.get(name)?.to_str().ok()?.parse().ok();
    let headers = response.headers();
    let Some(limit) = number(headers, "x-ratelimit-limit-requests") else {
        return Vec::new();
    };
    let mut reading = Reading::of(Dimension::REQUESTS).with_limit(limit);
    if let Some(left) = number(headers, "x-ratelimit-remaining-requests") {
        reading = reading.with_remaining(left);
    }
    let reset = headers.get("x-ratelimit-reset-requests").and_then(|reset| reset.to_str().ok());
    vec![reset.map_or(reading, |reset| reading.with_reset(go_duration(reset)))]
}

/// A duration as Go writes it: `1m30.5s`, or `120ms`.
fn go_duration(text: &str) -> Duration {
    let mut sum = Duration::ZERO;
    let mut number = String::new();
    let mut units = text.chars().peekable();
    while let Some(char) = units.next() {
        if !char.is_ascii_alphabetic() {
            number.push(char);
            continue;
        }
        let is_milli = char == 'm' && units.next_if_eq(&'s').is_some();
        let unit = match char {
            'h' => 3_600.0,
            'm' if !is_milli => 60.0,
            'm' => 0.001,
            _ => 1.0,
        };
        let amount: f64 = std::mem::take(&mut number).parse().expect("a number before each unit");
        sum += Duration::from_secs_f64(amount * unit);
    }
    sum
}

fn request(number: u64) -> http::Request<String> {
    let body = format!(r#"{{"model": "m", "messages": [{{"role": "user", "content": "prompt {number}"}}]}}"#);
    http::Request::post("/v1/chat/completions").body(body).unwrap()
}

/// This many callers, each with its prompts one after another until `until`, or until the prompts are
/// over; a refused call is sent again through the limiter.
pub(crate) async fn run(
    provider: Provider,
    limiter: &RateLimiter,
    callers: u64,
    prompts: u64,
    until: Option<Duration>,
) -> Run {
    let mock = provider.mock();
    let layer = RateLimitLayer::with_limiter(limiter.clone())
        .classifier(HttpClassifier::new())
        .readings(read_headers);
    let service = layer.layer(mock.clone());
    let start = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let mut running = JoinSet::new();
    for _ in 0..callers.min(prompts) {
        let (service, next) = (service.clone(), Arc::clone(&next));
        running.spawn(async move {
            let mut answered = 0;
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= prompts {
                    return answered;
                }
                loop {
                    let response = service.clone().oneshot(request(number)).await.unwrap();
                    if response.status().is_success() {
                        answered += 1;
                        break;
                    }
                    // A hint is the call's own: a rate limit holds it back only while nobody gets through.
                    let outcome = HttpClassifier::new().classify(Ok::<_, &BoxError>(&response)).outcome();
                    sleep(outcome.retry_after().unwrap_or_default()).await;
                }
            }
        });
    }
    let answered = match until {
        Some(until) => {
            sleep(until).await;
            running.shutdown().await;
            mock.stats().accepted
        }
        None => running.join_all().await.into_iter().sum(),
    };
    let stats = mock.stats();
    Run {
        answered,
        requests: stats.seen,
        refused: stats.by_status.get(&429).copied().unwrap_or(0),
        took: start.elapsed(),
    }
}
