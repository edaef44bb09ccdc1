//! Against a plain model: a level in nanoseconds, and a list of what went.

use aplomb_core::Outcome;
use aplomb_rate_limit::{Pool, Settle};
use proptest::prelude::*;
use tokio::time::{Instant, advance};

use super::{Acquiring, Permit, S, acquire, tokens, tokens_per_second};
use tokio_test::task::Spawn;

const AMOUNT: u64 = 100;
/// A token flows back in this many nanoseconds.
const INTERVAL: u128 = 10_000_000;

#[derive(Clone, Copy, Debug)]
enum Step {
    Arrives { member: usize, cost: u64 },
    Leaves(usize),
    Ends { which: usize, how: u8, used: u64 },
    Passes(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_usize..3, 1_u64..=AMOUNT).prop_map(|(member, cost)| Step::Arrives { member, cost }),
        1 => any::<usize>().prop_map(Step::Leaves),
        3 => (any::<usize>(), 0_u8..4, 0_u64..150)
            .prop_map(|(which, how, used)| Step::Ends { which, how, used }),
        2 => (1_u64..700).prop_map(Step::Passes),
    ]
}

/// The model: until when the bucket is drawn, and which calls went when.
struct Model {
    start: Instant,
    drawn_until: u128,
    gone: Vec<(u128, u64)>,
}

struct Flying {
    permit: Permit,
    cost: u64,
    until: u128,
}

impl Model {
    fn nanos(&self, at: Instant) -> u128 {
        (at - self.start).as_nanos()
    }

    fn goes(&mut self, permit: Permit, cost: u64) -> Flying {
        let at = self.nanos(permit.admitted_at());
        self.drawn_until = self.drawn_until.max(at) + u128::from(cost) * INTERVAL;
        self.gone.push((at, cost));
        Flying { permit, cost, until: self.drawn_until }
    }

    /// So much was not used after all.
    fn back(&mut self, cost: u64, until: u128, now: u128) {
        self.drawn_until -= (u128::from(cost) * INTERVAL).min(until.saturating_sub(now));
    }

    fn left(&self, now: u128) -> i64 {
        let owed = self.drawn_until.saturating_sub(now).div_ceil(INTERVAL);
        i64::try_from(AMOUNT).unwrap() - i64::try_from(owed).unwrap()
    }

    /// In any window at most a burst and what flows.
    fn no_window_is_exceeded(&self) -> bool {
        self.gone.iter().enumerate().all(|(i, (start, _))| {
            let mut sum = 0;
            self.gone[i..].iter().all(|(end, cost)| {
                sum += u128::from(*cost);
                sum <= u128::from(AMOUNT) + (end - start) / INTERVAL
            })
        })
    }
}

/// Ends a call in one of several ways, and notes the expected books.
fn end(flying: Flying, how: u8, used: u64, model: &mut Model) {
    let Flying { mut permit, cost, until } = flying;
    let now = model.nanos(Instant::now());
    match how {
        0 => {
            drop(permit);
            model.back(cost, until, now);
        }
        1 => {
            permit.sent();
            drop(permit);
        }
        2 => permit.end(Outcome::transient()),
        _ => {
            permit.sent();
            permit.settle(&tokens(used));
            if used > cost {
                model.drawn_until = model.drawn_until.max(now) + u128::from(used - cost) * INTERVAL;
            } else {
                model.back(cost - used, until, now);
            }
        }
    }
}

/// The calls that wait in three queues, and the queues in the order in which their heads began to wait.
#[derive(Default)]
struct Waiting {
    calls: Vec<(usize, u64, Spawn<Acquiring>)>,
    order: Vec<usize>,
}

impl Waiting {
    fn arrives(&mut self, line: usize, cost: u64, call: Spawn<Acquiring>) {
        self.calls.push((line, cost, call));
        self.keep_order();
    }

    /// A queue has a place if calls wait in it.
    fn keep_order(&mut self) {
        let waits = |line: &usize| self.calls.iter().any(|(of, ..)| of == line);
        self.order.retain(waits);
        let new: Vec<_> = (0..3).filter(|line| waits(line) && !self.order.contains(line)).collect();
        self.order.extend(new);
    }

