//! hyper-util's client behind an endpoint.

use std::time::Duration;

use aplomb::core::{Copied, Exponential, Recorded};
use aplomb::provider::{Anthropic, OpenAi, Provider};
use aplomb::rate_limit::Quota;
use aplomb::retry::{ByKind, RetryLayer};
use aplomb::{BoxError, BrokenAnswer, EndpointLayer, Policy, find};
use aplomb_mock::{Fault, Latency, Mock, Plan, answer};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};

use crate::{chat, flaky, message};

fn client<B>() -> Client<HttpConnector, B>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    Client::builder(TokioExecutor::new()).build_http()
}

async fn all_answered(
    provider: impl Provider + 'static,
    path: &str,
    body: impl Fn(&str) -> String,
    server: &aplomb_mock::Server,
) {
    let endpoint = EndpointLayer::with_policy(
        provider,
        Policy::new()
            .quotas([Quota::requests_per_second(1_000)])
            .attempt_timeout(Duration::from_millis(250))
            .max_retries(20)
            .whole_answers(1 << 20),
    )
    .unwrap()
    .layer(client());
    let mut calls = JoinSet::new();
    for number in 0..60 {
        let prompt = format!("prompt {number}");
        let request = http::Request::post(format!("{}{path}", server.base_url()))
            .header("content-type", "application/json")
            .body(Full::<Bytes>::from(body(&prompt)))
            .unwrap();
        let call = endpoint.clone().oneshot(request);
        calls.spawn(async move {
            let response = call.await?;
            assert!(response.status().is_success());
            let text = response.into_body().collect().await?.to_bytes();
            let expected = answer(&prompt, 16);
            let last = expected.rsplit(' ').next().unwrap();
            assert!(String::from_utf8_lossy(&text).contains(last));
            Ok::<_, BoxError>(())
        });
    }
    for answered in calls.join_all().await {
        answered.unwrap();
    }
}

/// Meets `fault` with its first request, and is answered with the second, or not at all.
async fn meets(
    fault: Fault,
    provider: impl Provider + 'static,
    path: &str,
    body: String,
    retries: u32,
) -> Result<u64, aplomb::EndpointError> {
    let plan = Plan::script([Some(fault)]);
    let latency = Latency::constant(Duration::from_millis(1));
    let server = Mock::builder().latency(latency).plan(plan).start().await.unwrap();
    let quickly = Exponential::new(Duration::from_millis(20));
    let policy = Policy::new()
        .attempt_timeout(Duration::from_millis(500))
        .content_timeout(Duration::from_millis(400))
        .idle_timeout(Duration::from_millis(400))
        .backoff(ByKind::default().others(quickly))
        .max_retries(retries)
        .whole_answers(1 << 20);
    let endpoint = EndpointLayer::with_policy(provider, policy).unwrap().layer(client());
    let request = http::Request::post(format!("{}{path}", server.base_url()))
        .header("content-type", "application/json")
        .body(Full::<Bytes>::from(body))
        .unwrap();
    let response = endpoint.oneshot(request).await?;
    let (status, text) = (response.status(), response.into_body().collect().await.unwrap().to_bytes());
    let last = answer("hello", 16).rsplit(' ').next().unwrap().to_owned();
    let is_answered = status.is_success() && String::from_utf8_lossy(&text).contains(&last);
    assert!(is_answered || retries == 0, "{fault:?} {path}: {status}");
    Ok(server.stats().seen)
}

#[tokio::test]
async fn every_fault_is_survived_or_called_what_it_is_in_both_apis_streaming_or_not() {
    let mut calls = JoinSet::new();
    for fault in Fault::each(Duration::from_millis(50)) {
        for stream in [false, true] {
            calls.spawn(async move {
                let (hello, words) = (chat("hello", stream), message("hello", stream));
                let openai = meets(fault, OpenAi, "/v1/chat/completions", hello.clone(), 5).await;
                let anthropic = meets(fault, Anthropic, "/v1/messages", words, 5).await;
                for seen in [openai, anthropic] {
                    // A slow head is not a failure.
                    let is_harmless =
                        matches!(fault, Fault::SlowHead(_)) || (!stream && is_of_streams(fault));
                    assert!(seen.unwrap() >= if is_harmless { 1 } else { 2 }, "{fault:?} {stream}");
                }
                // Without a retry: a response that fails, or an error that says what happened.
                if let Err(error) = meets(fault, OpenAi, "/v1/chat/completions", hello, 0).await {
                    let report = error.report();
                    assert_eq!(report.sent(), 1, "{fault:?}: {error}");
                    assert!(
                        report.outcome().is_some_and(|outcome| !outcome.is_success()),
                        "{fault:?}: {error}"
                    );
                }
            });
        }
    }
    calls.join_all().await;
}

/// Faults that only a stream can have, or that leave an answer that does not stream whole.
fn is_of_streams(fault: Fault) -> bool {
    matches!(fault, Fault::Unfinished | Fault::StreamError | Fault::LateStreamError)
}

#[tokio::test]
async fn everything_is_answered_in_both_apis_streaming_or_not() {
    for stream in [false, true] {
        let server = flaky(3).start().await.unwrap();
        all_answered(OpenAi, "/v1/chat/completions", |prompt| chat(prompt, stream), &server).await;
        let server = flaky(4).start().await.unwrap();
        all_answered(Anthropic, "/v1/messages", |prompt| message(prompt, stream), &server).await;
    }
}

