//! A gateway in front of two AI providers: `cargo run --release --example gateway`.
//!
//! It has a policy for each service, quotas for each tenant, and two models on one quota. Everything runs on loopback,
//! including the providers, for a few seconds.

use std::time::Duration;

use aplomb::RequestView;
use aplomb::provider::{Anthropic, OpenAi};
use aplomb::rate_limit::{Pool, Quota};
use aplomb::route::{Route, Routes};
use aplomb::{BoxError, EndpointLayer, Policy, Report, Router, RouterLayer, Shape, ToResponse};
use aplomb_mock::{Fault, Latency, Mock, Plan, Server};
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tower::{Layer, ServiceExt};

type Http = Client<HttpConnector, Full<Bytes>>;

/// The quotas that a tenant has bought.
fn bought(tenant: &str) -> Vec<Quota> {
    let (requests, tokens) = if tenant == "acme" {
        (600, 100_000)
    } else {
        (60, 5_000)
    };
    vec![
        Quota::requests_per_minute(requests).burst(5),
        Quota::tokens_per_minute(tokens),
    ]
}

/// The tenant that a request belongs to.
fn tenant(request: &RequestView<'_>) -> String {
    let header = request.headers().and_then(|headers| headers.get("x-tenant"));
    header.and_then(|tenant| tenant.to_str().ok()).unwrap_or("nobody").to_owned()
}

/// An endpoint for each service.
fn routes() -> Result<Routes, BoxError> {
    // Somebody waits for every answer: a call that cannot be sent soon is rejected, with the time to come back.
    let chat = Policy::interactive().max_wait(Duration::from_secs(2)).include_usage();
    // Both models share one account with the provider.
    let account = Pool::new([Quota::tokens_per_minute(150_000)]);
    let large = EndpointLayer::with_policy(OpenAi, chat.clone().pool(&account))?;
    let small = EndpointLayer::with_policy(OpenAi, chat.clone().pool(&account))?;
    let claude = EndpointLayer::with_policy(Anthropic, chat)?;
    Ok(Routes::new()
        .route(
            Route::new().model("gpt-large"),
            large.quotas_per(tenant, |tenant: &String| bought(tenant)),
        )
        .route(Route::new().model("gpt-*"), small.quotas_per(tenant, |tenant: &String| bought(tenant)))
        .route(Route::new().model("claude-*"), claude)
        .reject_unmatched())
}

#[derive(Clone)]
struct Gateway {
    models: Router<Http>,
    openai: String,
    anthropic: String,
}

/// Forwards a request to the provider of its model, and streams the answer back.
async fn forward(State(gateway): State<Gateway>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let base = if uri.path() == "/v1/messages" {
        &gateway.anthropic
    } else {
        &gateway.openai
    };
    let mut request = http::Request::new(Full::new(body));
    *request.method_mut() = http::Method::POST;
    match format!("{base}{}", uri.path()).parse() {
        Ok(uri) => *request.uri_mut() = uri,
        Err(_) => return StatusCode::BAD_REQUEST.into_response(),
    }
    for name in ["content-type", "x-tenant"] {
        if let Some(value) = headers.get(name) {
            request.headers_mut().insert(name, value.clone());
        }
    }
    match gateway.models.oneshot(request).await {
        Ok(response) => {
            let attempts = Report::of(&response).map_or(1, |report| report.sent());
            let mut response = response.map(Body::new);
            response.headers_mut().insert("x-attempts", attempts.into());
            response
        }
        // Why, and when to come back, as OpenAI's clients expect it.
        Err(error) => error.to_response(Shape::OpenAi).map(Body::new),
    }
}

/// Starts the gateway, and two providers that fail now and then; returns its URL.
pub(crate) async fn start() -> Result<(String, [Server; 2]), BoxError> {
    let flaky = Plan::seeded(7)
        .rate(Fault::Overloaded, 0.1)
        .rate(Fault::Reset, 0.05)
        .rate(Fault::StreamError, 0.1);
    let mock = || Mock::builder().latency(Latency::constant(Duration::from_millis(40))).plan(flaky.clone());
    let (openai, anthropic) = (mock().start().await?, mock().start().await?);

    let gateway = Gateway {
        models: RouterLayer::new(routes()?)?.layer(Client::builder(TokioExecutor::new()).build_http()),
        openai: openai.base_url(),
        anthropic: anthropic.base_url(),
    };
    let router = axum::Router::new().fallback(forward).with_state(gateway);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok((url, [openai, anthropic]))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (url, _providers) = start().await?;
    println!(
        "{:<8} {:<10} {:>8} {:>8} {:>9}   what rejected calls were told",
        "tenant", "model", "answered", "refused", "attempts"
    );
    for (tenant, model, calls) in [
        ("acme", "gpt-large", 12),
        ("acme", "gpt-small", 12),
        ("tiny", "gpt-small", 12),
        ("tiny", "claude-x", 12),
        ("tiny", "llama", 1),
    ] {
        let path = if model.starts_with("claude") {
            "/v1/messages"
        } else {
            "/v1/chat/completions"
        };
        let tally = ask(&format!("{url}{path}"), tenant, model, calls).await?;
        println!(
            "{tenant:<8} {model:<10} {:>8} {:>8} {:>9}   {}",
            tally.answered, tally.refused, tally.attempts, tally.told
        );
    }
    Ok(())
}

/// The answers that a tenant got.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) answered: u32,
    pub(crate) refused: u32,
    pub(crate) attempts: u32,
    /// The error of the last rejected call.
    pub(crate) told: String,
}

/// Lets a tenant make this many calls at once, for streams.
pub(crate) async fn ask(url: &str, tenant: &str, model: &str, calls: usize) -> Result<Tally, BoxError> {
    let client: Http = Client::builder(TokioExecutor::new()).build_http();
    let mut asked = tokio::task::JoinSet::new();
    for call in 0..calls {
        let prompt = json!({
            "model": model,
            "max_tokens": 64,
            "stream": true,
            "messages": [{"role": "user", "content": format!("question {call} of {tenant} about {model}")}],
        });
        let request = http::Request::post(url)
            .header("content-type", "application/json")
            .header("x-tenant", tenant)
            .body(Full::from(prompt.to_string()))?;
        let client = client.clone();
        asked.spawn(async move {
            let (head, body) = client.oneshot(request).await?.into_parts();
            Ok::<_, BoxError>((head, body.collect().await?.to_bytes()))
        });
    }
    let mut tally = Tally::default();
    while let Some(answer) = asked.join_next().await {
        let (head, body) = answer??;
        let number = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()?.parse().ok());
        tally.attempts += number("x-attempts").unwrap_or(0);
        if head.status.is_success() {
            tally.answered += 1;
        } else {
            tally.refused += 1;
            let why = String::from_utf8_lossy(&body).into_owned();
            let after =
                number("retry-after").map_or(String::new(), |after| format!(", retry-after: {after}"));
            tally.told = format!("{}{after}: {why}", head.status.as_u16());
        }
    }
    Ok(tally)
}
