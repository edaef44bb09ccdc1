//! The main job.

use std::time::Duration;

use aplomb::provider::OpenAi;
use aplomb::rate_limit::Quota;
use aplomb::retry::Budget;
use aplomb::{EndpointLayer, Kind, Policy};
use aplomb_mock::{Fault, Latency, Mock, Outage, Plan};
use tokio::time::Instant;
use tower::Layer;

use crate::calls::{answered, batch, under};

const S: Duration = Duration::from_secs(1);

fn flaky(seed: u64) -> Plan {
    Plan::seeded(seed)
        .rate(Fault::Unavailable, 0.05)
        .rate(Fault::Hang, 0.01)
        .rate(Fault::Reset, 0.02)
}

fn policy() -> Policy {
    Policy::new().attempt_timeout(2 * S).max_retries(20).whole_answers(1 << 20)
}

#[tokio::test(start_paused = true)]
async fn with_known_limits_all_prompts_come_back_without_a_429_in_the_time_it_takes() {
    for seed in 0..20 {
        let mock = Mock::builder()
            .requests_per_minute(600)
            .request_burst(20)
            .latency(Latency::constant(Duration::from_millis(50)))
            .plan(flaky(seed))
            .build();
        let endpoint =
            under(policy().quotas([Quota::requests_per_minute(600).burst(20)])).layer(mock.clone());
        let start = Instant::now();
        let answers = batch(&endpoint, 100, 64, false).await;
        assert_eq!(answered(&answers), 100);
        let stats = mock.stats();
        assert_eq!(stats.by_status.get(&429), None, "seed {seed}");
        // Every request the plan makes necessary, at the rate there is; the last of them may have to be
        // sent again, after a timeout.
        let paced = Duration::from_millis((stats.accepted - 20) * 100 + 50);
        assert!(start.elapsed() <= paced.mul_f64(1.05) + 3 * S, "{:?} of {paced:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn with_unknown_limits_all_prompts_come_back_and_none_earlier_than_told() {
    for stream in [false, true] {
        let mock = Mock::builder()
            .requests_per_minute(600)
            .request_burst(20)
            .latency(Latency::constant(Duration::from_millis(50)))
            .plan(flaky(1))
            .build();
        let endpoint = under(policy().max_retries(u32::MAX)).layer(mock.clone());
        let answers = batch(&endpoint, 100, 64, stream).await;
        let stats = mock.stats();
        assert_eq!(answered(&answers), 100);
        assert_eq!(stats.early_retries, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn promise_13_a_retry_that_an_open_circuit_held_back_is_free() {
    let mock = Mock::builder()
        .latency(Latency::constant(Duration::from_millis(20)))
        .outage(Duration::ZERO..180 * S, Outage::Unavailable)
        .build();
    // One retry for each of the callers, and nothing to spare for the probes of three minutes.
    let budget = Budget::new().capacity(14 * 8).min_per_second(0.0);
    let endpoint = under(policy().budget(budget.clone())).layer(mock.clone());
    assert_eq!(answered(&batch(&endpoint, 8, 8, false).await), 8);
    let snapshot = budget.snapshot();
    assert!(mock.stats().by_status[&503] > 8 + 8, "probes failed: {:?}", mock.stats());
    assert!(snapshot.granted <= 8, "{snapshot:?}");
    assert_eq!((snapshot.refused, snapshot.remaining), (0, 14 * 8));
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_waited_for_without_spending_retries() {
    let mock = Mock::builder()
        .latency(Latency::constant(Duration::from_millis(20)))
        .outage(Duration::ZERO..30 * S, Outage::Unavailable)
        .build();
    let endpoint = under(policy().max_retries(8)).layer(mock.clone());
    let start = Instant::now();
    let answers = batch(&endpoint, 200, 64, false).await;
    let stats = mock.stats();
    assert_eq!(answered(&answers), 200);
    assert!(stats.by_status[&503] <= 64 + 20, "{stats:?}");
    assert!(start.elapsed() <= 60 * S);
}

#[tokio::test(start_paused = true)]
async fn an_exhausted_account_is_found_once_and_everything_after_fails_fast() {
    let mock = Mock::builder()
        .latency(Latency::constant(Duration::from_millis(20)))
        .insufficient_quota_after(10)
        .build();
    let endpoint = under(policy()).layer(mock.clone());
    let start = Instant::now();
    let answers = batch(&endpoint, 500, 16, false).await;
    assert_eq!(answered(&answers), 10);
    assert!(mock.stats().seen <= 10 + 16, "{:?}", mock.stats());
    assert!(start.elapsed() < S);
    let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
    let refused: Vec<_> = refused
        .map(|error| aplomb::find::<aplomb::circuit_breaker::CircuitOpen>(&**error).unwrap())
        .collect();
    assert!(refused.len() >= 500 - 26);
    assert!(refused.iter().all(|open| open.last().unwrap().kind() == Kind::Exhausted));
}

#[tokio::test(start_paused = true)]
async fn one_429_teaches_every_caller() {
    use http_body_util::Full;
    use std::sync::Arc;
    use std::sync::Mutex;
    use tower::ServiceExt;

    // Throttles the first request for ten seconds, and whoever comes before they are over.
    let arrivals: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let client = {
        let arrivals = Arc::clone(&arrivals);
        tower::service_fn(move |_: http::Request<String>| {
            let first = {
                let mut arrivals = arrivals.lock().unwrap();
                arrivals.push(Instant::now());
                arrivals[0]
            };
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let throttled = first.elapsed() < 10 * S;
                let response = http::Response::builder().status(if throttled { 429 } else { 200 });
                let response = response.header("retry-after", "10").body(Full::<bytes::Bytes>::from("{}"));
                Ok::<_, std::io::Error>(response.unwrap())
            }
        })
    };
    let layer = EndpointLayer::new(OpenAi);
    let handle = layer.handle();
    let endpoint = layer.layer(client);
    let mut calls = tokio::task::JoinSet::new();
    calls.spawn(endpoint.clone().oneshot(http::Request::new(String::new())));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(handle.paused_until().is_some());
    for _ in 0..63 {
        calls.spawn(endpoint.clone().oneshot(http::Request::new(String::new())));
    }
    for answer in calls.join_all().await {
        assert!(answer.unwrap().status().is_success());
    }
    let arrivals = arrivals.lock().unwrap();
    assert_eq!(arrivals.len(), 67, "one refusal for all of them, and two that test the hint");
    assert!(arrivals[3..].iter().all(|at| *at - arrivals[0] >= 10 * S));
}