    /// Collects the admitted calls: by time, and at the same time in order.
    fn collect(&mut self, flying: &mut Vec<Flying>, model: &mut Model) {
        let mut gone: Vec<(usize, usize, u64, Permit)> = Vec::new();
        // A call that goes may let another one go that was polled before it.
        let mut before = usize::MAX;
        while gone.len() != before {
            before = gone.len();
            for (index, (line, cost, call)) in self.calls.iter_mut().enumerate() {
                if gone.iter().any(|(gone, ..)| *gone == index) {
                    continue;
                }
                if let std::task::Poll::Ready(permit) = call.poll() {
                    gone.push((index, *line, *cost, permit.unwrap()));
                }
            }
        }
        // The calls that are left, and those that have gone and have not been checked yet.
        let mut there: Vec<usize> = self.calls.iter().map(|(line, ..)| *line).collect();
        gone.sort_by_key(|(index, .., permit)| (permit.admitted_at(), *index));
        let mut indices: Vec<_> = gone.iter().map(|(index, ..)| *index).collect();
        while let Some((.., first)) = gone.first() {
            let now = first.admitted_at();
            let line = self.order.remove(0);
            let next = gone.iter().position(|(_, of, _, permit)| *of == line && permit.admitted_at() == now);
            let (_, _, cost, permit) = gone.remove(next.expect("the first line in order goes first"));
            there.remove(there.iter().position(|of| *of == line).unwrap());
            if there.contains(&line) {
                self.order.push(line);
            }
            flying.push(model.goes(permit, cost));
        }
        indices.sort_unstable();
        for index in indices.into_iter().rev() {
            drop(self.calls.remove(index));
        }
    }
}

async fn play(steps: Vec<Step>, gives_back: bool) {
    let pool = Pool::new([tokens_per_second(AMOUNT).settle(Settle::Correct)]);
    let members = [pool.limiter(), pool.limiter(), pool.limiter()];
    let mut model = Model { start: Instant::now(), drawn_until: 0, gone: Vec::new() };
    let (mut waiting, mut flying) = (Waiting::default(), Vec::<Flying>::new());
    for step in steps {
        match step {
            Step::Arrives { member, cost } => {
                waiting.arrives(member, cost, acquire(&members[member], tokens(cost)));
            }
            Step::Leaves(which) if !waiting.calls.is_empty() => {
                drop(waiting.calls.remove(which % waiting.calls.len()));
                waiting.keep_order();
            }
            Step::Ends { which, how, used } if !flying.is_empty() => {
                let flying = flying.remove(which % flying.len());
                let used = if gives_back { used } else { used.max(flying.cost) };
                end(flying, how.max(u8::from(!gives_back)), used, &mut model);
            }
            Step::Passes(millis) => advance(std::time::Duration::from_millis(millis)).await,
            Step::Leaves(_) | Step::Ends { .. } => {}
        }
        waiting.collect(&mut flying, &mut model);
        let now = model.nanos(Instant::now());
        let snapshot = pool.snapshot();
        assert_eq!(snapshot.available()[0].1, model.left(now), "after {step:?}");
        assert_eq!(snapshot.in_flight(), flying.len());
        assert_eq!(snapshot.waiting(), waiting.order.len());
        if let Some(first) = waiting.order.first() {
            let head = waiting.calls.iter().find(|(line, ..)| line == first).map(|(_, cost, _)| *cost);
            assert!(i64::try_from(head.unwrap()).unwrap() > model.left(now), "there is enough for the first");
        }
    }
    // An amount that is given back may be drawn again, however long ago it was first drawn.
    assert!(gives_back || model.no_window_is_exceeded(), "{:?}", model.gone);
    // Every call goes, and everything flows back.
    let calls = u32::try_from(waiting.calls.len()).unwrap();
    advance(2 * S * (calls + 1)).await;
    for _ in 0..=calls {
        advance(2 * S).await;
        waiting.collect(&mut flying, &mut model);
    }
    assert_eq!(waiting.calls.len(), 0);
    flying.clear();
    advance(1_000 * S).await;
    let end = pool.snapshot();
    assert_eq!((end.available()[0].1, end.in_flight(), end.waiting()), (100, 0, 0));
}

proptest! {
    /// Three queues of calls of all sizes, which come, wait, leave, and end in every way.
    #[test]
    fn promise_17_and_20_members_draw_what_one_limiter_would(
        steps in prop::collection::vec(step(), 1..80), gives_back: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(play(steps, gives_back));
    }
}
