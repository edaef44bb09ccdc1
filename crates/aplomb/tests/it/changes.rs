//! Changes while calls run.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aplomb::concurrency::Adaptive;
use aplomb::rate_limit::Quota;
use aplomb::{EndpointHandle, Policy, RequestView};
use http_body_util::BodyExt;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

use crate::calls::{chat, under};
use crate::clients::{quick, silent};
use crate::script::{Reply, Server};

const S: Duration = Duration::from_secs(1);

// Slots that were taken away and come back know nothing of a call that those before have admitted: its end frees none
// of them.
#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_that_is_taken_away_and_set_again_survives_the_calls_in_flight() {
    let layer = under(Policy::new().concurrency(1));
    let (handle, endpoint) = (layer.handle(), layer.layer(Server::new([Reply::json(200).after(S)])));
    let call = tokio::spawn(endpoint.clone().oneshot(chat("hello", false)));
    tokio::time::sleep(S / 2).await;
    handle.set_policy(Policy::new()).unwrap();
    handle.set_policy(Policy::new().concurrency(2)).unwrap();
    drop(call.await.expect("no panic").unwrap());
    assert_eq!(handle.concurrency().unwrap().in_flight(), 0);
    let next = tokio::time::timeout(10 * S, endpoint.oneshot(chat("hello", false))).await;
    assert!(next.is_ok_and(|result| result.is_ok()));
}

