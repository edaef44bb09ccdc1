//! One dependable call: `cargo run --example quickstart`.

use std::time::Duration;

use aplomb::{BoxError, EndpointLayer, Policy, provider::OpenAi};
use aplomb_mock::{Fault, Mock, Plan};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{Layer, ServiceExt};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // A provider that fails twice before it answers.
    let plan = Plan::default().attempt(1, Fault::Unavailable).attempt(2, Fault::Reset);
    let server = Mock::builder().plan(plan).start().await?;

    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let policy = Policy::new().requests_per_minute(500).attempt_timeout(Duration::from_secs(30));
    let endpoint = EndpointLayer::with_policy(OpenAi, policy)?.layer(client);

    let prompt = r#"{"model": "mock", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}"#;
    let url = format!("{}/chat/completions", server.openai_base_url());
    let request = http::Request::post(url).body(Full::from(prompt))?;
    let response = endpoint.oneshot(request).await?;

    println!("{}, after {} requests", response.status(), server.stats().seen);
    let body = response.into_body().collect().await?.to_bytes();
    println!("{}", String::from_utf8_lossy(&body));
    Ok(())
}
