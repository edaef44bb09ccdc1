//! The charge of a request, before it is sent and afterwards.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aplomb::provider::{Anthropic, AzureOpenAi, Bedrock, Groq, OpenAi, Provider};
use aplomb::rate_limit::{Charge, Quota, RateLimited, Settle};
use aplomb::{EndpointLayer, Policy, Report, find};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::calls::{chat, under};
use crate::clients::{quick, silent};
use crate::script::{Reply, Server, Step, data, done, word};

const S: Duration = Duration::from_secs(1);

type Request = http::Request<Full<Bytes>>;

/// A prompt of 1,000 tokens, at four characters per token, and at most this many for the answer.
fn ask(max_tokens: u64) -> http::Request<Full<Bytes>> {
    let body = json!({
        "model": "m",
        "stream": true,
        "max_tokens": max_tokens,
        "messages": [{"role": "user", "content": "four".repeat(1_000)}],
    });
    http::Request::post("/v1/chat/completions").body(Full::from(body.to_string())).unwrap()
}

fn tokens() -> Policy {
    Policy::new().tokens_per_minute(100_000)
}

/// An answer that has consumed this many tokens.
fn answer(input: u64, output: u64, cached: u64) -> Reply {
    let usage = json!({"prompt_tokens": input, "completion_tokens": output,
        "prompt_tokens_details": {"cached_tokens": cached}});
    Reply::stream([
        word("hi"),
        data(format!("data: {}\n\n", json!({"choices": [], "usage": usage}))),
        done(),
    ])
}

/// The part of the quota that is taken while the call is under way, and when it has ended.
async fn taken<P: Provider + 'static>(
    provider: P,
    policy: Policy,
    reply: Reply,
    max_tokens: u64,
) -> [i64; 2] {
    let layer = EndpointLayer::with_policy(provider, policy).unwrap();
    let handle = layer.handle();
    let taken = || 100_000 - handle.available()[0].1;
    let response = layer.layer(Server::new([reply])).oneshot(ask(max_tokens)).await.unwrap();
    let before = taken();
    response.into_body().collect().await.unwrap();
    [before, taken()]
}

#[tokio::test(start_paused = true)]
async fn promise_21_each_provider_reserves_and_settles_as_it_charges() {
    // Fewer tokens than were reserved.
    let small = || answer(900, 100, 0);
    assert_eq!(taken(OpenAi, tokens(), small(), 3_000).await, [3_000, 3_000], "the larger of both, kept");
    assert_eq!(taken(AzureOpenAi, tokens(), small(), 3_000).await, [4_000, 4_000], "both, kept");
    assert_eq!(taken(Bedrock, tokens(), small(), 3_000).await, [4_000, 1_000], "both, corrected");
    assert_eq!(taken(Anthropic, tokens(), small(), 3_000).await, [2_000, 1_000], "as produced");
    // More.
    let large = || answer(1_500, 5_000, 0);
    assert_eq!(taken(OpenAi, tokens(), large(), 3_000).await[1], 3_000, "what it has reserved it keeps");
    assert_eq!(taken(Anthropic, tokens(), large(), 3_000).await[1], 6_500);
    assert_eq!(taken(Bedrock, tokens(), large(), 3_000).await[1], 6_500);
    // Tokens read from a cache do not count with Anthropic.
    assert_eq!(taken(Anthropic, tokens(), answer(1_000, 100, 800), 3_000).await[1], 300);
    // A quota that says so itself is settled so.
    let corrected = Policy::new().quota(Quota::tokens_per_minute(100_000).settle(Settle::Correct));
    assert_eq!(taken(OpenAi, corrected, small(), 3_000).await, [3_000, 1_000]);
}

#[tokio::test(start_paused = true)]
async fn promise_21_a_broken_answer_gives_nothing_back_and_owes_what_it_has_used() {
    let broken = |input, output| {
        let mut reply = answer(input, output, 0);
        *reply.steps.last_mut().unwrap() = Step::Cut;
        reply
    };
    for (reply, left) in [(broken(900, 100), 4_000), (broken(9_000, 100), 9_100)] {
        let layer = EndpointLayer::with_policy(Bedrock, tokens()).unwrap();
        let response = layer.layer(Server::new([reply])).oneshot(ask(3_000)).await.unwrap();
        response.into_body().collect().await.unwrap_err();
        assert_eq!(100_000 - layer.handle().available()[0].1, left);
    }
}

