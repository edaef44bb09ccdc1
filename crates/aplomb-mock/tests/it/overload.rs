//! Overload.

use std::time::Duration;

use aplomb_mock::{Latency, Mock};
use tokio::time::Instant;

use crate::support::{ANTHROPIC, ask, post, question, send};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn above_its_capacity_less_gets_done() {
    let mock = Mock::builder().latency(Latency::constant(SECOND)).capacity(10).build();
    for (n, seconds) in [(10, 1), (20, 4), (40, 16)] {
        let start = Instant::now();
        let all: Vec<_> = (0..n)
            .map(|n: u32| {
                let mock = mock.clone();
                tokio::spawn(async move { ask(&mock, &n.to_string()).await })
            })
            .collect();
        for answer in all {
            assert_eq!(answer.await.unwrap().unwrap().status, 200);
        }
        let took = start.elapsed();
        assert!(took.abs_diff(SECOND * seconds) < Duration::from_millis(10), "{n}: {took:?}");
    }
    assert_eq!(mock.stats().max_in_flight, 40);
}

#[tokio::test(start_paused = true)]
async fn above_its_bound_it_refuses() {
    let mock = Mock::builder().latency(Latency::constant(SECOND)).max_in_flight(2).build();
    let (one, two) = (mock.clone(), mock.clone());
    let one = tokio::spawn(async move { ask(&one, "1").await });
    let two = tokio::spawn(async move { ask(&two, "2").await });
    tokio::task::yield_now().await;
    assert_eq!(ask(&mock, "3").await.unwrap().status, 503);
    assert_eq!(send(&mock, post(ANTHROPIC, question("4"))).await.unwrap().status, 529);
    assert_eq!(one.await.unwrap().unwrap().status, 200);
    assert_eq!(two.await.unwrap().unwrap().status, 200);
    assert_eq!(ask(&mock, "3").await.unwrap().status, 200);
}
