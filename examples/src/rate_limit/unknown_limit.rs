//! A hundred prompts at once, for a provider whose limit the client does not know.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aplomb::BoxError;
use aplomb::rate_limit::RateLimitLayer;
use aplomb_mock::{Hints, Latency, Mock};
use http::StatusCode;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};

/// The number of prompts, and of workers.
pub const PROMPTS: u32 = 100;
/// How many requests the provider accepts at once; after that it accepts one a second.
pub const BURST: u32 = 10;

const LATENCY: Duration = Duration::from_millis(200);

/// The requests that the provider saw.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// The time of each request, in seconds.
    pub sent: Vec<f64>,
    /// The time of each refusal.
    pub refused: Vec<f64>,
    /// The time of each answer.
    pub answered: Vec<f64>,
}

/// The times at which a client that knows the limit would send its requests, in seconds.
pub fn ideal() -> impl Iterator<Item = f64> {
    (1..=PROMPTS).map(|number| f64::from(number.saturating_sub(BURST)))
}

/// Gets every prompt answered, through a rate limit without quotas, with or without learning. A refused request is sent
/// again, through the limit.
///
/// # Errors
///
/// Fails if the rate limit rejects a request, which does not happen here.
pub async fn run(learning: bool) -> Result<Run, BoxError> {
    let mock = Mock::builder()
        .requests_per_minute(60)
        .request_burst(BURST.into())
        .hints(Hints::RetryAfter)
        .latency(Latency::constant(LATENCY))
        .build();
    let seen = Arc::new(Mutex::new(Run::default()));
    let service = RateLimitLayer::new([]).learning(learning).layer(watched(mock, Arc::clone(&seen)));
    let mut workers = JoinSet::new();
    for number in 0..PROMPTS {
        let service = service.clone();
        workers.spawn(async move {
            while !service.clone().oneshot(request(number)?).await?.status().is_success() {}
            Ok::<_, BoxError>(())
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    let run = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(run)
}

fn request(number: u32) -> http::Result<http::Request<String>> {
    let body = format!(r#"{{"model": "m", "messages": [{{"role": "user", "content": "prompt {number}"}}]}}"#);
    http::Request::post("/v1/chat/completions").body(body)
}

/// The provider, with a record of the requests it sees.
fn watched(
    mock: Mock,
    seen: Arc<Mutex<Run>>,
) -> impl Service<
    http::Request<String>,
    Response = http::Response<aplomb_mock::Body>,
    Error = BoxError,
    Future: Send,
> + Clone
+ Send
+ 'static {
    let start = Instant::now();
    let note = move |what: fn(&mut Run) -> &mut Vec<f64>| {
        let at = start.elapsed().as_secs_f64();
        what(&mut seen.lock().unwrap_or_else(PoisonError::into_inner)).push(at);
    };
    service_fn(move |request| {
        let (mock, note) = (mock.clone(), note.clone());
        async move {
            note(|run| &mut run.sent);
            let response = mock.oneshot(request).await?;
            match response.status() {
                StatusCode::TOO_MANY_REQUESTS => note(|run| &mut run.refused),
                _ => note(|run| &mut run.answered),
            }
            Ok(response)
        }
    })
}
