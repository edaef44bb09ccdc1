//! Retry alone, around a client.

use std::time::Duration;

use aplomb::BoxError;
use aplomb::retry::{Retried, RetryLayer};
use aplomb_mock::{Fault, Mock, Plan};
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

use crate::chat;

#[tokio::test(start_paused = true)]
async fn a_client_retries_and_obeys_the_servers_hint() -> Result<(), BoxError> {
    let five_seconds = Duration::from_secs(5);
    let plan = Plan::script([Some(Fault::Unavailable), Some(Fault::ThrottledFor(five_seconds))]);
    let client = RetryLayer::new().layer(Mock::builder().plan(plan).build());

    let start = Instant::now();
    let response = client.oneshot(chat("Hello!")).await?;

    assert_eq!(response.status(), 200);
    let retried = response.extensions().get::<Retried>().unwrap();
    assert_eq!(retried.attempts(), 3);
    assert!(start.elapsed() >= five_seconds);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_function_is_retried_without_a_layer() -> Result<(), BoxError> {
    let plan = Plan::default().attempt(1, Fault::Reset);
    let mock = Mock::builder().plan(plan).build();

    let response = RetryLayer::new().run(|| mock.clone().oneshot(chat("Hello!"))).await?;

    assert_eq!(response.status(), 200);
    assert_eq!(mock.stats().retries, 1);
    Ok(())
}
