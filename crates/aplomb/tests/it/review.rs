//! Found in review: fails, and says why it should not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use aplomb::Policy;
use aplomb::rate_limit::{Pool, Quota};
use bytes::Bytes;
use http_body_util::Full;
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};

use crate::calls::{chat, under};

/// `Policy::batch` says that a server may ask for ten minutes, and its calls wait so long; with a pool beside it they
/// are refused after the first 429 that asks for more than two, as the policy's `max_retry_after` is only set for the
/// endpoint's own quotas (`endpoint/gates.rs`), and the pool keeps its own 120 s.
async fn a_batch_waits_as_long_as_the_server_asks(policy: Policy) {
    let sent = Arc::new(AtomicU32::new(0));
    let client = service_fn(move |_: http::Request<Full<Bytes>>| {
        let first = sent.fetch_add(1, Relaxed) == 0;
        async move {
            let answer = http::Response::builder();
            let answer = if first { answer.status(429).header("retry-after", "300") } else { answer };
            Ok::<_, std::io::Error>(answer.header("content-type", "application/json").body(Full::from("{}")).unwrap())
        }
    });
    let start = Instant::now();
    let answer = under(policy).layer(client).oneshot(chat("p", false)).await;
    let answer = answer.unwrap_or_else(|error| panic!("after {:?}: {error}", start.elapsed()));
    assert_eq!(answer.status(), 200);
    assert!(start.elapsed() >= Duration::from_secs(300));
}

/// Holds.
#[tokio::test(start_paused = true)]
async fn a_batch_alone_waits_as_long_as_the_server_asks() {
    a_batch_waits_as_long_as_the_server_asks(Policy::batch()).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_in_a_pool_waits_as_long_as_the_server_asks() {
    let pool = Pool::new([Quota::requests_per_minute(60)]);
    a_batch_waits_as_long_as_the_server_asks(Policy::batch().pool(&pool)).await;
}

/// Holds: a wait that no clock can count to ends nothing but the call.
#[tokio::test(start_paused = true)]
async fn an_absurd_wait_panics_nowhere() {
    for (header, body) in [
        ("18446744073709551615", "{}"),
        ("9223372036", "{}"),
        ("x", r#"{"error": {"retry_after": 1.8e19}}"#),
        ("x", r#"{"error": {"retry_after": 9.2e18}}"#),
        ("x", r#"{"error": {"message": "try again in 18446744073709551615s"}}"#),
        ("x", r#"{"error": {"details": [{"retryDelay": {"seconds": 18446744073709551615}}]}}"#),
    ] {
        for status in [429, 503, 402, 500] {
            for batch in [true, false] {
                let pool = Pool::new([Quota::requests_per_minute(600)]);
                let client = service_fn(move |_: http::Request<Full<Bytes>>| async move {
                    let answer = http::Response::builder().status(status).header("retry-after", header);
                    Ok::<_, std::io::Error>(answer.body(Full::from(body)).unwrap())
                });
                let policy = if batch { Policy::batch().max_wait(Duration::from_secs(60)) } else { Policy::new() };
                let policy = policy.pool(&pool).max_retry_after(Duration::MAX).max_retries(2);
                let Ok(layer) = aplomb::EndpointLayer::with_policy(aplomb::provider::Generic, policy) else { panic!("invalid") };
                let service = layer.layer(client);
                for _ in 0..8 {
                    let call = service.clone().oneshot(chat("p", false));
                    let _ = tokio::time::timeout(Duration::from_secs(3_600), call).await;
                }
                let _ = format!("{:?}", pool.snapshot());
            }
        }
    }
}

/// Issue 7 names OpenAI's images. Their streams are handed to the caller as broken, and count against the circuit.
#[tokio::test(start_paused = true)]
async fn a_stream_of_images_reaches_the_caller_whole() {
    use http_body_util::BodyExt;
    let body = "event: image_generation.partial_image\n\
        data: {\"type\": \"image_generation.partial_image\", \"b64_json\": \"aGk=\", \"partial_image_index\": 0}\n\n\
        event: image_generation.completed\n\
        data: {\"type\": \"image_generation.completed\", \"b64_json\": \"aGk=\", \
        \"usage\": {\"input_tokens\": 50, \"output_tokens\": 50, \"total_tokens\": 100}}\n\n";
    let sent = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&sent);
    let client = service_fn(move |_: http::Request<Full<Bytes>>| {
        count.fetch_add(1, Relaxed);
        async move {
            let answer = http::Response::builder().header("content-type", "text/event-stream");
            Ok::<_, std::io::Error>(answer.body(Full::from(body)).unwrap())
        }
    });
    let request = http::Request::post("https://api.openai.com/v1/images/generations")
        .body(Full::from(r#"{"model": "gpt-image-1", "prompt": "p", "stream": true}"#))
        .unwrap();
    let answer = under(Policy::new()).layer(client).oneshot(request).await;
    let whole = match answer {
        Ok(answer) => answer.into_body().collect().await.map(|body| body.to_bytes()).map_err(|e| e.to_string()),
        Err(error) => Err(error.to_string()),
    };
    assert_eq!((whole, sent.load(Relaxed)), (Ok(Bytes::from(body)), 1));
}
