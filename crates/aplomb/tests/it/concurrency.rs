//! A concurrency limit among the gates of an endpoint.

use std::time::Duration;

use aplomb::concurrency::{Adaptive, AtCapacity, Latency};
use aplomb::core::ConcurrencyCause;
use aplomb::provider::OpenAi;
use aplomb::rate_limit::Quota;
use aplomb::{EndpointLayer, LayerName, Policy, Rejection, find};
use aplomb_mock::{Builder, Latency as Takes, Mock};
use tokio::time::Instant;
use tokio_test::{assert_pending, assert_ready_err, task};
use tower::Layer;

use crate::calls::{answered, ask, batch, chat, under};

const S: Duration = Duration::from_secs(1);

fn mock() -> Builder {
    Mock::builder().latency(Takes::constant(S)).answer_words(10).token_gap(Duration::ZERO)
}

#[tokio::test(start_paused = true)]
async fn never_more_in_flight_than_the_limit() {
    let mock = mock().build();
    let layer = under(Policy::new().concurrency(3));
    let start = Instant::now();
    let answers = batch(&layer.layer(mock.clone()), 30, 30, false).await;
    assert_eq!(answered(&answers), 30);
    assert_eq!((mock.stats().max_in_flight, start.elapsed().as_secs()), (3, 10));
    let now = layer.handle().concurrency().unwrap();
    assert_eq!((now.limit(), now.in_flight(), now.waiting()), (3, 0, 0));
    assert_eq!(EndpointLayer::new(OpenAi).handle().concurrency(), None);
}

#[tokio::test(start_paused = true)]
async fn no_place_is_held_while_a_quota_is_waited_for_and_no_quota_while_a_place_is() {
    let mock = mock().build();
    let quota = Quota::requests_per_minute(60).burst(2);
    let layer = under(Policy::new().quotas([quota]).concurrency(1));
    let (endpoint, handle) = (layer.layer(mock), layer.handle());
    let mut calls: Vec<_> =
        (0..2).map(|_| task::spawn(ask(endpoint.clone(), chat("hello", false)))).collect();
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    // The second waits for a place, and has not drawn from the quota.
    assert_eq!(handle.available(), [(quota, 1)]);
    assert_eq!((handle.in_flight(), handle.concurrency().unwrap().in_flight()), (1, 1));
    calls.clear();
    assert_eq!(handle.concurrency().unwrap().in_flight(), 0);

    let layer = under(Policy::new().quotas([Quota::requests_per_minute(1).burst(1)]).concurrency(4));
    let handle = layer.handle();
    let endpoint = layer.layer(Mock::builder().latency(Takes::constant(Duration::ZERO)).build());
    assert!(ask(endpoint.clone(), chat("first", false)).await.is_ok());
    let mut waits = task::spawn(ask(endpoint, chat("second", false)));
    assert_pending!(waits.poll());
    assert_eq!((handle.waiting(), handle.concurrency().unwrap().in_flight()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_that_it_was_the_concurrency_limit() {
    let layer = under(Policy::new().concurrency(1).max_wait(Duration::ZERO));
    let endpoint = layer.layer(mock().build());
    let mut first = task::spawn(ask(endpoint.clone(), chat("first", false)));
    assert_pending!(first.poll());
    let mut second = task::spawn(ask(endpoint, chat("second", false)));
    let error = assert_ready_err!(second.poll());
    assert_eq!(find::<AtCapacity>(&*error).unwrap().limit(), Some(1));
    assert_eq!(find::<Rejection>(&*error).unwrap().layer(), LayerName::ConcurrencyLimit);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_collapses_is_kept_at_what_it_can_do() {
    // The time per token of output is known, since the endpoint reads the usage.
    for latency in [Latency::first_byte(), Latency::per_output_token()] {
        let mock = mock().capacity(16).max_in_flight(160).build();
        let layer = under(
            Policy::new()
                .attempt_timeout(10 * S)
                .max_retries(20)
                .whole_answers(1 << 20)
                .concurrency(Adaptive::new().latency(latency)),
        );
        let start = Instant::now();
        let answers = batch(&layer.layer(mock.clone()), 300, 64, false).await;
        assert_eq!(answered(&answers), 300);
        assert!(start.elapsed() <= 19 * S * 3 / 2, "{:?} with {latency:?}", start.elapsed());
        assert!(mock.stats().seen <= 315, "{} requests with {latency:?}", mock.stats().seen);
        let moved = layer.handle().concurrency().unwrap().last_change().unwrap();
        assert!(matches!(moved.cause(), ConcurrencyCause::Slower | ConcurrencyCause::Answered), "{moved}");
    }
}
