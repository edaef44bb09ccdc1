//! A member joined with other gates, and by key.

use std::convert::Infallible;

use aplomb_admission::{Acquire, Decision, End, Gate, Queue, QueueLimits, Wait};
use aplomb_core::{CallOptions, RequestView};
use aplomb_rate_limit::{Charge, Pool, PoolMember, Quota, Quotas, RateLimitLayer};
use tokio::time::{Instant, advance};
use tokio_test::task::{self, Spawn};
use tokio_test::{assert_pending, assert_ready_ok};

use super::{S, acquire, tokens, tokens_per_second};
use crate::gate_support::{Both, simple};

/// Always decides the same, like an open circuit or a full concurrency limit.
struct Says(Decision<()>);

impl Gate for Says {
    type Cost = ();
    type Token = ();
    type Reason = ();
    type Event = Infallible;

    fn check(&mut self, (): &(), _: Instant) -> Decision<()> {
        self.0
    }

    fn admit(&mut self, (): &(), _: Instant) {}

    fn end(&mut self, (): (), _: End, _: Instant) {}

    simple!();
}

type Gates = Both<Says, Both<PoolMember, Quotas>>;

fn queue(pool: &Pool, says: Decision<()>) -> Queue<Gates> {
    let own = Quotas::new([Quota::requests_per_second(1_000)]);
    Queue::new(Both(Says(says), Both(pool.member(), own)), QueueLimits::new(), |_| ())
}

fn asks(queue: &Queue<Gates>, charge: &Charge) -> Spawn<Acquire<Gates>> {
    task::spawn(queue.acquire(((), (charge.clone(), charge.clone())), Wait::default()))
}

#[tokio::test(start_paused = true)]
async fn promise_19_a_member_that_is_parked_behind_another_gate_holds_nothing_of_the_pool() {
    let pool = Pool::new([tokens_per_second(100)]);
    let other = pool.limiter();
    let far = Instant::now() + 3_600 * S;
    for parked in [Decision::NotBefore(far, ()), Decision::WhenReleased(())] {
        let queue = queue(&pool, parked);
        let mut waits = asks(&queue, &tokens(60));
        assert_pending!(waits.poll());
        assert_eq!((pool.snapshot().in_flight(), pool.snapshot().waiting()), (0, 0));
        // The other gets everything, even while the parked one is asked again and again, and nothing is left.
        for _ in 0..20 {
            other.acquire(tokens(100)).await.unwrap().sent();
            let mut small = acquire(&other, tokens(50));
            assert_pending!(small.poll());
            let mut more = asks(&queue, &tokens(1));
            assert_pending!(more.poll());
            assert_eq!(pool.snapshot().waiting(), 1, "only the other waits for the pool");
            advance(S / 2 + S / 1_000).await;
            drop(assert_ready_ok!(small.poll()));
            advance(S).await;
        }
        // When it is let in, what there is is its own.
        queue.with(|gates, _| gates.0.0 = Decision::Admit);
        drop(assert_ready_ok!(waits.poll()));
        assert_eq!(pool.snapshot().available()[0].1, 100, "given back");
    }
}

#[tokio::test(start_paused = true)]
async fn promise_19_who_waits_for_the_pool_lets_others_go_at_once_when_its_circuit_opens() {
    let pool = Pool::new([tokens_per_second(100)]);
    let other = pool.limiter();
    other.acquire(tokens(50)).await.unwrap().sent();
    let queue = queue(&pool, Decision::Admit);
    let mut large = asks(&queue, &tokens(100));
    assert_pending!(large.poll());
    let mut small = acquire(&other, tokens(50));
    assert_pending!(small.poll());
    let now = Instant::now();
    queue.with(|gates, now| gates.0.0 = Decision::NotBefore(now + 60 * S, ()));
    assert_eq!(assert_ready_ok!(small.poll()).admitted_at(), now);
    // Its circuit closes, and it may go.
    queue.with(|gates, _| gates.0.0 = Decision::Admit);
    advance(S).await;
    drop(assert_ready_ok!(large.poll()));
}