#[tokio::test(start_paused = true)]
async fn the_report_has_the_usage_as_the_provider_told_it() {
    let layer = EndpointLayer::with_policy(Anthropic, tokens()).unwrap();
    let response = layer.layer(Server::new([answer(1_000, 100, 800)])).oneshot(ask(3_000)).await.unwrap();
    let report = Report::of(&response).unwrap();
    response.into_body().collect().await.unwrap();
    let usage = report.usage().unwrap();
    assert_eq!((usage.input(), usage.cached_input(), usage.output()), (Some(1_000), Some(800), Some(100)));
}

#[tokio::test(start_paused = true)]
async fn what_a_caller_says_goes_before_the_estimate_and_what_asks_nothing_costs_nothing() {
    let layer = under(tokens());
    let (handle, endpoint) = (layer.handle(), layer.layer(Server::new([answer(1, 1, 0)])));
    let mut request = ask(3_000);
    request.extensions_mut().insert(Charge::request().input_tokens(7));
    endpoint.clone().oneshot(request).await.unwrap();
    assert_eq!(handle.available()[0].1, 100_000 - 7);
    endpoint
        .clone()
        .oneshot(http::Request::get("/v1/models").body(Full::<Bytes>::default()).unwrap())
        .await
        .unwrap();
    assert_eq!(handle.available()[0].1, 100_000 - 7);
    // Embeddings have no output. A body that is not JSON gets the default estimate.
    let embed = json!({"model": "m", "input": "four".repeat(100)}).to_string();
    let request = http::Request::post("/v1/embeddings").body(Full::<Bytes>::from(embed)).unwrap();
    endpoint.clone().oneshot(request).await.unwrap();
    assert_eq!(handle.available()[0].1, 100_000 - 107);

    // More than the whole quota is refused at once, and nothing is sent.
    let error = endpoint.oneshot(ask(200_000)).await.unwrap_err();
    assert!(find::<RateLimited>(&error).is_some() && error.report().sent() == 0, "{error}");
}

#[tokio::test(start_paused = true)]
async fn with_nothing_configured_tokens_are_estimated_once_the_server_tells_of_them() {
    let mut reply = answer(1_000, 10, 0);
    for (name, value) in [
        ("x-ratelimit-limit-tokens", "100000"),
        ("x-ratelimit-remaining-tokens", "97000"),
        ("x-ratelimit-reset-tokens", "1.8s"),
    ] {
        reply.headers.push((name, value.to_owned()));
    }
    let layer = EndpointLayer::new(OpenAi);
    let (handle, endpoint) = (layer.handle(), layer.layer(Server::new([reply, answer(1_000, 10, 0)])));
    endpoint.clone().oneshot(ask(3_000)).await.unwrap().into_body().collect().await.unwrap();
    let left = || handle.available().iter().find(|(quota, _)| quota.amount() == 100_000).unwrap().1;
    let before = left();
    endpoint.oneshot(ask(3_000)).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(before - left(), 3_000);
}

type Bodies = Arc<Mutex<Vec<(Option<u64>, Value)>>>;

