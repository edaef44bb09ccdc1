//! Overload.

use std::time::Duration;

use aplomb_mock::{Latency, Mock, WhenFull};
use tokio::time::{Instant, timeout};

use crate::support::{ANTHROPIC, OPENAI, ask, post, question, send};

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

#[tokio::test(start_paused = true)]
async fn above_its_bound_it_can_answer_429() {
    for (answer, delay) in [
        (WhenFull::Throttled, None),
        (WhenFull::ThrottledFor(60 * SECOND), Some("60")),
    ] {
        let mock = Mock::builder()
            .latency(Latency::constant(SECOND))
            .max_in_flight(1)
            .when_full(answer)
            .build();
        let busy = mock.clone();
        let one = tokio::spawn(async move { ask(&busy, "1").await });
        tokio::task::yield_now().await;
        for path in [OPENAI, ANTHROPIC] {
            let refused = send(&mock, post(path, question("2"))).await.unwrap();
            assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, delay));
            assert!(refused.body.contains("oncurrent"), "{}", refused.body);
        }
        assert_eq!(one.await.unwrap().unwrap().status, 200);
        assert_eq!(ask(&mock, "2").await.unwrap().status, 200);
        assert_eq!(mock.stats().early_retries, 2 * u64::from(delay.is_some()));
    }
}

#[tokio::test(start_paused = true)]
async fn abandoned_work_can_go_on_and_slow_the_others_down() {
    for (goes_on, millis) in [(false, 1_750), (true, 4_000)] {
        let mock = Mock::builder()
            .latency(Latency::constant(SECOND))
            .capacity(1)
            .abandoned_work_goes_on(goes_on)
            .build();
        let (patient, impatient, start) = (mock.clone(), mock.clone(), Instant::now());
        let patient = tokio::spawn(async move { ask(&patient, "1").await });
        assert!(timeout(SECOND, ask(&impatient, "2")).await.is_err());
        assert_eq!(patient.await.unwrap().unwrap().status, 200);
        let took = start.elapsed();
        assert!(took.abs_diff(Duration::from_millis(millis)) < Duration::from_millis(10), "{took:?}");
    }
}