#[tokio::test(start_paused = true)]
async fn promise_19_all_or_nothing_of_two_pools() {
    let (one, other) = (Pool::new([tokens_per_second(100)]), Pool::new([tokens_per_second(10)]));
    let queue = Queue::new(Both(one.member(), other.member()), QueueLimits::new(), |_| ());
    let ask = || (tokens(10), tokens(10));
    other.limiter().acquire(tokens(10)).await.unwrap().sent();
    let mut call = task::spawn(queue.acquire(ask(), Wait::default()));
    assert_pending!(call.poll());
    assert_eq!((one.snapshot().available()[0].1, one.snapshot().waiting()), (100, 0));
    assert_eq!(other.snapshot().waiting(), 1);
    advance(S + S / 1_000).await;
    let permit = assert_ready_ok!(call.poll());
    assert_eq!((one.snapshot().available()[0].1, other.snapshot().available()[0].1), (90, 0));
    drop(permit);
    assert_eq!((one.snapshot().available()[0].1, other.snapshot().available()[0].1), (100, 10));
}

#[tokio::test(start_paused = true)]
async fn promise_17_and_25_the_queues_of_many_keys_draw_on_one_pool_and_are_evicted() {
    let pool = Pool::new([tokens_per_second(100)]);
    let layer = RateLimitLayer::with_pool(&pool).by_key(|_: &RequestView<'_>| 0_u32);
    let limiter = layer.limiter();
    let asks = |key: u32| {
        let limiter = limiter.clone();
        task::spawn(async move { limiter.acquire_for(&key, tokens(40), &CallOptions::new()).await })
    };
    let mut calls: Vec<_> = (0..10).map(asks).collect();
    let mut gone = Vec::new();
    for seconds in 0..=4_usize {
        let mut index = 0;
        calls.retain_mut(|call| {
            let std::task::Poll::Ready(permit) = call.poll() else {
                return true;
            };
            let mut permit = permit.unwrap();
            permit.sent();
            gone.push((permit.admitted_at(), index));
            index += 1;
            false
        });
        assert!(gone.len() * 40 <= 100 + 101 * seconds);
        advance(S).await;
    }
    assert_eq!((calls.len(), gone.len()), (0, 10), "each has gone");
    advance(10 * S).await;
    limiter.forget_idle();
    assert_eq!(limiter.keys(), Some(0), "nothing is kept of a member, and nothing holds it");
}

/// Panics when it admits for the first time.
struct Panics(bool);

impl Gate for Panics {
    type Cost = ();
    type Token = ();
    type Reason = ();
    type Event = Infallible;

    fn check(&mut self, (): &(), _: Instant) -> Decision<()> {
        Decision::Admit
    }

    fn admit(&mut self, (): &(), _: Instant) {
        assert!(std::mem::take(&mut self.0), "as planned");
        self.0 = true;
    }

    fn end(&mut self, (): (), _: End, _: Instant) {}

    simple!();
}

#[tokio::test(start_paused = true)]
async fn promise_7_and_20_what_was_taken_when_another_gate_panicked_is_given_back() {
    let pool = Pool::new([tokens_per_second(100)]);
    for asked_again in [true, false] {
        let queue = Queue::new(Both(Panics(false), pool.member()), QueueLimits::new(), |_| ());
        let mut call = task::spawn(queue.acquire(((), tokens(30)), Wait::default()));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| call.poll().is_ready()));
        assert!(panicked.is_err());
        assert_eq!(pool.snapshot().available()[0].1, 70);
        if asked_again {
            queue.with(|gates, _| gates.0.0 = true);
            let mut call = task::spawn(queue.acquire(((), tokens(10)), Wait::default()));
            let permit = assert_ready_ok!(call.poll());
            assert_eq!((pool.snapshot().available()[0].1, pool.snapshot().in_flight()), (90, 1));
            drop(permit);
        }
        drop((call, queue));
        assert_eq!((pool.snapshot().available()[0].1, pool.snapshot().in_flight()), (100, 0));
    }
}
