//! Whatever happens in several queues before several pools, every call is served or rejected.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use aplomb_admission::{Acquire, Closing, Decision, End, Gate, Permit, Queue, QueueLimits, Wait};
use aplomb_core::{CallOptions, Outcome, Priority};
use aplomb_rate_limit::{Charge, Dimension, Pool, PoolMember, Quota, Quotas};
use proptest::prelude::*;
use tokio::time::{Instant, advance};
use tokio_test::task::{self, Spawn};

use super::S;
use crate::gate_support::{Both, simple};

/// So many at a time.
struct Places {
    free: i32,
}

impl Gate for Places {
    type Cost = ();
    type Token = ();
    type Reason = ();
    type Event = Infallible;

    fn check(&mut self, (): &(), _: Instant) -> Decision<()> {
        if self.free > 0 {
            Decision::Admit
        } else {
            Decision::WhenReleased(())
        }
    }

    fn admit(&mut self, (): &(), _: Instant) {
        self.free -= 1;
    }

    fn end(&mut self, (): (), _: End, _: Instant) {
        self.free += 1;
    }

    simple!();
}

/// Closed until an instant.
struct Barrier {
    until: Option<Instant>,
}

impl Gate for Barrier {
    type Cost = ();
    type Token = ();
    type Reason = ();
    type Event = Infallible;

    fn check(&mut self, (): &(), now: Instant) -> Decision<()> {
        match self.until {
            Some(until) if until > now => Decision::NotBefore(until, ()),
            _ => Decision::Admit,
        }
    }

    fn admit(&mut self, (): &(), _: Instant) {}

    fn end(&mut self, (): (), _: End, _: Instant) {}

    simple!();
}

type Gates = Both<Barrier, Both<Quotas, Both<PoolMember, Both<PoolMember, Places>>>>;

#[derive(Clone, Debug)]
enum Step {
    Arrive {
        line: usize,
        tokens: u64,
        level: u8,
        deadline: Option<u64>,
    },
    Drop(usize),
    End(usize, u8),
    Advance(u64),
    Shut(usize, u64),
    Quotas(u64),
    Close(usize),
    Other(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..5_usize, 0..60_u64, 0..4_u8, prop::option::of(1..5_000_u64))
            .prop_map(|(line, tokens, level, deadline)| Step::Arrive { line, tokens, level, deadline }),
        2 => any::<usize>().prop_map(Step::Drop),
        6 => (any::<usize>(), 0..6_u8).prop_map(|(i, how)| Step::End(i, how)),
        4 => (1..800_u64).prop_map(Step::Advance),
        1 => (0..5_usize, 1..3_000_u64).prop_map(|(l, t)| Step::Shut(l, t)),
        1 => (60..400_u64).prop_map(Step::Quotas),
        1 => (0..40_usize).prop_map(Step::Close),
        1 => (0..5_usize).prop_map(Step::Other),
    ]
}

fn quotas(tokens: u64) -> [Quota; 2] {
    [
        Quota::new(Dimension::TOKENS, tokens, S),
        Quota::requests_per_second(20).burst(3),
    ]
}

fn level(level: u8) -> Priority {
    match level {
        0 => Priority::default(),
        level => Priority::level(level),
    }
}

