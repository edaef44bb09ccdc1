//! Many callers that always want more, and how a server fares.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "all numbers are below a billion"
)]

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use aplomb::EndpointLayer;
use aplomb::provider::{Anthropic, AzureOpenAi, Bedrock, OpenAi, Provider};
use aplomb_mock::{Builder, Charging, Latency, Mock, Stats};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use serde_json::json;
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// A provider and its way of counting.
#[derive(Clone, Debug)]
pub(crate) struct Ways {
    pub(crate) provider: Arc<dyn Provider>,
    charging: Charging,
    path: &'static str,
}

impl Ways {
    fn new(provider: impl Provider + 'static, charging: Charging) -> Self {
        Self { provider: Arc::new(provider), charging, path: "/v1/chat/completions" }
    }

    pub(crate) fn openai() -> Self {
        Self::new(OpenAi, Charging::Larger)
    }

    pub(crate) fn azure() -> Self {
        Self::new(AzureOpenAi, Charging::Sum)
    }

    pub(crate) fn bedrock() -> Self {
        Self::new(Bedrock, Charging::Corrected)
    }

    pub(crate) fn anthropic() -> Self {
        Self { path: "/v1/messages", ..Self::new(Anthropic, Charging::Produced) }
    }

    /// Returns whether it limits input and output apart.
    pub(crate) fn has_two_limits(&self) -> bool {
        self.charging == Charging::Produced
    }

    /// A server that counts so, and takes its time.
    pub(crate) fn server(&self, seed: u64) -> Builder {
        Mock::builder()
            .charging(self.charging)
            .latency(Latency::lognormal(Duration::from_secs(1), 0.5))
            .token_gap(Duration::from_millis(20))
            .plan(aplomb_mock::Plan::seeded(seed))
            .tracked_prompts(0)
    }
}

/// The prompts of callers.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) prompt: RangeInclusive<u64>,
    pub(crate) answer: RangeInclusive<u64>,
    /// How many times as many tokens an answer may have as it has.
    pub(crate) room: u64,
}

impl Asked {
    /// From 32 to 8,000 tokens in all, small ones as likely as large ones.
    pub(crate) const MIXED: Self = Self { prompt: 16..=7_700, answer: 16..=300, room: 1 };

    /// The prompt, which begins with the length of its answer, and that length.
    fn of(&self, seed: u64, number: u64) -> (String, u64) {
        let draw = |range: &RangeInclusive<u64>, lot: u64| {
            let (low, high) = (*range.start() as f64, *range.end() as f64);
            (low * (high / low).powf(unit(seed ^ (number << 8) ^ lot))).round() as u64
        };
        let (prompt, answer) = (draw(&self.prompt, 1), draw(&self.answer, 2));
        let prompt = format!("{answer:05}-{seed:03}-{number:06}-{}", "x".repeat(prompt as usize * 4 - 17));
        (prompt, answer)
    }
}

/// Uniform between 0 and 1, by the number it is drawn for (splitmix64).
fn unit(of: u64) -> f64 {
    let mut z = of.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as f64 / u64::MAX as f64
}

/// How long the answer to a prompt is.
pub(crate) fn answer_words(prompt: &str) -> usize {
    prompt.get(..5).and_then(|words| words.parse().ok()).unwrap_or(1)
}

/// The calls of a run, as the server counted them.
#[derive(Debug)]
pub(crate) struct Run {
    /// After the first minute.
    pub(crate) warm: Stats,
    pub(crate) end: Stats,
    pub(crate) minutes: u64,
    /// Calls that failed after all retries.
    pub(crate) failed: u64,
}

impl Run {
    /// One line of figures, to be printed.
    pub(crate) fn tell(&self, of: &str, used: f64) {
        let Self { end, failed, .. } = self;
        println!(
            "{of}: {:.1} % used, {:.2} % refused ({} of {}), {failed} failed",
            100.0 * used,
            100.0 * self.refused(),
            self.count_429(),
            end.seen,
        );
    }

    /// Which share of the requests was refused with a 429.
    pub(crate) fn refused(&self) -> f64 {
        self.count_429() as f64 / self.end.seen as f64
    }

    pub(crate) fn count_429(&self) -> u64 {
        self.end.by_status.get(&429).copied().unwrap_or(0)
    }

    /// Which share was used of all that a limit allows: so much a minute, and at first as much at once as it
    /// lets be saved up.
    pub(crate) fn used(&self, of: fn(&Stats) -> u64, limit: u64, burst: u64) -> f64 {
        of(&self.end) as f64 / (limit * self.minutes + burst) as f64
    }

    /// The share of the flow after the first minute that was used.
    pub(crate) fn used_then(&self, of: fn(&Stats) -> u64, limit: u64) -> f64 {
        (of(&self.end) as f64 - of(&self.warm) as f64) / (limit * (self.minutes - 1)) as f64
    }
}

/// Each of the callers sends one prompt after another for this many minutes, every other one for a stream.
pub(crate) async fn run(
    ways: &Ways,
    layer: &EndpointLayer,
    mock: Mock,
    callers: u64,
    asked: &Asked,
    seed: u64,
    minutes: u64,
) -> Run {
    let endpoint = layer.layer(mock.clone());
    let (next, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut running = JoinSet::new();
    for _ in 0..callers {
        let (endpoint, next, failed) = (endpoint.clone(), Arc::clone(&next), Arc::clone(&failed));
        let (path, asked) = (ways.path, asked.clone());
        running.spawn(async move {
            loop {
                let number = next.fetch_add(1, Relaxed);
                let (prompt, answer) = asked.of(seed, number);
                let body = json!({
                    "model": "m",
                    "stream": number % 2 == 0,
                    "max_tokens": answer * asked.room,
                    "messages": [{"role": "user", "content": prompt}],
                });
                let request = http::Request::post(path).body(Full::<Bytes>::from(body.to_string())).unwrap();
                let answered = match endpoint.clone().oneshot(request).await {
                    Ok(response) if response.status().is_success() => {
                        response.into_body().collect().await.is_ok()
                    }
                    _ => false,
                };
                if !answered {
                    failed.fetch_add(1, Relaxed);
                    // A caller that is refused at once comes again, and not at once.
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        });
    }
    tokio::time::sleep(MINUTE).await;
    let warm = mock.stats();
    tokio::time::sleep(MINUTE * (minutes as u32 - 1)).await;
    let end = mock.stats();
    running.shutdown().await;
    Run { warm, end, minutes, failed: failed.load(Relaxed) }
}
