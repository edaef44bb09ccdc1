//! The client: its responses, errors and options are those of reqwest and of the endpoint.

use std::time::Duration;

use aplomb::provider::OpenAi;
use aplomb::route::{NoRoute, Route, Routes};
use aplomb::{BrokenAnswer, CallOptions, DeadlinePassed, EndpointLayer, Policy, Report, RouterLayer, find};
use aplomb_mock::{Fault, Mock, Plan};
use aplomb_reqwest::{Client, RequestExt, ReqwestLayer};
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

use crate::{chat, endpoint, quick};

#[tokio::test]
async fn a_call_is_retried_and_its_response_keeps_url_and_address() {
    let plan = Plan::script([Some(Fault::Unavailable), Some(Fault::Reset)]);
    let server = Mock::builder().plan(plan).start().await.unwrap();
    let client = Client::new(endpoint(), reqwest::Client::new());
    let url = format!("{}/chat/completions", server.openai_base_url());
    let response = client.post(&url).bearer_auth("key").json(&chat("hello", false)).send().await.unwrap();

    assert_eq!((response.status().as_u16(), response.url().as_str()), (200, &*url));
    assert_eq!(response.remote_addr(), Some(server.address()));
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(Report::of(&response).unwrap().sent(), 3);
    let answer: serde_json::Value = response.json().await.unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], aplomb_mock::answer("hello", 16));
}

#[tokio::test]
async fn a_client_in_one_line_has_base_url_key_and_deadline() {
    let server = Mock::builder().api_key("secret").start().await.unwrap();
    let base_url = server.openai_base_url();
    let timeout = Duration::from_secs(30);
    for (key, status) in [("secret", 200), ("wrong", 401)] {
        let client = Client::resilient(OpenAi, &base_url, key, timeout).unwrap();
        let response = client.post("/chat/completions").json(&chat("hello", false)).send().await.unwrap();
        assert_eq!(response.status(), status);
        assert!(!format!("{client:?}").contains(key), "{client:?}");
    }
    assert!(Client::resilient(OpenAi, &base_url, "a\nb", timeout).is_err());
}

#[tokio::test]
async fn a_stream_passes_and_a_broken_one_ends_with_an_error_that_can_be_taken_apart() {
    let plan = Plan::script([None, Some(Fault::LateStreamError)]);
    let server = Mock::builder().plan(plan).start().await.unwrap();
    let client = Client::new(endpoint(), reqwest::Client::new());
    let url = format!("{}/chat/completions", server.openai_base_url());
    let ask = |prompt| client.post(&url).json(&chat(prompt, true)).send();

    let whole = ask("one").await.unwrap().text().await.unwrap();
    assert!(whole.ends_with("data: [DONE]\n\n"), "{whole}");
    let broken = ask("two").await.unwrap().text().await.unwrap_err();
    assert!(find::<BrokenAnswer>(&broken).is_some(), "{broken:?}");
}

#[tokio::test]
async fn options_come_with_the_request_or_from_the_task() {
    let server = Mock::builder()
        .plan(Plan::default().attempt(1, Fault::Unavailable))
        .start()
        .await
        .unwrap();
    let client = Client::new(endpoint(), reqwest::Client::new());
    let url = format!("{}/chat/completions", server.openai_base_url());
    let once = CallOptions::new().without_retry();

    let response = client.post(&url).json(&chat("a", false)).options(once).send().await.unwrap();
    assert_eq!(response.status(), 503);
    let request = reqwest::Client::new().post(&url).json(&chat("b", false)).build().unwrap();
    let response = client.execute(request.with_options(once)).await.unwrap();
    assert_eq!(response.status(), 503);
    let response = once.scope(client.post(&url).json(&chat("c", false)).send()).await.unwrap();
    assert_eq!((response.status().as_u16(), server.stats().seen), (503, 3));
    let response = client.post(&url).json(&chat("d", false)).send().await.unwrap();
    assert_eq!((response.status().as_u16(), server.stats().seen), (200, 5));
}

