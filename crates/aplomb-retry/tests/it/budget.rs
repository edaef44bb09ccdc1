//! Budgets: promise 13.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aplomb_core::{EventKind, RequestView, StopReason};
use aplomb_retry::{Budget, Retried, RetryLayer, Throttled};
use futures_util::FutureExt;
use http::Request;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower::ServiceExt;
use tower::retry::budget::{Budget as _, TpsBudget};
use tower_layer::Layer;
use tower_service::Service;

use crate::peer::{Answer, Log, Peer, request, respond, secs};

fn retry(budget: &Budget) -> RetryLayer {
    RetryLayer::new().backoff(secs(1)).budget(budget.clone())
}

/// Without a minimum rate, so that only tokens count.
fn tokens(capacity: u32) -> Budget {
    Budget::new().capacity(capacity).min_per_second(0.0)
}

fn remaining(budget: &Budget) -> u32 {
    budget.snapshot().remaining
}

#[tokio::test(start_paused = true)]
async fn promise_13_retries_into_an_outage_are_bounded() {
    let budget = Budget::new();
    let peer = Peer::failing(usize::MAX, 500);
    let service = retry(&budget).layer(peer.clone());
    let began = Instant::now();
    let mut calls = JoinSet::new();
    for _ in 0..1_000 {
        calls.spawn(service.clone().oneshot(request()));
    }
    let responses = calls.join_all().await;
    let (retries, seconds) = (peer.calls() as u64 - 1_000, began.elapsed().as_secs());
    // 500 tokens are 35 retries, and one more each second.
    assert!((35..=35 + seconds).contains(&retries), "{retries} retries in {seconds} s");
    let stopped = |response: &http::Response<_>| response.extensions().get::<Retried>().unwrap().stopped();
    let by_budget = responses.iter().filter(|it| stopped(it.as_ref().unwrap()) == Some(StopReason::Budget));
    assert!(by_budget.count() > 900);
    let snapshot = budget.snapshot();
    assert_eq!(snapshot.granted, retries);
    assert!(snapshot.refused > 900 && snapshot.remaining < 14);
}

#[tokio::test(start_paused = true)]
async fn promise_13_costs_by_kind_and_what_successes_give_back() {
    let budget = tokens(500);
    // (status of the first attempts, how many fail, tokens left when the last one runs, and at the end)
    for (status, failures, during, after) in [
        (500, 1, 486, 500),
        (429, 1, 495, 500),
        (500, 3, 458, 472),
        (429, 2, 462, 467),
    ] {
        let watched = budget.clone();
        let seen = Arc::new(AtomicI64::new(0));
        let peer = {
            let seen = Arc::clone(&seen);
            Peer::new(move |call| {
                seen.store(remaining(&watched).into(), Ordering::SeqCst);
                respond(if call < failures { status } else { 200 }, &[])
            })
        };
        retry(&budget).layer(peer).oneshot(request()).await.unwrap();
        assert_eq!((seen.load(Ordering::SeqCst), remaining(&budget)), (during, after), "{status} {failures}");
    }
    // Any other success returns one token, until the bucket is full.
    let service = retry(&budget).layer(Peer::failing(0, 200));
    for left in [468, 469] {
        service.clone().oneshot(request()).await.unwrap();
        assert_eq!(remaining(&budget), left);
    }
    for _ in 0..100 {
        service.clone().oneshot(request()).await.unwrap();
    }
    assert_eq!(remaining(&budget), 500);
}

#[tokio::test(start_paused = true)]
async fn promise_13_a_cost_above_the_capacity_is_no_deadlock() {
    let budget = tokens(10);
    let service = retry(&budget).layer(Peer::failing(1, 500));
    assert_eq!(service.oneshot(request()).await.unwrap().status(), 200);
    assert_eq!(remaining(&budget), 10);
}

fn host(request: &RequestView<'_>) -> String {
    request.host().unwrap_or_default().to_owned()
}

