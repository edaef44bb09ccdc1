//! The same hundred prompts with each client, with its own retry and with aplomb:
//! `cargo run --release --example comparison`, in `tests/clients`. It takes about three minutes.
//!
//! All prompts are asked at once, for streams. The provider allows 60 requests a minute, ten of them at once, and says so by nothing
//! but 429s; it fails 5 % of the requests with a 503, and breaks 5 % of the streams off. A prompt is answered if all of its
//! answer arrived.

use std::future::Future;
use std::time::Duration;

use aplomb::provider::OpenAi;
use aplomb::retry::RetryLayer;
use aplomb::{BoxError, EndpointLayer, Policy};
use aplomb_async_openai::OpenAiService;
use aplomb_mock::{Fault, Hints, Latency, Mock, Plan, Server};
use aplomb_reqwest::Middleware;
use async_openai::Client;
use async_openai::config::OpenAIConfig;
use backon::{ExponentialBuilder, Retryable};
use futures_util::StreamExt;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use reqwest_retry::RetryTransientMiddleware;
use reqwest_retry::policies::ExponentialBackoff;
use rig_core::completion::CompletionRequest;
use rig_core::providers::openai::{OpenAI, OpenAIConfig as RigConfig, wire::Route};
use rig_reqwest::{ReqwestClient, ReqwestMiddlewareClient};
use serde_json::{Value, from_value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

const PROMPTS: usize = 100;
const WORDS: usize = 16;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    println!(
        "| client | retry | answered | requests | refused | time |\n| --- | --- | ---: | ---: | ---: | ---: |"
    );
    let rows = tokio::join!(
        row(
            "reqwest",
            "none",
            |server| (chat_url(server), http()),
            |(url, http), prompt| async move {
                read(http.post(url).json(&body(&prompt)).send().await?.error_for_status()?, &prompt).await
            }
        ),
        row(
            "reqwest",
            "backon",
            |server| (chat_url(server), http()),
            |(url, http), prompt| async move {
                let body = body(&prompt);
                let ask = || async { http.post(&url).json(&body).send().await?.error_for_status() };
                let response =
                    ask.retry(ExponentialBuilder::default().with_jitter().with_max_times(5)).await?;
                read(response, &prompt).await
            }
        ),
        row(
            "reqwest",
            "aplomb's `retry.run`",
            |server| (chat_url(server), http(), RetryLayer::new().max_retries(5)),
            |(url, http, retry), prompt| async move {
                let body = body(&prompt);
                let response = retry.run(|| http.post(&url).json(&body).send()).await?;
                read(response.error_for_status()?, &prompt).await
            }
        ),
        row(
            "reqwest",
            "aplomb's client",
            |server| (chat_url(server), aplomb_reqwest::Client::new(endpoint(), http())),
            |(url, client), prompt| async move {
                read(client.post(url).json(&body(&prompt)).send().await?, &prompt).await
            }
        ),
        row(
            "reqwest-middleware",
            "reqwest-retry",
            |server| (chat_url(server), retrying()),
            |(url, client), prompt| async move {
                let request = client
                    .post(url)
                    .header("content-type", "application/json")
                    .body(body(&prompt).to_string());
                read(request.send().await?.error_for_status()?, &prompt).await
            }
        ),
        row(
            "reqwest-middleware",
            "aplomb",
            |server| (chat_url(server), dependable()),
            |(url, client), prompt| async move {
                let request = client
                    .post(url)
                    .header("content-type", "application/json")
                    .body(body(&prompt).to_string());
                read(request.send().await?, &prompt).await
            }
        ),
        row("async-openai", "its own", openai, |client, prompt| async move {
            stream(&client, &prompt).await
        }),
        row(
            "async-openai",
            "aplomb",
            |server| openai(server).with_http_service(OpenAiService::new(endpoint(), http())),
            |client, prompt| async move { stream(&client, &prompt).await },
        ),
        row(
            "rig",
            "none",
            |server| rig(server).connect(ReqwestClient::from(http())),
            |rig, prompt| async move { complete(&rig, &prompt).await }
        ),
        row(
            "rig",
            "aplomb",
            |server| rig(server).connect(ReqwestMiddlewareClient::from(dependable())),
            |rig, prompt| async move { complete(&rig, &prompt).await },
        ),
    );
    let (a, b, c, d, e, f, g, h, i, j) = rows;
    for row in [a, b, c, d, e, f, g, h, i, j] {
        println!("{}", row?);
    }
    Ok(())
}

