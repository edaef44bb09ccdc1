//! Answers with nothing in them, and answers that come at a crawl.

use std::time::Duration;

use aplomb::provider::{Gemini, OpenAi, Provider};
use aplomb::{BrokenAnswer, EndpointLayer, Policy, TimedOut, Timeout, find};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};

const NOTHING: [&str; 3] = [
    r#"{"choices": []}"#,
    r#"{"choices": null, "usage": {"total_tokens": 3}}"#,
    r#"{"choices": [{"message": {"role": "assistant", "content": ""}}]}"#,
];
const EMPTY: &str =
    r#"{"choices": [{"message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}]}"#;
const ANSWER: &str = r#"{"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}"#;

/// Asks a server that answers with these bodies, the last of them again and again. Returns the number of attempts and
/// the body, or the error.
async fn ask(
    provider: impl Provider + 'static,
    policy: Policy,
    media_type: &'static str,
    bodies: &[&'static str],
) -> (usize, Result<Bytes, aplomb::EndpointError>) {
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (bodies, count) = (bodies.to_vec(), std::sync::Arc::clone(&sent));
    let client = service_fn(move |_: http::Request<Full<Bytes>>| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let body = bodies[number.min(bodies.len() - 1)];
        let response = http::Response::builder().header("content-type", media_type);
        let response = response.body(Full::<Bytes>::from(body)).unwrap();
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    let endpoint = EndpointLayer::with_policy(provider, policy.max_retries(3)).unwrap().layer(client);
    let request = http::Request::post("http://server/v1").body(Full::<Bytes>::default()).unwrap();
    let answer = match endpoint.oneshot(request).await {
        Ok(response) => Ok(response.into_body().collect().await.unwrap().to_bytes()),
        Err(error) => Err(error),
    };
    (sent.load(std::sync::atomic::Ordering::Relaxed), answer)
}

#[tokio::test(start_paused = true)]
async fn an_answer_with_nothing_in_it_is_a_failed_attempt() {
    for nothing in NOTHING {
        let (sent, answer) = ask(OpenAi, Policy::new(), "application/json", &[nothing, ANSWER]).await;
        assert_eq!((sent, answer.unwrap()), (2, Bytes::from(ANSWER)), "{nothing}");
        let (sent, answer) = ask(OpenAi, Policy::new(), "application/json", &[nothing]).await;
        let error = answer.unwrap_err();
        assert_eq!(sent, 4);
        assert!(
            find::<BrokenAnswer>(&error).is_some() && error.to_string().contains("nothing in it"),
            "{error}"
        );
    }
    let done = "data: {\"choices\": [{\"delta\": {\"role\": \"assistant\"}}]}\n\ndata: [DONE]\n\n";
    let whole = "data: {\"choices\": [{\"delta\": {\"content\": \"Hi\"}}]}\n\ndata: [DONE]\n\n";
    let (sent, answer) = ask(OpenAi, Policy::new(), "text/event-stream", &[done, whole]).await;
    assert_eq!((sent, answer.unwrap()), (2, Bytes::from(whole)));
    let none = r#"{"candidates": [], "usageMetadata": {"promptTokenCount": 3}}"#;
    let blocked =
        r#"{"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}}"#;
    let (sent, answer) = ask(Gemini, Policy::new(), "application/json", &[none, blocked]).await;
    assert_eq!((sent, answer.unwrap()), (2, Bytes::from(blocked)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_content_is_asked_for_again_only_where_that_is_wanted() {
    let (sent, answer) = ask(OpenAi, Policy::new(), "application/json", &[EMPTY, ANSWER]).await;
    assert_eq!((sent, answer.unwrap()), (1, Bytes::from(EMPTY)));
    let twice = Policy::new().retry_empty_answers(2);
    let (sent, answer) = ask(OpenAi, twice.clone(), "application/json", &[EMPTY, ANSWER]).await;
    assert_eq!((sent, answer.unwrap()), (2, Bytes::from(ANSWER)));
    // Some are legitimate: the last one is the answer.
    let (sent, answer) = ask(OpenAi, twice.clone(), "application/json", &[EMPTY]).await;
    assert_eq!((sent, answer.unwrap()), (3, Bytes::from(EMPTY)));
    let calls = r#"{"choices": [{"message": {"content": null, "tool_calls": [{"id": "x"}]}, "finish_reason": "tool_calls"}]}"#;
    for other in [calls, r#"{"object": "list", "data": []}"#] {
        assert_eq!(ask(OpenAi, twice.clone(), "application/json", &[other]).await.0, 1, "{other}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_at_a_crawl_ends_although_it_never_goes_silent() {
    // One letter a second.
    let client = service_fn(|_: http::Request<Full<Bytes>>| async {
        let event = "data: {\"choices\": [{\"delta\": {\"content\": \"x\"}}]}\n\n";
        let drip = stream::repeat(event).then(|event| async move {
            sleep(Duration::from_secs(1)).await;
            Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(event)))
        });
        let response = http::Response::builder().header("content-type", "text/event-stream");
        Ok::<_, std::convert::Infallible>(response.body(StreamBody::new(Box::pin(drip.take(500)))).unwrap())
    });
    for (rate, ends) in [(8, true), (1, false)] {
        let policy = Policy::new().min_throughput(rate, Duration::from_secs(30));
        let endpoint = EndpointLayer::with_policy(OpenAi, policy).unwrap().layer(client);
        let request = http::Request::post("http://server/v1").body(Full::<Bytes>::default()).unwrap();
        let mut body = endpoint.oneshot(request).await.unwrap().into_body();
        let began = Instant::now();
        let error = loop {
            if let Err(error) = body.frame().await.unwrap() {
                break error;
            }
        };
        let timed_out = find::<TimedOut>(&*error).map(TimedOut::timeout);
        // An answer without its end marker breaks off at last.
        assert_eq!(timed_out, ends.then_some(Timeout::Throughput), "{error}");
        assert_eq!(began.elapsed() < Duration::from_secs(60), ends);
    }
}
