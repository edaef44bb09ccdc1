//! Calls that are dropped.

use std::time::Duration;

use aplomb::rate_limit::{Pool, Quota};
use aplomb::{Closing, OutgoingRequest, Policy};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt};

use crate::calls::{chat, under};
use crate::script::{Reply, Server, Step, data, done, word};

const S: Duration = Duration::from_secs(1);

// In the queue, in the hook, before the head, in the body, between attempts, and while the policy changes.
#[tokio::test(start_paused = true)]
async fn calls_dropped_anywhere_leave_nothing_behind() {
    let mut seed = 7_u64;
    let mut random = move |below: u32| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(seed >> 33).unwrap() % below
    };
    let mut down = Reply::of("application/json", [data("{"), Step::Wait(S / 10), data("}")]).after(S / 5);
    down.status = 503;
    let mut throttled = Reply::json(429);
    throttled.headers.push(("retry-after", "1".into()));
    let mut replies = Vec::new();
    for n in 0..400 {
        replies.push(match n % 5 {
            0 => down.clone(),
            1 => throttled.clone(),
            2 => Reply::stream([Step::Wait(S / 3), word("a"), Step::Wait(S / 3), Step::Cut]).after(S / 3),
            _ => Reply::stream([word("a"), Step::Wait(S / 3), word("b"), done()]).after(S / 3),
        });
    }
    let pool = Pool::new([Quota::tokens_per_minute(1_000_000)]);
    let policy = Policy::new()
        .pool(&pool)
        .concurrency(8)
        .quota(Quota::requests_per_second(40))
        .deadline(20 * S)
        .max_waiting(50);
    let layer = under(policy).request_hook(|outgoing: OutgoingRequest| async move {
        tokio::time::sleep(S / 7).await;
        Ok(outgoing)
    });
    let (handle, endpoint) = (layer.handle(), layer.layer(Server::new(replies)));
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..1_500 {
        let call = endpoint.clone().oneshot(chat("hello", true));
        let patience = Duration::from_millis(random(4_000).into());
        calls.spawn(tokio::time::timeout(patience, async move {
            if let Ok(response) = call.await {
                let _ = response.into_body().collect().await;
            }
        }));
        tokio::time::sleep(Duration::from_millis(random(30).into())).await;
        if n % 100 == 99 {
            handle
                .set_policy(handle.policy().concurrency(4 + usize::try_from(random(8)).unwrap()))
                .unwrap();
        }
    }
    calls.join_all().await;
    handle.close(Closing::Drain);
    tokio::time::timeout(S, handle.drained()).await.unwrap();
    assert_eq!((handle.in_flight(), handle.waiting()), (0, 0));
    assert_eq!(handle.concurrency().unwrap().in_flight(), 0);
    assert_eq!(pool.snapshot().in_flight(), 0);
    tokio::time::sleep(120 * S).await;
    assert_eq!(handle.available()[0].1, 40);
    assert_eq!(pool.snapshot().available()[0].1, 1_000_000);
}
