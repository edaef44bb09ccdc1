//! The cost of the adapter in memory: a body is not copied, and a call makes few allocations beyond the endpoint's.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::System;
use std::convert::Infallible;

use aplomb::EndpointLayer;
use aplomb::provider::OpenAi;
use aplomb_reqwest::ReqwestLayer;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use reqwest::{Request, Response};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};
use tower::{Layer, Service, service_fn};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const URL: &str = "http://api.example.com/v1/chat/completions";
const ANSWER: &str = r#"{"choices": [{"message": {"content": "Hi!"}}], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}"#;

fn answer<B: From<&'static str>>() -> http::Response<B> {
    http::Response::builder()
        .header("content-type", "application/json")
        .body(ANSWER.into())
        .unwrap()
}

fn request(prompt: &Bytes) -> Request {
    let mut request = Request::new(http::Method::POST, URL.parse().unwrap());
    *request.body_mut() = Some(prompt.clone().into());
    request
}

/// The cost of a call with reqwest's types.
async fn of_reqwest(service: &mut impl Service<Request, Response = Response>, prompt: &Bytes) -> Stats {
    let region = Region::new(HEAP);
    let response = service.call(request(prompt)).await.ok().unwrap();
    assert!(!response.bytes().await.unwrap().is_empty());
    region.change()
}

/// The cost of a call with http's types.
async fn of_http<B>(
    service: &mut impl Service<http::Request<Full<Bytes>>, Response = http::Response<B>>,
    prompt: &Bytes,
) -> Stats
where
    B: http_body::Body<Data = Bytes>,
{
    let region = Region::new(HEAP);
    let request = http::Request::post(URL).body(Full::new(prompt.clone())).unwrap();
    let response = service.call(request).await.ok().unwrap();
    assert!(!response.into_body().collect().await.ok().unwrap().to_bytes().is_empty());
    region.change()
}

#[tokio::test]
async fn a_body_of_a_mebibyte_is_not_copied_and_a_call_makes_few_allocations() {
    let mut client =
        service_fn(async |_: Request| Ok::<_, Infallible>(Response::from(answer::<&'static str>())));
    let mut peer =
        service_fn(async |_: http::Request<Full<Bytes>>| Ok::<_, Infallible>(answer::<Full<Bytes>>()));
    let layer = EndpointLayer::new(OpenAi);
    let mut adapter = ReqwestLayer::new(layer.clone()).layer(client);
    let mut endpoint = layer.layer(peer);

    let long = format!(
        r#"{{"model": "m", "messages": [{{"role": "user", "content": "{}"}}]}}"#,
        "a".repeat(1 << 20)
    );
    for (prompt, is_long) in [
        (Bytes::from_static(br#"{"model": "m", "messages": []}"#), false),
        (long.into(), true),
    ] {
        for _ in 0..64 {
            of_reqwest(&mut adapter, &prompt).await;
            of_http(&mut endpoint, &prompt).await;
        }
        let [with, without] = [
            of_reqwest(&mut adapter, &prompt).await,
            of_reqwest(&mut client, &prompt).await,
        ];
        let [inside, bare] = [
            of_http(&mut endpoint, &prompt).await,
            of_http(&mut peer, &prompt).await,
        ];
        let beyond = (with.allocations - without.allocations) - (inside.allocations - bare.allocations);
        println!("{beyond} allocations beyond the endpoint; {} bytes in all", with.bytes_allocated);
        assert!(beyond <= 10, "{beyond}");
        assert!(!is_long || with.bytes_allocated < 64 * 1024, "{}", with.bytes_allocated);
    }
}