/// Records requests: the announced length, and the body.
fn keeps<B>(
    bodies: &Bodies,
) -> impl Service<http::Request<B>, Response = http::Response<Full<Bytes>>, Error = std::io::Error, Future: Send>
+ Clone
+ use<B>
where
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug> + Send + 'static,
{
    let bodies = Arc::clone(bodies);
    service_fn(move |request: http::Request<B>| {
        let bodies = Arc::clone(&bodies);
        async move {
            let (parts, body) = request.into_parts();
            let length =
                parts.headers.get("content-length").map(|value| value.to_str().unwrap().parse().unwrap());
            let body = body.collect().await.unwrap().to_bytes();
            assert!(length.is_none_or(|length: u64| length == body.len() as u64));
            bodies.lock().unwrap().push((length, serde_json::from_slice(&body).unwrap()));
            Ok(http::Response::new(Full::from("{}")))
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_asked_for_its_usage_where_that_is_wanted() {
    let bodies = Bodies::default();
    let asks = under(Policy::new().include_usage());
    let mut announced = ask(5);
    let length = announced.body().clone().collect().await.unwrap().to_bytes().len();
    announced.headers_mut().insert("content-length", length.into());
    asks.layer(keeps(&bodies)).oneshot(announced).await.unwrap();
    asks.layer(keeps(&bodies))
        .oneshot(ask(5).map(|_| r#"{"stream": true}"#.to_owned()))
        .await
        .unwrap();
    let silent = r#"{"stream": true, "stream_options": {"include_usage": false}}"#;
    asks.layer(keeps(&bodies)).oneshot(ask(5).map(|_| silent.to_owned())).await.unwrap();
    under(Policy::new()).layer(keeps(&bodies)).oneshot(ask(5)).await.unwrap();
    let bodies = bodies.lock().unwrap();
    let asked: Vec<_> =
        bodies.iter().map(|(_, body)| body["stream_options"]["include_usage"].as_bool()).collect();
    assert_eq!(asked, [Some(true), Some(true), Some(false), None]);
    assert_eq!(bodies[0].0, Some(length as u64 + 40), "its length is announced anew");
    assert_eq!(bodies[0].1["messages"], bodies[3].1["messages"]);
}

/// A digest of the old body is wrong for the new one, and a signature over it must stay right.
#[tokio::test(start_paused = true)]
async fn asking_for_usage_drops_digests_and_leaves_signed_bodies_alone() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keeps = service_fn({
        let seen = Arc::clone(&seen);
        move |request: http::Request<String>| {
            seen.lock().unwrap().push((request.headers().clone(), request.body().clone()));
            std::future::ready(Ok::<_, std::convert::Infallible>(http::Response::new(Full::<Bytes>::from(
                "{}",
            ))))
        }
    });
    let asks = under(Policy::new().include_usage());
    let body = r#"{"stream": true}"#;
    let with = |name: &'static str, value: &'static str| {
        let mut request = ask(5).map(|_| body.to_owned());
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    for name in ["content-digest", "digest", "content-md5", "x-own"] {
        asks.layer(keeps.clone()).oneshot(with(name, "x")).await.unwrap();
    }
    asks.layer(keeps).oneshot(with("authorization", "AWS4-HMAC-SHA256 x")).await.unwrap();
    let seen = seen.lock().unwrap();
    for (name, kept) in [
        ("content-digest", false),
        ("digest", false),
        ("content-md5", false),
        ("x-own", true),
    ] {
        assert_eq!(seen.iter().any(|(headers, _)| headers.contains_key(name)), kept, "{name}");
    }
    let changed: Vec<_> = seen.iter().map(|(_, seen)| seen != body).collect();
    assert_eq!(changed, [true, true, true, true, false]);
}

/// It is charged when it arrives, whatever can be read of it.
#[tokio::test(start_paused = true)]
async fn a_prompt_that_cannot_be_read_costs_something() {
    let words = "word ".repeat(10_000);
    let half_an_emoji = format!(r#"{{"messages":[{{"role":"user","content":"{words}\ud83d"}}]}}"#);
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let deep_tools =
        format!(r#"{{"tools":{deep},"messages":[{{"role":"user","content":"{words}"}}],"max_tokens":9}}"#);
    let marked = format!("\u{feff}{{\"messages\":[{{\"role\":\"user\",\"content\":\"{words}\"}}]}}");
    for body in [half_an_emoji, deep_tools, marked] {
        let layer = under(tokens());
        let (handle, server) = (layer.handle(), Server::new([Reply::of("application/json", [data("{}")])]));
        let request = http::Request::post("/v1/chat/completions").body(body).unwrap();
        layer.layer(server).oneshot(request).await.unwrap().into_body().collect().await.unwrap();
        let left = handle.available()[0].1;
        assert!((86_000..=87_500).contains(&left), "{left}");
    }
}

// A guessed output is no reason to reject a request forever: the smallest deployment at Azure has
// 1,000 tokens per minute.
#[tokio::test(start_paused = true)]
async fn a_guess_of_the_output_refuses_nothing_for_ever() {
    let layer = EndpointLayer::with_policy(AzureOpenAi, Policy::new().tokens_per_minute(1_000)).unwrap();
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hello"}]}"#;
    let request: Request = http::Request::post("/openai/deployments/m/chat/completions")
        .body(Full::from(body))
        .unwrap();
    let result = layer.layer(quick()).oneshot(request).await;
    assert!(result.is_ok(), "{}", result.unwrap_err());
}

// The same where the limit is learned: the server would have answered.
#[tokio::test(start_paused = true)]
async fn a_guess_of_the_output_refuses_nothing_for_ever_where_the_limit_is_learned() {
    let mut reply = Reply::json(200);
    reply.headers.extend([
        ("x-ratelimit-limit-tokens", "1000".to_owned()),
        ("x-ratelimit-remaining-tokens", "990".to_owned()),
        ("x-ratelimit-reset-tokens", "1s".to_owned()),
    ]);
    let layer = EndpointLayer::new(Groq);
    let endpoint = layer.layer(Server::new([reply]));
    for call in 0..3 {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"hello"}]}"#;
        let request: Request =
            http::Request::post("/openai/v1/chat/completions").body(Full::from(body)).unwrap();
        let result = endpoint.clone().oneshot(request).await;
        assert!(result.is_ok(), "{call}: {}", result.unwrap_err());
        result.unwrap().into_body().collect().await.unwrap();
        tokio::time::sleep(60 * S).await;
    }
}

/// Claude reports 5,000 tokens of output, and breaks off.
fn broken_claude() -> Server {
    Server::new([Reply::stream([
        data(
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}\n\n",
        ),
        data(
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n",
        ),
        data(
            "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"output_tokens\":5000}}\n\n",
        ),
        Step::Cut,
    ])])
}

async fn output_left_after_broken_claude(policy: Policy) -> i64 {
    let policy = policy.output_tokens_per_minute(100_000).max_retries(0);
    let layer = EndpointLayer::with_policy(Anthropic, policy).unwrap();
    let body =
        r#"{"model":"m","stream":true,"max_tokens":8000,"messages":[{"role":"user","content":"hello"}]}"#;
    let request: Request = http::Request::post("/v1/messages").body(Full::from(body)).unwrap();
    if let Ok(response) = layer.layer(broken_claude()).oneshot(request).await {
        response.into_body().collect().await.err().unwrap();
    }
    layer.handle().available()[0].1
}

// The usage that a failed attempt reported is owed, whether its caller had begun to read or not.
#[tokio::test(start_paused = true)]
async fn what_a_broken_answer_used_is_owed_where_answers_are_whole() {
    assert_eq!(output_left_after_broken_claude(Policy::new()).await, 95_000);
    assert_eq!(output_left_after_broken_claude(Policy::new().whole_answers(1 << 20)).await, 95_000);
}

// Limits are remembered so that a later run does not start blind: tokens are counted before the first answer reports
// them.
#[tokio::test(start_paused = true)]
async fn a_token_quota_that_is_remembered_is_drawn_on_from_the_first_call_on() {
    let mut reply = Reply::json(200);
    reply.headers.extend([
        ("x-ratelimit-limit-tokens", "200000".to_owned()),
        ("x-ratelimit-remaining-tokens", "199900".to_owned()),
        ("x-ratelimit-reset-tokens", "30ms".to_owned()),
    ]);
    let before = under(Policy::new());
    before.layer(Server::new([reply])).oneshot(chat("hello", false)).await.unwrap();
    let learned = before.handle().learned();
    let layer = under(Policy::new());
    let handle = layer.handle();
    handle.remember(&learned);
    assert_eq!(handle.available().len(), 1);
    let _call = tokio::spawn(layer.layer(silent()).oneshot(chat(&"word ".repeat(40_000), false)));
    tokio::task::yield_now().await;
    let left = handle.available()[0].1;
    assert!(left < 160_000, "{left}");
}

// A limit that was learned in the first attempt counts in the second.
#[tokio::test(start_paused = true)]
async fn a_retry_draws_on_the_token_quota_that_was_learned_meanwhile() {
    let mut down = Reply::json(503);
    down.headers.extend([
        ("x-ratelimit-limit-tokens", "200000".to_owned()),
        ("x-ratelimit-remaining-tokens", "199900".to_owned()),
        ("x-ratelimit-reset-tokens", "30ms".to_owned()),
    ]);
    let layer = under(Policy::new());
    let (handle, endpoint) =
        (layer.handle(), layer.layer(Server::new([down, Reply::json(200).after(60 * S)])));
    let _call = tokio::spawn(endpoint.oneshot(chat(&"word ".repeat(40_000), false)));
    tokio::time::sleep(5 * S).await;
    let left = handle.available();
    assert!(left.iter().any(|(quota, left)| quota.amount() == 200_000 && *left < 170_000), "{left:?}");
}