fn to(host: &str) -> Request<String> {
    Request::builder().uri(format!("http://{host}/")).body(String::new()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn promise_13_a_client_with_little_traffic_may_retry() {
    let floor = Budget::new().capacity(0).min_per_second(0.1);
    // The state of a key is dropped between its calls; its minimum rate must not start over when it comes back.
    for budget in [floor.clone(), floor.by_key(host)] {
        let peer = Peer::failing(usize::MAX, 500);
        let service = retry(&budget).max_retries(1).layer(peer.clone());
        let others = retry(&budget).layer(Peer::failing(0, 500));
        let mut sent = Vec::new();
        for other in 0..12 {
            let before = peer.calls();
            service.clone().oneshot(to("a")).await.unwrap();
            sent.push(peer.calls() - before);
            others.clone().oneshot(to(&format!("other-{other}"))).await.unwrap();
            sleep(secs(4)).await;
        }
        // The first after ten seconds, and no two within ten seconds.
        assert_eq!(sent, [1, 1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1]);
    }
}

#[tokio::test(start_paused = true)]
async fn promise_13_clones_and_layers_share_it_and_a_setter_begins_anew() {
    let budget = tokens(28);
    for layer in [retry(&budget), retry(&budget.clone())] {
        let service = layer.max_retries(1).layer(Peer::failing(usize::MAX, 500));
        service.clone().oneshot(request()).await.unwrap();
    }
    assert_eq!(remaining(&budget), 0);
    assert_eq!(remaining(&budget.clone().cost(7)), 28);
    assert_eq!(remaining(&budget), 0);
}

#[tokio::test(start_paused = true)]
async fn promise_13_a_retry_that_waits_in_the_line_of_a_quota_is_free() {
    let budget = tokens(500);
    let layer = retry(&budget).throttled(Throttled::Requeue);
    layer.layer(Peer::failing(3, 429)).oneshot(request()).await.unwrap();
    assert_eq!((budget.snapshot().granted, remaining(&budget)), (0, 500));
    // Other failures are paid for.
    layer.layer(Peer::failing(3, 500)).oneshot(request()).await.unwrap();
    assert_eq!(budget.snapshot().granted, 3);
}

#[tokio::test(start_paused = true)]
async fn promise_13_keys_spend_apart_and_are_forgotten_when_full() {
    let budget = tokens(28).by_key(host).max_keys(2);
    let down = retry(&budget).layer(Peer::failing(usize::MAX, 500));
    let up = retry(&budget).layer(Peer::failing(0, 200));
    let attempts = async |host: &str| {
        let response = down.clone().oneshot(to(host)).await.unwrap();
        response.extensions().get::<Retried>().unwrap().attempts()
    };
    assert_eq!((attempts("a").await, attempts("a").await, attempts("b").await), (3, 1, 3));
    assert_eq!((budget.snapshot().keys, remaining(&budget)), (2, 0));
    // No room: further keys share one bucket.
    assert_eq!((attempts("c").await, attempts("d").await), (3, 1));
    // A key whose bucket is full again makes room.
    for _ in 0..28 {
        up.clone().oneshot(to("a")).await.unwrap();
    }
    assert_eq!(attempts("e").await, 3);
    assert_eq!(budget.snapshot().keys, 2);
}

#[tokio::test(start_paused = true)]
async fn promise_13_what_was_paid_for_a_retry_that_is_never_sent_is_given_back() {
    let budget = tokens(500);
    let peer = Peer::failing(usize::MAX, 500);
    let mut service = retry(&budget).layer(peer.clone());
    // Dropped while it waits for its first retry, and while its second attempt is running.
    let mut call = Box::pin(service.call(request()));
    assert!(call.as_mut().now_or_never().is_none());
    assert_eq!(remaining(&budget), 486);
    drop(call);
    assert_eq!((remaining(&budget), peer.calls()), (500, 1));

    let hangs = Peer::new(|call| {
        if call == 0 {
            respond(500, &[])
        } else {
            Answer::Hang
        }
    });
    let call = retry(&budget).layer(hangs.clone()).oneshot(request());
    assert!(tokio::time::timeout(secs(5), call).await.is_err());
    assert_eq!((remaining(&budget), hangs.calls()), (486, 2), "it was sent");
}

#[tokio::test(start_paused = true)]
async fn promise_13_what_the_floor_paid_for_a_retry_that_is_never_sent_is_given_back() {
    let budget = Budget::new().capacity(0).min_per_second(0.01);
    let service = retry(&budget).layer(Peer::failing(usize::MAX, 500));
    service.clone().oneshot(request()).await.unwrap();
    assert_eq!(budget.snapshot().granted, 0);
    sleep(secs(100)).await;
    // One retry, for whichever of them stays until it is sent.
    for _ in 0..3 {
        assert!(service.clone().oneshot(request()).now_or_never().is_none(), "waits for its retry");
    }
    assert_eq!(budget.snapshot().granted, 3);
}

#[tokio::test(start_paused = true)]
async fn a_call_does_not_show_the_keys_of_its_budget() {
    let budget = tokens(28).by_key(|_: &RequestView<'_>| "sk-secret".to_owned());
    let mut service = retry(&budget).layer(Peer::new(|_| Answer::Hang));
    let mut call = Box::pin(service.call(request()));
    assert!(call.as_mut().now_or_never().is_none());
    let shown = format!("{call:?}");
    assert!(shown.contains("BudgetLease") && !shown.contains("sk-secret"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn towers_budget_in_its_place() {
    let tower = Arc::new(TpsBudget::new(secs(10), 0, 0.5));
    let (deposits, withdraws) = (Arc::clone(&tower), Arc::clone(&tower));
    let budget = Budget::custom(move || withdraws.withdraw(), move || deposits.deposit());
    let up = retry(&budget).layer(Peer::failing(0, 200));
    let down = retry(&budget).layer(Peer::failing(usize::MAX, 500));
    for _ in 0..4 {
        up.clone().oneshot(request()).await.unwrap();
    }
    let response = down.oneshot(request()).await.unwrap();
    let retried = response.extensions().get::<Retried>().unwrap();
    // Four deposits at a ratio of one half.
    assert_eq!((retried.attempts(), retried.stopped()), (3, Some(StopReason::Budget)));
    assert_eq!((budget.snapshot().granted, budget.snapshot().refused), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn an_event_says_that_the_budget_was_used_up() {
    let log = Log::default();
    let layer = retry(&tokens(14)).observer(log.clone());
    layer.layer(Peer::failing(usize::MAX, 500)).oneshot(request()).await.unwrap();
    let last = log.events().last().cloned();
    let Some(EventKind::GaveUp { attempts: 2, waited, why: StopReason::Budget, .. }) = last else {
        panic!("{last:?}")
    };
    assert_eq!(waited, Duration::from_secs(1));
}