// The same while another call holds the one new slot.
#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_that_is_set_anew_admits_no_more_than_it_says() {
    let layer = under(Policy::new().concurrency(2));
    let (handle, endpoint) = (layer.handle(), layer.layer(silent()));
    let first = tokio::spawn(endpoint.clone().oneshot(chat("hello", false)));
    tokio::time::sleep(S).await;
    handle.set_policy(Policy::new()).unwrap();
    handle.set_policy(Policy::new().concurrency(1)).unwrap();
    let second = tokio::spawn(endpoint.clone().oneshot(chat("hello", false)));
    tokio::time::sleep(S).await;
    first.abort();
    let _ = first.await;
    assert_eq!(handle.concurrency().unwrap().in_flight(), 1, "the second is in flight");
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_changes_a_quota_only_keeps_the_counts_of_the_circuit() {
    let policy = Policy::new().max_retries(0);
    let layer = under(policy.clone());
    let (handle, endpoint) = (layer.handle(), layer.layer(Server::new((0..4).map(|_| Reply::json(503)))));
    for _ in 0..4 {
        drop(endpoint.clone().oneshot(chat("hello", false)).await.unwrap());
    }
    handle.set_policy(policy.quota(Quota::requests_per_minute(60))).unwrap();
    let circuit = handle.circuit().unwrap();
    assert_eq!((circuit.failures_in_a_row(), circuit.window().failures()), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn a_policy_with_the_same_concurrency_limit_keeps_what_that_has_learned() {
    let policy = Policy::new().concurrency(Adaptive::new());
    let layer = under(policy.clone());
    let (handle, endpoint) = (layer.handle(), layer.layer(quick()));
    for _ in 0..10 {
        let calls: JoinSet<_> = (0..4).map(|_| endpoint.clone().oneshot(chat("hello", false))).collect();
        drop(calls.join_all().await);
    }
    let learned = handle.concurrency().unwrap().limit();
    assert!(learned > 4, "{learned}");
    handle.set_policy(policy.quota(Quota::requests_per_minute(600))).unwrap();
    assert_eq!(handle.concurrency().unwrap().limit(), learned);
}

// Calls in progress keep the policy that they began with, except for the gates, which are the same for all.
#[tokio::test(start_paused = true)]
async fn a_call_that_waits_draws_on_a_token_quota_that_is_set_meanwhile() {
    let requests = Quota::requests_per_minute(60).burst(1);
    let layer = under(Policy::new().quota(requests));
    let (handle, endpoint) = (layer.handle(), layer.layer(quick()));
    drop(endpoint.clone().oneshot(chat("hello", false)).await.unwrap());
    let waits = tokio::spawn(endpoint.clone().oneshot(chat("hello", false)));
    tokio::time::sleep(S / 2).await;
    handle
        .set_policy(Policy::new().quotas([requests, Quota::tokens_per_day(1_000_000)]))
        .unwrap();
    drop(waits.await.unwrap().unwrap());
    let left = handle.available()[1].1;
    assert!(left < 1_000_000, "{left}");
}

// Whoever waits is admitted or refused by the new policy at once, not when the old one would have let him in.
#[tokio::test(start_paused = true)]
async fn who_waits_hears_of_a_new_policy() {
    let tokens = |n| Policy::new().tokens_per_minute(n).max_wait(3_000 * S);
    // The quota is taken away, becomes larger, or too small for the call.
    for (policy, ok) in [
        (Policy::new(), true),
        (tokens(1_000_000), true),
        (tokens(10), false),
    ] {
        let layer = under(tokens(60));
        let (handle, endpoint) = (layer.handle(), layer.layer(quick()));
        let ask = || chat(&"word ".repeat(40), false);
        drop(endpoint.clone().oneshot(ask()).await.unwrap());
        let waits = tokio::spawn(endpoint.clone().oneshot(ask()));
        tokio::time::sleep(S / 100).await;
        assert_eq!(handle.waiting(), 1);
        let start = Instant::now();
        handle.set_policy(policy.clone()).unwrap();
        let result = waits.await.unwrap();
        assert!(result.is_ok() == ok && start.elapsed() < S, "{policy:?} {:?}", start.elapsed());
    }
    // So does a call that waits for a slot.
    for policy in [Policy::new(), Policy::new().concurrency(2)] {
        let layer = under(Policy::new().concurrency(1));
        let (handle, endpoint) =
            (layer.handle(), layer.layer(Server::new([Reply::json(200).after(100 * S)])));
        let _first = tokio::spawn(endpoint.clone().oneshot(chat("hello", false)));
        tokio::time::sleep(S).await;
        let waits = tokio::spawn(endpoint.clone().oneshot(chat("hello", false)));
        tokio::time::sleep(S).await;
        assert_eq!(handle.waiting(), 1);
        handle.set_policy(policy).unwrap();
        tokio::time::sleep(S).await;
        assert_eq!(handle.waiting(), 0);
        waits.abort();
    }
}

// The levels of an idle key belong to its quotas, not to their places: a new policy may name them in another order.
#[tokio::test(start_paused = true)]
async fn an_idle_key_keeps_its_levels_under_a_new_policy() {
    let (requests, tokens) = (Quota::requests_per_day(10).burst(10), Quota::tokens_per_day(1_000_000));
    let name = |request: &RequestView<'_>| request.headers().unwrap()["x-key"].to_str().unwrap().to_owned();
    let layer = under(Policy::new().quota(requests)).by_key(name);
    let (handle, endpoint) = (layer.handle(), layer.layer(quick()));
    for _ in 0..10 {
        let mut request = chat("hello", false);
        request.headers_mut().insert("x-key", "a".parse().unwrap());
        endpoint.clone().oneshot(request).await.unwrap().into_body().collect().await.unwrap();
    }
    // Others come and go, until it is idle.
    for key in 0..5_000 {
        drop(handle.of(&key.to_string()).unwrap());
    }
    handle.set_policy(Policy::new().quota(tokens).quota(requests)).unwrap();
    let available = handle.of(&"a".to_owned()).unwrap().available();
    assert_eq!((available[0].1, available[1].1), (1_000_000, 0));
}

static ARMED: AtomicU32 = AtomicU32::new(0);
static REQUESTS: AtomicU32 = AtomicU32::new(1);
static HANDLE: OnceLock<EndpointHandle> = OnceLock::new();

/// A key whose last clone may change the policy when it is dropped, as another thread may at any time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key(u32);

impl Drop for Key {
    fn drop(&mut self) {
        if ARMED.load(Ordering::SeqCst) == 1 && self.0 < 10_000 {
            ARMED.store(2, Ordering::SeqCst);
            REQUESTS.store(2, Ordering::SeqCst);
            HANDLE.get().unwrap().set_policy(Policy::new()).unwrap();
        }
    }
}

// A new policy applies to all keys. Without care, one that comes into use at that very moment would keep the old one forever.
#[tokio::test]
async fn a_key_that_comes_into_use_while_the_policy_changes_has_the_new_one() {
    let layer = under(Policy::new()).by_key_with(
        |_: &RequestView<'_>| Key(0),
        |key: &Key| {
            if key.0 >= 10_000 && ARMED.load(Ordering::SeqCst) == 0 {
                ARMED.store(1, Ordering::SeqCst);
            }
            vec![Quota::requests_per_day(REQUESTS.load(Ordering::SeqCst).into())]
        },
    );
    let handle = layer.handle();
    HANDLE.set(handle.clone()).unwrap();
    for key in 0..1_000 {
        drop(handle.of(&Key(key)).unwrap());
    }
    let mut key = 10_000;
    let mut held = Vec::new();
    while ARMED.load(Ordering::SeqCst) != 2 {
        ARMED.store(0, Ordering::SeqCst);
        key += 1;
        assert!(key < 20_000, "no key was forgotten meanwhile");
        held.push(handle.of(&Key(key)).unwrap());
    }
    let quotas: Vec<u64> = held.iter().map(|key| key.available()[0].0.amount()).collect();
    assert!(quotas.iter().all(|requests| *requests == 2), "{quotas:?}");
}