#[tokio::test]
async fn a_connection_is_used_again_after_a_failure_whose_body_was_drained() {
    let server = Mock::builder()
        .plan(Plan::script([Some(Fault::Unavailable), Some(Fault::Overloaded)]))
        .start()
        .await
        .unwrap();
    let retry = RetryLayer::new().backoff(Duration::from_millis(10));
    let request = http::Request::post(format!("{}/chat/completions", server.openai_base_url()))
        .body(Full::<Bytes>::from(chat("hello", false)))
        .unwrap();
    let response = retry.replay(Copied).layer(client()).oneshot(request).await.unwrap();
    assert!(response.status().is_success());
    assert_eq!((server.stats().seen, server.stats().connections), (3, 1));
}

#[tokio::test]
async fn a_streaming_request_body_is_recorded_and_sent_again() {
    let server = Mock::builder()
        .plan(Plan::script([Some(Fault::Reset), Some(Fault::Unavailable)]))
        .start()
        .await
        .unwrap();
    let body = chat("hello from a stream", false);
    let frames: Vec<_> = body
        .as_bytes()
        .chunks(10)
        .map(|chunk| Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::copy_from_slice(chunk))))
        .collect();
    let request = http::Request::post(format!("{}/chat/completions", server.openai_base_url()))
        .body(http_body_util::StreamBody::new(futures_util::stream::iter(frames)))
        .unwrap();
    let retry = RetryLayer::new().backoff(Duration::from_millis(10)).replay(Recorded::default());
    let response = retry.layer(client()).oneshot(request).await.unwrap();
    assert!(response.status().is_success());
    assert_eq!(server.prompt("hello from a stream").seen, 3);
}

#[tokio::test]
async fn a_stream_that_is_not_asked_for_as_a_whole_reaches_the_caller_as_it_comes() {
    let server = Mock::builder().token_gap(Duration::from_millis(5)).start().await.unwrap();
    let layer = EndpointLayer::new(OpenAi);
    let handle = layer.handle();
    let request = http::Request::post(format!("{}/chat/completions", server.openai_base_url()))
        .body(Full::<Bytes>::from(chat("hello", true)))
        .unwrap();
    let response = layer.layer(client()).oneshot(request).await.unwrap();
    assert_eq!(handle.in_flight(), 1, "the call lasts until its stream has ended");
    let mut body = response.into_body();
    let mut frames = 0;
    while let Some(frame) = body.frame().await {
        frame.unwrap();
        frames += 1;
    }
    assert!(frames > 3, "{frames} frames");
    assert_eq!(handle.in_flight(), 0);
}

#[tokio::test]
async fn a_stream_that_begins_with_an_error_is_retried_and_one_that_breaks_later_ends_with_an_error() {
    let first = answer("hello", 16).split(' ').next().unwrap().to_owned();
    for fault in [
        Fault::StreamError,
        Fault::LateStreamError,
        Fault::Unfinished,
        Fault::Truncate,
    ] {
        for openai in [true, false] {
            let mock = Mock::builder().plan(Plan::script([Some(fault)]));
            let server = mock.token_gap(Duration::from_millis(1)).start().await.unwrap();
            let (provider, path, body) = if openai {
                (Box::new(OpenAi) as Box<dyn Provider>, "/v1/chat/completions", chat("hello", true))
            } else {
                (Box::new(Anthropic) as Box<dyn Provider>, "/v1/messages", message("hello", true))
            };
            let request = http::Request::post(format!("{}{path}", server.base_url()))
                .header("content-type", "application/json")
                .body(Full::<Bytes>::from(body))
                .unwrap();
            let quickly = Exponential::new(Duration::from_millis(10));
            let layer = EndpointLayer::with_policy(
                provider,
                Policy::new().backoff(ByKind::default().others(quickly)),
            )
            .unwrap();
            let mut body = layer.layer(client()).oneshot(request).await.unwrap().into_body();
            let (mut text, mut error) = (String::new(), None);
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => text.push_str(&String::from_utf8_lossy(frame.data_ref().unwrap())),
                    Err(broken) => error = Some(broken),
                }
            }
            assert!(text.contains(&first), "{fault:?}: {text}");
            let at_first = fault == Fault::StreamError;
            assert_eq!((error.is_none(), server.stats().seen), (at_first, 1 + u64::from(at_first)));
            let broken = error.is_some_and(|error| find::<BrokenAnswer>(&*error).is_some());
            assert_eq!(broken, !matches!(fault, Fault::StreamError | Fault::Truncate), "{fault:?}");
        }
    }
}

// A request that cannot succeed by waiting is sent once, does not count in the circuit, and says why it failed.
#[tokio::test]
async fn a_request_that_the_client_cannot_send_is_not_retried() {
    let server = Mock::builder().start().await.unwrap();
    let https = server.base_url().replace("http://", "https://");
    for (uri, says) in [
        ("/v1/chat/completions".to_owned(), "UserAbsoluteUriRequired"),
        (https, "invalid URL, scheme is not http"),
        ("ftp://localhost/".to_owned(), "invalid URL, scheme is not http"),
    ] {
        let layer = EndpointLayer::new(OpenAi);
        let handle = layer.handle();
        let request = http::Request::post(&uri).body(Full::<Bytes>::from(chat("hello", false))).unwrap();
        let error = layer.layer(client()).oneshot(request).await.unwrap_err();
        let report = error.report();
        assert_eq!(report.sent(), 1, "{error}");
        assert_eq!(report.outcome().unwrap().kind(), aplomb::Kind::Permanent, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(handle.circuit().unwrap().window().failures(), 0);
    }
}
