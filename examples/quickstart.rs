//! One dependable call: `cargo run --example quickstart`.
//!
//! Without arguments it asks a mock provider on this machine, which fails twice before it answers. With a base URL and
//! a model it asks a real one, with the key in `OPENAI_API_KEY`:
//!
//! ```text
//! cargo run --example quickstart -- https://api.openai.com/v1 gpt-4o-mini
//! ```

use std::process::ExitCode;

use aplomb::provider::OpenAi;
use aplomb::{BoxError, EndpointLayer, Policy, Report};
use aplomb_mock::{Fault, Mock, Plan};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::json;
use tower::{Layer, ServiceExt};

/// Asks a provider for one answer; returns what happened, and the answer.
pub(crate) async fn ask(base_url: &str, model: &str, key: &str) -> Result<String, BoxError> {
    let https = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
    let client = Client::builder(TokioExecutor::new()).build(https);
    let policy = Policy::new().requests_per_minute(500).tokens_per_minute(200_000);
    // Clones share the limits and the circuit: give one to every task.
    let endpoint = EndpointLayer::with_policy(OpenAi, policy)?.layer(client);

    let prompt = json!({"model": model, "messages": [{"role": "user", "content": "Why is the sky blue?"}]});
    let request = http::Request::post(format!("{base_url}/chat/completions"))
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .body(Full::<Bytes>::from(prompt.to_string()))?;
    let response = endpoint.oneshot(request).await?;

    let report = Report::of(&response).map(|report| report.to_string()).unwrap_or_default();
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    Ok(format!("{status}, {report}\n{}", String::from_utf8_lossy(&body)))
}

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let mut arguments = std::env::args().skip(1);
    let answer = if let Some(base_url) = arguments.next() {
        let key = std::env::var("OPENAI_API_KEY").unwrap_or_default();
        ask(&base_url, &arguments.next().unwrap_or_default(), &key).await
    } else {
        let plan = Plan::default().attempt(1, Fault::Unavailable).attempt(2, Fault::Reset);
        let server = Mock::builder().plan(plan).start().await?;
        ask(&server.openai_base_url(), "mock", "any").await
    };
    match answer {
        Ok(answer) => {
            println!("{answer}");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("{error}");
            Ok(ExitCode::FAILURE)
        }
    }
}
