//! One member lets another go, or stops it, without any time passing.

use std::time::Duration;

use aplomb_core::{Outcome, Reading};
use aplomb_rate_limit::{Charge, Dimension, Pool, Quota, RateLimitReason, Settle};
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok};

use super::{S, acquire, tokens, tokens_per_second};

#[tokio::test(start_paused = true)]
async fn promise_20_what_one_member_gives_back_another_can_take_at_once() {
    let pool = Pool::new([tokens_per_second(100).settle(Settle::Correct)]);
    let (a, b) = (pool.limiter(), pool.limiter());
    for settled in [false, true] {
        let mut held = a.acquire(tokens(100)).await.unwrap();
        let mut waits = acquire(&b, tokens(80));
        assert_pending!(waits.poll());
        if settled {
            held.sent();
            held.settle(&tokens(20));
        } else {
            drop(held);
        }
        let permit = assert_ready_ok!(waits.poll());
        assert_eq!(permit.admitted_at(), Instant::now());
        drop(permit);
        advance(S).await;
    }
}

#[tokio::test(start_paused = true)]
async fn promise_25_quotas_changed_at_the_pool_or_at_a_member_hold_for_all() {
    let pool = Pool::new([Quota::requests_per_minute(1)]);
    let (a, b) = (pool.limiter(), pool.limiter());
    a.acquire(Charge::request()).await.unwrap().sent();
    let mut waits = acquire(&b, Charge::request());
    assert_pending!(waits.poll());
    pool.set_quotas([Quota::requests_per_minute(1).burst(2)]);
    assert_ready_ok!(waits.poll()).sent();
    let mut waits = acquire(&b, Charge::request());
    assert_pending!(waits.poll());
    a.set_quotas([Quota::requests_per_minute(1).burst(3)]);
    assert_ready_ok!(waits.poll()).sent();
    assert_eq!((a.snapshot().in_flight(), b.snapshot().in_flight()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_lets_thousands_go_of_several_lines_goes_no_deeper_for_each() {
    let pool = Pool::new([Quota::requests_per_day(1)]);
    let members = [pool.limiter(), pool.limiter()];
    members[0].acquire(Charge::request()).await.unwrap().sent();
    let mut waiting: Vec<_> = (0..20_000).map(|i| acquire(&members[i % 2], Charge::request())).collect();
    for call in &mut waiting {
        assert_pending!(call.poll());
    }
    // All in one thread, one after the other of each queue in turn.
    pool.set_quotas([Quota::requests_per_second(30_000)]);
    for call in &mut waiting {
        assert_ready_ok!(call.poll()).sent();
    }
    assert_eq!(pool.snapshot().waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn promise_23_a_429_of_one_member_pauses_the_others() {
    let pool = Pool::new([tokens_per_second(100)]);
    let (a, b) = (pool.limiter(), pool.limiter());
    let throttled = a.acquire(tokens(1)).await.unwrap();
    throttled.end(Outcome::throttled().with_retry_after(3 * S));
    assert_eq!(pool.snapshot().paused_for(), Some(3 * S));
    let mut waits = acquire(&b, tokens(1));
    assert_pending!(waits.poll());
    advance(Duration::from_millis(2_999)).await;
    assert!(!waits.is_woken());
    // And a hundredth of a second for the token: the quota starts with nothing.
    advance(Duration::from_millis(12)).await;
    assert_ready_ok!(waits.poll()).sent();
}

#[tokio::test(start_paused = true)]
async fn promise_23_the_slow_start_after_a_pause_is_one_for_all_members_and_served_in_order() {
    let pool = Pool::new([Quota::requests_per_second(1_000)]);
    let members = [pool.limiter(), pool.limiter(), pool.limiter()];
    let throttled = members[0].acquire(Charge::request()).await.unwrap();
    throttled.end(Outcome::throttled().with_retry_after(S));
    let start = Instant::now();
    let mut waiting: Vec<_> = (0..30).map(|i| acquire(&members[i % 3], Charge::request())).collect();
    for call in &mut waiting {
        assert_pending!(call.poll());
    }
    let (mut gone, mut went) = (Vec::new(), Vec::new());
    advance(S).await;
    while gone.len() < waiting.len() && start.elapsed() < 3 * S {
        for (index, call) in waiting.iter_mut().enumerate() {
            if gone.contains(&index) {
                continue;
            }
            if let std::task::Poll::Ready(permit) = call.poll() {
                // They are unanswered for as long as this lasts.
                went.push(permit.unwrap());
                gone.push(index);
            }
        }
        assert_eq!(gone, (0..gone.len()).collect::<Vec<_>>(), "first come, first served");
        advance(Duration::from_millis(5)).await;
    }
    let took = start.elapsed();
    assert_eq!(gone.len(), 30);
    assert!(took > S + S / 20 && took < 2 * S, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn promise_23_a_pause_that_is_too_long_refuses_who_waits_in_other_lines() {
    let pool = Pool::new([tokens_per_second(100)]);
    let (a, b) = (pool.limiter(), pool.limiter());
    let all = a.acquire(tokens(100)).await.unwrap();
    let mut waiting = [acquire(&b, tokens(1)), acquire(&b, tokens(1))];
    for call in &mut waiting {
        assert_pending!(call.poll());
    }
    all.end(Outcome::throttled().with_retry_after(600 * S));
    for call in &mut waiting {
        let refused = assert_ready_err!(call.poll());
        assert_eq!(refused.reason(), Some(RateLimitReason::Exhausted { retry_after: 600 * S }));
    }
}

#[tokio::test(start_paused = true)]
async fn promise_24_an_unknown_limit_is_found_for_all_members_and_an_answer_to_one_lets_others_go() {
    let pool = Pool::new([]);
    let (a, b) = (pool.limiter(), pool.limiter());
    let mut flying = Vec::new();
    for _ in 0..8 {
        flying.push(a.acquire(Charge::request()).await.unwrap());
    }
    let mut others = [acquire(&b, Charge::request()), acquire(&b, Charge::request())];
    let mut own = acquire(&a, Charge::request());
    for call in others.iter_mut().chain([&mut own]) {
        assert_pending!(call.poll());
    }
    // An answer makes room for two: the head of the other queue came first, its second after our own.
    flying.remove(0).end(Outcome::success());
    assert!(others[0].is_woken() && own.is_woken() && !others[1].is_woken());
    drop(others.each_mut().map(|call| call.poll().map(Result::unwrap)));
    let mut permit = assert_ready_ok!(own.poll());
    // A limit that the server reports to one holds for all.
    let minute = Duration::from_secs(60);
    permit.limits(&[Reading::of(Dimension::REQUESTS).with_limit(60).with_remaining(0).with_window(minute)]);
    assert_eq!(b.learned(), pool.learned());
    assert_eq!(pool.learned().known_quotas().len(), 1);
    let started = Pool::new([]);
    started.remember(&pool.learned());
    assert_eq!(started.learned().known_quotas(), pool.learned().known_quotas());
}
