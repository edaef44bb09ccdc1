//! A classifier of one's own.

use std::io;

use aplomb::core::{Classify, HttpClassifier};
use aplomb::provider::{Head, OpenAi};
use aplomb::retry::RetryLayer;
use aplomb::{BoxError, Classification, EndpointLayer, Outcome};
use aplomb_mock::{Body, Fault, Mock, Plan};
use tower::{Layer, ServiceExt};

use crate::chat;

/// 503 is how this server refuses for good.
fn no_retry_of_503(result: Result<&http::Response<Body>, &io::Error>) -> Classification {
    match result {
        Ok(response) if response.status() == 503 => Outcome::permanent().into(),
        _ => HttpClassifier::new().classify(result),
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_asks_a_classifier() -> Result<(), BoxError> {
    let plan = Plan::script([Some(Fault::Unavailable), Some(Fault::InternalError), None]);
    let mock = Mock::builder().plan(plan).build();
    let client = RetryLayer::new().classifier(no_retry_of_503).layer(mock.clone());

    assert_eq!(client.clone().oneshot(chat("a")).await?.status(), 503);
    assert_eq!(client.oneshot(chat("b")).await?.status(), 200);
    assert_eq!(mock.stats().retries, 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_asks_after_the_provider_was_understood() -> Result<(), BoxError> {
    let plan = Plan::script([Some(Fault::Unavailable), Some(Fault::InternalError), None]);
    let mock = Mock::builder().plan(plan).build();
    let endpoint = EndpointLayer::new(OpenAi)
        .judge_with(|head: &Head<'_>, _body, judged| match head.status().as_u16() {
            503 => Classification::new(Outcome::permanent()),
            _ => judged,
        })
        .layer(mock.clone());

    assert_eq!(endpoint.clone().oneshot(chat("a")).await?.status(), 503);
    assert_eq!(endpoint.oneshot(chat("b")).await?.status(), 200);
    assert_eq!(mock.stats().retries, 1);
    Ok(())
}
