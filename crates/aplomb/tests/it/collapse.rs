//! A server that gets less done the more requests it has.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aplomb::Policy;
use aplomb::rate_limit::Quota;
use aplomb_mock::{Latency, Mock};
use http_body_util::BodyExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tower::{Layer, ServiceExt};

use crate::calls::{ask, chat, prompt, under};

const S: Duration = Duration::from_secs(1);

/// Half a second for an answer; ten at once are served at full speed, twenty a second.
fn server() -> Mock {
    Mock::builder().latency(Latency::constant(S / 2)).capacity(10).build()
}

/// One attempt, without any layer.
async fn attempt(mock: Mock, number: usize) -> bool {
    let answer = timeout(3 * S, async {
        let answer = mock.oneshot(chat(&prompt(number), false)).await.ok()?;
        let good = answer.status().is_success();
        answer.into_body().collect().await.ok().filter(|_| good)
    });
    answer.await.is_ok_and(|answer| answer.is_some())
}

/// Up to five attempts with a short wait between them.
async fn naive(mock: Mock, number: usize) -> bool {
    for _ in 0..5 {
        if attempt(mock.clone(), number).await {
            return true;
        }
        sleep(S / 5).await;
    }
    false
}

/// Twelve calls a second, which is sixty percent of what the server can do. From 10 to 20 s two hundred
/// others ask as well, again and again. Returns how many calls came back of those made long after that.
async fn share_answered<F>(mock: &Mock, call: impl Fn(usize) -> F) -> f64
where
    F: Future<Output = bool> + Send + 'static,
{
    let start = Instant::now();
    let mut calls = JoinSet::new();
    for other in 0..200 {
        let mock = mock.clone();
        calls.spawn(async move {
            sleep_until(start + 10 * S).await;
            while start.elapsed() < 20 * S {
                let rest = timeout(start + 20 * S - Instant::now(), attempt(mock.clone(), 1_000_000 + other));
                drop(rest.await);
                sleep(S / 5).await;
            }
        });
    }
    let late = Arc::new(Mutex::new((0_u32, 0_u32)));
    for number in 0..12 * 120 {
        sleep_until(start + S / 12 * u32::try_from(number).unwrap()).await;
        let (call, late) = (call(number), Arc::clone(&late));
        calls.spawn(async move {
            let is_late = start.elapsed() >= 60 * S;
            let answered = call.await;
            if is_late {
                let mut late = late.lock().unwrap();
                late.0 += 1;
                late.1 += u32::from(answered);
            }
        });
    }
    calls.join_all().await;
    let (all, answered) = *late.lock().unwrap();
    assert_eq!(all, 12 * 60);
    f64::from(answered) / f64::from(all)
}

#[tokio::test(start_paused = true)]
async fn promise_35_a_collapse_is_over_when_its_cause_is_and_stays_under_naive_retries() {
    let mock = server();
    let naive = share_answered(&mock, |number| naive(mock.clone(), number)).await;
    assert!(naive < 0.05, "{naive}");

    let mock = server();
    let endpoint = under(
        Policy::new()
            // Spaced out: sixteen at once would be more than it can take beside those that are under way.
            .quotas([Quota::requests_per_minute(16 * 60).burst(2)])
            .attempt_timeout(3 * S)
            .deadline(30 * S),
    )
    .layer(mock.clone());
    let call = |number: usize| {
        let answer = ask(endpoint.clone(), chat(&prompt(number), false));
        async move { answer.await.is_ok_and(|(parts, _)| parts.status.is_success()) }
    };
    let guarded = share_answered(&mock, call).await;
    assert!(guarded >= 0.99, "{guarded}");
}
