//! One's own code, tested with the mock while time is paused.

use std::time::Duration;

use aplomb::provider::OpenAi;
use aplomb::{BoxError, EndpointLayer, HttpClient, Policy};
use aplomb_mock::{Fault, Latency, Mock, Plan, answer};
use futures_util::future::try_join_all;
use http_body_util::BodyExt;
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

use crate::chat;

/// The code under test: it answers all prompts, over any client.
async fn ask_all(client: impl HttpClient<String>, prompts: &[String]) -> Result<Vec<String>, BoxError> {
    let policy = Policy::batch()
        .requests_per_minute(600)
        .head_timeout(Duration::from_secs(10))
        .whole_answers(1 << 20)
        .seed(7);
    let endpoint = EndpointLayer::with_policy(OpenAi, policy)?.layer(client);
    let ask = |prompt| {
        let call = endpoint.clone().oneshot(chat(prompt));
        async {
            let body = call.await?.into_body().collect().await?.to_bytes();
            Ok(text_of(&serde_json::from_slice(&body)?))
        }
    };
    try_join_all(prompts.iter().map(|prompt| ask(prompt))).await
}

fn text_of(answer: &serde_json::Value) -> String {
    answer["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_complete_in_spite_of_limits_faults_and_hangs() -> Result<(), BoxError> {
    let faults = Plan::seeded(7)
        .rate(Fault::Unavailable, 0.1)
        .rate(Fault::Hang, 0.05)
        .rate(Fault::Truncate, 0.05);
    let mock = Mock::builder()
        .requests_per_minute(600)
        .request_burst(20)
        .latency(Latency::constant(Duration::from_millis(500)))
        .answer_words(8)
        .plan(faults)
        .build();
    let prompts = numbered(100);

    let start = Instant::now();
    let answers = ask_all(mock.clone(), &prompts).await?;

    assert_eq!(answers.len(), 100);
    assert!(prompts.iter().zip(&answers).all(|(prompt, given)| *given == answer(prompt, 8)));
    let stats = mock.stats();
    assert_eq!((stats.answered, stats.early_retries, stats.by_status.get(&429)), (100, 0, None));
    assert!(start.elapsed() < Duration::from_secs(60));
    Ok(())
}

fn numbered(prompts: u32) -> Vec<String> {
    (0..prompts).map(|n| format!("prompt {n}")).collect()
}
