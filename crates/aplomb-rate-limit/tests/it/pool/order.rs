//! First come, first served, across queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use aplomb_admission::RejectReason;
use aplomb_core::CallOptions;
use aplomb_rate_limit::{Charge, Pool, Quota, RateLimiter};
use tokio::time::{Instant, advance, sleep};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok};

use super::{S, acquire, tokens, tokens_per_second};

#[tokio::test(start_paused = true)]
async fn promise_18_small_calls_of_one_member_do_not_starve_a_large_one_of_another() {
    let pool = Pool::new([tokens_per_second(100)]);
    let (small, large) = (pool.limiter(), pool.limiter());
    // Twice what flows.
    let stream = tokio::spawn(async move {
        loop {
            let small = small.clone();
            tokio::spawn(async move { small.acquire(tokens(10)).await.unwrap().sent() });
            sleep(S / 20).await;
        }
    });
    sleep(10 * S).await;
    let start = Instant::now();
    drop(large.acquire(tokens(100)).await.unwrap());
    // At most the one head before it, and then a full bucket.
    assert!(start.elapsed() <= S + S / 10 + S / 100, "{:?}", start.elapsed());
    stream.abort();
}

/// Callers without end, each of which asks again when it has gone.
fn callers(limiter: &RateLimiter, callers: u32, cost: u64) -> Arc<AtomicU64> {
    let gone = Arc::new(AtomicU64::new(0));
    for _ in 0..callers {
        let (limiter, gone) = (limiter.clone(), Arc::clone(&gone));
        tokio::spawn(async move {
            loop {
                limiter.acquire(tokens(cost)).await.unwrap().sent();
                gone.fetch_add(1, Relaxed);
            }
        });
    }
    gone
}

#[tokio::test(start_paused = true)]
async fn promise_18_equal_members_share_equally_however_long_their_lines_are() {
    let pool = Pool::new([tokens_per_second(100)]);
    let gone = [1, 7, 300].map(|length| callers(&pool.limiter(), length, 5));
    sleep(60 * S).await;
    let gone = gone.map(|gone| gone.load(Relaxed));
    let all: u64 = gone.iter().sum();
    // 20 a second, and 20 at first.
    assert!((1_215..=1_220).contains(&all), "{all}: not a token is lost between the members");
    assert!(gone.iter().all(|gone| gone.abs_diff(all / 3) <= all / 50), "{gone:?}");
}

#[tokio::test(start_paused = true)]
async fn promise_18_the_full_rate_at_hundreds_a_tick_and_for_many_members() {
    for (members, rate, burst) in [(3, 10_000, 11), (200, 100, 2)] {
        let pool = Pool::new([Quota::requests_per_second(rate).burst(burst)]);
        let gone: Vec<_> = (0..members).map(|_| callers(&pool.limiter(), 12, 0)).collect();
        sleep(10 * S).await;
        let all: u64 = gone.iter().map(|gone| gone.load(Relaxed)).sum();
        assert!(all > rate * 99 / 10 && all <= rate * 10 + u64::from(burst), "{all} of {rate} a second");
        let gone: Vec<_> = gone.iter().map(|gone| gone.load(Relaxed)).collect();
        // Except for the burst, which goes to the first that comes.
        let (fair, first) = (all / members, u64::from(burst));
        assert!(gone.iter().all(|gone| gone.abs_diff(fair) <= fair / 50 + first), "{gone:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn promise_18_and_26_who_came_later_waits_behind_and_goes_at_once_when_that_one_leaves() {
    let pool = Pool::new([tokens_per_second(100)]);
    let (a, b) = (pool.limiter(), pool.limiter());
    a.acquire(tokens(50)).await.unwrap().sent();
    let mut large = acquire(&a, tokens(100));
    assert_pending!(large.poll());
    let mut small = acquire(&b, tokens(10));
    assert_pending!(small.poll());
    assert_eq!(pool.snapshot().available()[0].1, 50, "there would be enough");
    // The large one in half a second; the small one's tokens, drawn from an empty bucket, after that.
    advance(S / 2 + Duration::from_millis(1)).await;
    assert!(large.is_woken());
    assert!(!small.is_woken());
    assert_ready_ok!(large.poll()).sent();
    let mut next = acquire(&a, tokens(100));
    assert_pending!(next.poll());
    advance(S / 10).await;
    assert_ready_ok!(small.poll()).sent();
    // A head that leaves holds no other up, not even for a moment.
    advance(S / 2).await;
    let mut small = acquire(&b, tokens(10));
    assert_pending!(small.poll());
    let now = Instant::now();
    drop(next);
    assert_eq!(assert_ready_ok!(small.poll()).admitted_at(), now);
}

#[tokio::test(start_paused = true)]
async fn promise_18_the_next_of_a_line_takes_the_place_of_a_head_that_leaves() {
    let pool = Pool::new([tokens_per_second(100)]);
    let (a, b) = (pool.limiter(), pool.limiter());
    a.acquire(tokens(100)).await.unwrap().sent();
    let mut first = acquire(&a, tokens(50));
    assert_pending!(first.poll());
    let mut second = acquire(&a, tokens(50));
    assert_pending!(second.poll());
    let mut other = acquire(&b, tokens(50));
    assert_pending!(other.poll());
    drop(first);
    advance(S / 2 + Duration::from_millis(1)).await;
    assert_ready_ok!(second.poll()).sent();
    assert_pending!(other.poll());
    advance(S / 2).await;
    assert_ready_ok!(other.poll()).sent();
}

#[tokio::test(start_paused = true)]
async fn promise_22_a_wait_behind_the_heads_of_other_queues_that_cannot_end_in_time_is_rejected_immediately()
{
    let pool = Pool::new([tokens_per_second(100)]);
    let (a, b) = (pool.limiter(), pool.limiter());
    a.acquire(tokens(100)).await.unwrap().sent();
    let mut large = acquire(&a, tokens(90));
    assert_pending!(large.poll());
    let within = |wait| CallOptions::new().with_deadline(Instant::now() + wait);
    let short = within(S);
    let mut late = tokio_test::task::spawn(b.acquire_with(tokens(20), &short));
    let refused = assert_ready_err!(late.poll());
    assert_eq!(
        (refused.reject_reason(), refused.retry_after()),
        (RejectReason::WaitTooLong, Some(S + S / 10))
    );
    assert_eq!(pool.snapshot().waiting(), 1, "it has not taken a place");
    let longer = within(S + S / 5);
    let mut in_time = tokio_test::task::spawn(b.acquire_with(tokens(20), &longer));
    assert_pending!(in_time.poll());
    // A call that is rejected forever does not wait for the others.
    let mut huge = acquire(&b, Charge::request().input_tokens(101));
    assert_ready_err!(huge.poll());
}