#[tokio::test]
async fn a_timeout_of_the_request_limits_each_attempt_and_the_deadline_the_call() {
    let plan = Plan::script([Some(Fault::Hang), None, Some(Fault::Hang)]);
    let server = Mock::builder().plan(plan).start().await.unwrap();
    let client = Client::new(endpoint(), reqwest::Client::new());
    let url = format!("{}/chat/completions", server.openai_base_url());

    let request = client.post(&url).json(&chat("a", false)).timeout(Duration::from_millis(100));
    let response = request.send().await.unwrap();
    assert_eq!((response.status().as_u16(), server.stats().seen), (200, 2));

    let soon = CallOptions::new().with_deadline(Instant::now() + Duration::from_millis(100));
    let error = client.post(&url).json(&chat("b", false)).options(soon).send().await.unwrap_err();
    assert!(find::<DeadlinePassed>(&error).is_some(), "{error:?}");
}

#[tokio::test]
async fn a_request_that_cannot_be_built_ends_its_call_at_once_with_reqwests_error() {
    let client = Client::new(endpoint(), reqwest::Client::new());
    for url in ["", "not a url", "data:text/plain,hello", "http://[::1"] {
        let error = client.post(url).json(&chat("a", false)).send().await.unwrap_err();
        assert!(find::<reqwest::Error>(&error).is_some(), "{url}: {error:?}");
        assert_eq!(error.report().sent(), 1, "{url}: not retried");
    }
    let error = client.get("http://127.0.0.1/").header("a b", "c").send().await.unwrap_err();
    assert!(find::<reqwest::Error>(&error).unwrap().is_builder());
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_is_told_by_reqwests_error() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let layer = EndpointLayer::with_policy(OpenAi, quick().max_retries(1)).unwrap();
    let client = Client::new(layer, reqwest::Client::new());
    let error = client.get(format!("http://{closed}/")).send().await.unwrap_err();
    assert!(find::<reqwest::Error>(&error).unwrap().is_connect());
    assert_eq!(error.report().sent(), 2);
}

#[tokio::test]
async fn a_router_is_a_client_too() {
    let server = Mock::builder().start().await.unwrap();
    let routes = Routes::new().route(Route::new().model("mock"), endpoint()).reject_unmatched();
    let client = Client::new(RouterLayer::new(routes).unwrap(), reqwest::Client::new())
        .base_url(server.openai_base_url());
    let response = client.post("chat/completions").json(&chat("hello", false)).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let other = serde_json::json!({"model": "other", "messages": []});
    let error = client.post("chat/completions").json(&other).send().await.unwrap_err();
    assert!(find::<NoRoute>(&error).is_some());
}

#[tokio::test]
async fn usage_is_asked_for_where_the_policy_says_so() {
    let server = Mock::builder().start().await.unwrap();
    let layer = EndpointLayer::with_policy(OpenAi, Policy::new().include_usage()).unwrap();
    let client = Client::new(layer, reqwest::Client::new()).base_url(server.openai_base_url());
    let response = client.post("chat/completions").json(&chat("hello", true)).send().await.unwrap();
    let report = Report::of(&response).unwrap();
    assert!(response.text().await.unwrap().contains("\"usage\":{"));
    assert!(report.usage().is_some());
}

#[tokio::test]
async fn a_service_goes_around_other_layers_of_reqwest() {
    let server = Mock::builder().plan(Plan::script([Some(Fault::Unavailable)])).start().await.unwrap();
    let url = format!("{}/chat/completions", server.openai_base_url());
    let traced = tower::util::MapRequestLayer::new(|mut request: reqwest::Request| {
        request.headers_mut().insert("x-traced", http::HeaderValue::from_static("yes"));
        request
    });
    let service = ReqwestLayer::new(endpoint()).layer(traced.layer(reqwest::Client::new()));
    let request = reqwest::Client::new().post(&url).json(&chat("hello", false)).build().unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!((response.status().as_u16(), server.stats().seen), (200, 2));
}