/// Asks a provider of its own all prompts at once.
async fn row<C, F>(
    client: &str,
    retry: &str,
    make: impl FnOnce(&Server) -> C,
    ask: impl Fn(C, String) -> F,
) -> Result<String, BoxError>
where
    C: Clone,
    F: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let plan = Plan::seeded(3).rate(Fault::Unavailable, 0.05).rate(Fault::Truncate, 0.05);
    let server = Mock::builder()
        .requests_per_minute(60)
        .request_burst(10)
        .hints(Hints::None)
        .latency(Latency::constant(Duration::from_millis(100)))
        .answer_words(WORDS)
        .plan(plan)
        .start()
        .await?;
    let (made, began) = (make(&server), Instant::now());
    let mut calls = JoinSet::new();
    for n in 0..PROMPTS {
        calls.spawn(timeout(Duration::from_secs(600), ask(made.clone(), format!("prompt number {n}"))));
    }
    let mut answered = 0;
    while let Some(call) = calls.join_next().await {
        answered += u32::from(matches!(call?, Ok(Ok(()))));
    }
    let (time, stats) = (began.elapsed().as_secs(), server.stats());
    let refused = stats.by_status.get(&429).copied().unwrap_or(0);
    Ok(format!("| {client} | {retry} | {answered} | {} | {refused} | {time} s |", stats.seen))
}

/// Answers are read whole before they are used, so a stream that breaks can be asked for again.
fn endpoint() -> EndpointLayer {
    EndpointLayer::with_policy(OpenAi, Policy::batch().whole_answers(1 << 20)).expect("a valid policy")
}

fn http() -> reqwest::Client {
    reqwest::Client::new()
}

fn chat_url(server: &Server) -> String {
    format!("{}/chat/completions", server.openai_base_url())
}

fn body(prompt: &str) -> Value {
    json!({"model": "mock", "stream": true, "messages": [{"role": "user", "content": prompt}]})
}

fn retrying() -> ClientWithMiddleware {
    let policy = ExponentialBackoff::builder().build_with_max_retries(5);
    ClientBuilder::new(http()).with(RetryTransientMiddleware::new_with_policy(policy)).build()
}

fn dependable() -> ClientWithMiddleware {
    ClientBuilder::new(http()).with(Middleware::endpoint(endpoint())).build()
}

fn openai(server: &Server) -> Client<OpenAIConfig> {
    Client::with_config(OpenAIConfig::new().with_api_key("any").with_api_base(server.openai_base_url()))
}

fn rig(server: &Server) -> RigConfig {
    RigConfig::new("any").with_base_url(server.openai_base_url()).with_route(Route::Chat)
}

fn expect_whole(text: &str, prompt: &str) -> Result<(), BoxError> {
    if text == aplomb_mock::answer(prompt, WORDS) {
        Ok(())
    } else {
        Err("the answer is not whole".into())
    }
}

async fn read(response: reqwest::Response, prompt: &str) -> Result<(), BoxError> {
    let events = response.text().await?;
    let data = events.lines().filter_map(|line| line.strip_prefix("data: "));
    let chunks = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    let said = chunks.filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned));
    expect_whole(&said.collect::<String>(), prompt)
}

async fn stream(client: &Client<OpenAIConfig>, prompt: &str) -> Result<(), BoxError> {
    let mut stream = client.chat().create_stream(from_value(body(prompt))?).await?;
    let mut said = String::new();
    while let Some(chunk) = stream.next().await {
        said.extend(chunk?.choices.into_iter().filter_map(|choice| choice.delta.content));
    }
    expect_whole(&said, prompt)
}

async fn complete(rig: &OpenAI, prompt: &str) -> Result<(), BoxError> {
    let stream = rig.completion("mock").stream(CompletionRequest::new(prompt))?;
    expect_whole(&stream.finish().await?.text(), prompt)
}
