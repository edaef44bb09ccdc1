//! A thousand embeddings and chats with async-openai, under a limit of requests and one of tokens:
//! `cargo run --release --example async_openai`, in `tests/clients`.

use aplomb::provider::OpenAi;
use aplomb::{BoxError, EndpointLayer, Policy};
use aplomb_async_openai::OpenAiService;
use aplomb_mock::{Fault, Mock, Plan};
use async_openai::Client;
use async_openai::config::OpenAIConfig;
use futures_util::{StreamExt, stream};
use serde_json::{from_value, json};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // A provider that allows 6,000 requests and 600,000 tokens a minute, a second's worth at once, and fails now and then.
    let server = Mock::builder()
        .requests_per_minute(6_000)
        .request_burst(100)
        .tokens_per_minute(600_000)
        .token_burst(10_000)
        .plan(Plan::seeded(7).rate(Fault::Unavailable, 0.03).rate(Fault::Reset, 0.02))
        .start()
        .await?;
    let config = OpenAIConfig::new().with_api_key("any").with_api_base(server.openai_base_url());

    let policy = Policy::batch().requests_per_minute(6_000).tokens_per_minute(600_000);
    let service = OpenAiService::new(EndpointLayer::with_policy(OpenAi, policy)?, reqwest::Client::new());
    let client = Client::with_config(config).with_http_service(service);

    let answered = stream::iter(0..1_000)
        .map(|n| ask(&client, n))
        .buffer_unordered(200) // the endpoint does the waiting
        .filter(|answer| std::future::ready(answer.is_ok()))
        .count()
        .await;
    let stats = server.stats();
    let refused = stats.by_status.get(&429).copied().unwrap_or(0);
    println!("{answered} of 1000 answered; {} requests, {refused} of them refused with 429", stats.seen);
    Ok(())
}

/// Every other call is a chat.
async fn ask(client: &Client<OpenAIConfig>, n: usize) -> Result<(), BoxError> {
    let text = format!("text number {n}");
    if n % 2 == 0 {
        client.embeddings().create(from_value(json!({"model": "embed", "input": text}))?).await?;
    } else {
        let messages = json!([{"role": "user", "content": text}]);
        client
            .chat()
            .create(from_value(json!({"model": "chat", "messages": messages, "max_tokens": 40}))?)
            .await?;
    }
    Ok(())
}