async fn play(steps: Vec<Step>) {
    let (pool, second) = (Pool::new(quotas(100)), Pool::new([Quota::requests_per_second(10)]));
    let plenty = Pool::new([Quota::requests_per_second(1_000_000)]);
    plenty.set_learning(false);
    pool.set_learning(false);
    let queues: Vec<Queue<Gates>> = (0..5)
        .map(|i| {
            let own = Quotas::new([Quota::requests_per_second(5 + 5 * i).burst(2)]);
            // Every other queue draws on a second pool, the rest on one that is never empty.
            let other = if i % 2 == 0 {
                second.member()
            } else {
                plenty.member()
            };
            let places = Places { free: 1 + (i % 3) as i32 };
            let gates = Both(Barrier { until: None }, Both(own, Both(pool.member(), Both(other, places))));
            Queue::new(gates, QueueLimits::new().ageing(S), |_| ())
        })
        .collect();
    let mut waiting: Vec<Spawn<Acquire<Gates>>> = Vec::new();
    let mut flying: Vec<Permit<Gates>> = Vec::new();
    let collect = |waiting: &mut Vec<Spawn<Acquire<Gates>>>, flying: &mut Vec<Permit<Gates>>| {
        waiting.retain_mut(|call| {
            if !call.is_woken() {
                return true;
            }
            match call.poll() {
                Poll::Pending => true,
                Poll::Ready(Ok(mut permit)) => {
                    permit.sent();
                    flying.push(permit);
                    false
                }
                Poll::Ready(Err(_)) => false,
            }
        });
    };
    for step in steps {
        match step {
            Step::Arrive { line, tokens, level: l, deadline } => {
                let charge = Charge::request().input_tokens(tokens);
                let mut options = CallOptions::new().with_priority(level(l));
                if let Some(deadline) = deadline {
                    options = options.with_deadline(Instant::now() + Duration::from_millis(deadline));
                }
                let ask = ((), (charge.clone(), (charge.clone(), (charge, ()))));
                let mut call = task::spawn(queues[line].acquire(ask, Wait::from(&options)));
                match call.poll() {
                    Poll::Ready(Ok(mut permit)) => {
                        permit.sent();
                        flying.push(permit);
                    }
                    Poll::Ready(Err(_)) => {}
                    Poll::Pending => waiting.push(call),
                }
            }
            Step::Drop(i) if !waiting.is_empty() => drop(waiting.swap_remove(i % waiting.len())),
            Step::End(i, how) if !flying.is_empty() => {
                let permit = flying.swap_remove(i % flying.len());
                match how {
                    0 => permit.end(End::Unsent),
                    1 => drop(permit),
                    2 => permit.end(End::Judged {
                        outcome: Outcome::throttled().with_retry_after(Duration::from_millis(300)),
                        usage: None,
                    }),
                    _ => permit.end(End::Judged { outcome: Outcome::success(), usage: None }),
                }
            }
            Step::Advance(millis) => advance(Duration::from_millis(millis)).await,
            Step::Shut(line, millis) => queues[line].with(|gates, now| {
                gates.0.until = Some(now + Duration::from_millis(millis));
            }),
            Step::Quotas(tokens) => pool.set_quotas(quotas(tokens)),
            Step::Close(line) if line < 5 => queues[line].close(Closing::Fail),
            Step::Other(line) => {
                // A member alone comes and goes.
                let limiter = pool.limiter();
                let mut call = task::spawn(limiter.acquire(Charge::request().input_tokens(line as u64)));
                let _ = call.poll();
            }
            _ => {}
        }
        collect(&mut waiting, &mut flying);
    }
    let end = Instant::now() + 120 * S;
    while !waiting.is_empty() && Instant::now() < end {
        flying.drain(..).for_each(|permit| {
            permit.end(End::Judged { outcome: Outcome::success(), usage: None });
        });
        collect(&mut waiting, &mut flying);
        advance(Duration::from_millis(50)).await;
        collect(&mut waiting, &mut flying);
    }
    assert!(waiting.is_empty(), "{} wait forever: {:?}", waiting.len(), pool.snapshot());
    flying.clear();
    for pool in [&pool, &second] {
        assert_eq!((pool.snapshot().in_flight(), pool.snapshot().waiting()), (0, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever is dropped, closed, shut, taken out of order or changed, every call is served or rejected.
    #[test]
    fn promise_20_nobody_waits_for_ever(steps in prop::collection::vec(step(), 0..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(play(steps));
    }
}

/// Another gate rejects the head now and then, so that the head comes and goes
/// as one that waits for the pool: its queue loses its place each time, but holds no other up.
#[tokio::test(start_paused = true)]
async fn promise_18_a_member_that_flaps_neither_starves_nor_holds_others() {
    let pool = Pool::new([Quota::requests_per_second(10).burst(1)]);
    let flapping = Queue::new(Both(Barrier { until: None }, pool.member()), QueueLimits::new(), |_| ());
    let other = pool.limiter();
    let count = Arc::new(AtomicU32::new(0));
    for _ in 0..20 {
        let (other, count) = (other.clone(), Arc::clone(&count));
        tokio::spawn(async move {
            loop {
                other.acquire(Charge::request()).await.unwrap().sent();
                count.fetch_add(1, Relaxed);
            }
        });
    }
    let mine = Arc::new(AtomicU32::new(0));
    for _ in 0..20 {
        let (flapping, mine) = (flapping.clone(), Arc::clone(&mine));
        tokio::spawn(async move {
            loop {
                flapping.acquire(((), Charge::request()), Wait::default()).await.unwrap().sent();
                mine.fetch_add(1, Relaxed);
            }
        });
    }
    // Shut for 1 ms out of 70.
    for _ in 0..1_000 {
        tokio::time::sleep(Duration::from_millis(69)).await;
        flapping.with(|gates, now| gates.0.until = Some(now + Duration::from_millis(1)));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (mine, others) = (mine.load(Relaxed), count.load(Relaxed));
    assert!(mine + others >= 690, "{mine} {others}");
    assert!(mine >= 100, "{mine} {others}");
}

/// Many queues of one caller each, by priority: no call overtakes across queues.
#[tokio::test(start_paused = true)]
async fn promise_18_many_queues_of_one_are_served_in_order() {
    let pool = Pool::new([Quota::requests_per_second(100).burst(1)]);
    pool.limiter().acquire(Charge::request()).await.unwrap().sent();
    let limiters: Vec<_> = (0..3_000).map(|_| pool.limiter()).collect();
    let mut calls: Vec<_> =
        limiters.iter().map(|limiter| task::spawn(limiter.acquire(Charge::request()))).collect();
    for call in &mut calls {
        let _ = call.poll();
    }
    let mut next = 0;
    for _ in 0..3_100 {
        advance(Duration::from_millis(10)).await;
        while next < calls.len() {
            if let Poll::Ready(permit) = calls[next].poll() {
                permit.unwrap().sent();
                next += 1;
            } else {
                break;
            }
        }
    }
    assert_eq!(next, 3_000);
}
