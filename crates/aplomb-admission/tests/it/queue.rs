mod rejections;
mod timer;

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use aplomb_admission::{End, Queue, QueueLimits, Wait};
use aplomb_core::{CallOptions, Priority};
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, timeout};
use tokio_test::{assert_pending, assert_ready_ok, task};

use crate::gates::{PACE, Paced, Slots};

/// The precision of tokio's timer.
const TICK: Duration = Duration::from_millis(1);

fn paced() -> Queue<Paced> {
    Queue::new(Paced::new(), QueueLimits::new(), |_| ())
}

fn slots(free: usize) -> Queue<Slots> {
    Queue::new(Slots::new(free), QueueLimits::new(), |_| ())
}

#[tokio::test(start_paused = true)]
async fn callers_go_in_order_of_arrival() {
    let queue = paced();
    let start = Instant::now();
    let gone = Arc::new(Mutex::new(Vec::new()));
    let mut callers = JoinSet::new();
    for number in 0..100_u32 {
        let (queue, gone) = (queue.clone(), Arc::clone(&gone));
        callers.spawn(async move {
            let permit = queue.acquire((), Wait::default()).await.unwrap();
            gone.lock().unwrap().push((number, permit.admitted_at() - start));
        });
        tokio::task::yield_now().await;
    }
    callers.join_all().await;
    let expected: Vec<_> = (0..100).map(|number| (number, PACE * number)).collect();
    assert_eq!(*gone.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn the_urgent_go_first_and_the_patient_are_not_forgotten() {
    let queue = slots(1);
    let first = queue.acquire((), Wait::default()).await.unwrap();
    let with = |priority| Wait::from(&CallOptions::new().with_priority(priority));
    let mut low = task::spawn(queue.acquire((), with(Priority::LOW)));
    assert_pending!(low.poll());
    let mut normal = task::spawn(queue.acquire((), with(Priority::NORMAL)));
    assert_pending!(normal.poll());
    let mut high = task::spawn(queue.acquire((), with(Priority::HIGH)));
    assert_pending!(high.poll());
    // A minute later than the low one: two levels are worth no more than that.
    tokio::time::advance(Duration::from_secs(61)).await;
    let mut late = task::spawn(queue.acquire((), with(Priority::HIGH)));
    assert_pending!(late.poll());

    drop(first);
    for waiting in [&mut high, &mut normal, &mut low, &mut late] {
        assert!(waiting.is_woken());
        drop(assert_ready_ok!(waiting.poll()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_arrived_before_and_comes_again_goes_before() {
    let queue = slots(1);
    let first = queue.acquire((), Wait::default()).await.unwrap();
    let arrived = Instant::now();
    tokio::time::advance(PACE).await;
    let mut fresh = task::spawn(queue.acquire((), Wait::default()));
    assert_pending!(fresh.poll());
    let again = Wait::from(&CallOptions::new().with_arrival(arrived));
    let mut again = task::spawn(queue.acquire((), again));
    assert_pending!(again.poll());
    drop(first);
    assert!(again.is_woken() && !fresh.is_woken());
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_is_not_polled_does_not_hold_up_the_next() {
    let queue = paced();
    drop(queue.acquire((), Wait::default()).await);
    let mut held = task::spawn(queue.acquire((), Wait::default()));
    assert_pending!(held.poll());
    let start = Instant::now();
    let next = queue.acquire((), Wait::default());
    let permit = timeout(PACE * 3, next).await.expect("not held up").unwrap();
    // It had its turn while it was not looking: a tick late, in which it could have been polled.
    let admitted = assert_ready_ok!(held.poll()).admitted_at();
    assert_eq!(admitted - start, PACE + TICK);
    assert_eq!(permit.admitted_at() - admitted, PACE);
}

#[tokio::test(start_paused = true)]
async fn cancelled_callers_leave_no_trace() {
    let queue = slots(1);
    let first = queue.acquire((), Wait::default()).await.unwrap();
    let mut unpolled = task::spawn(queue.acquire((), Wait::default()));
    drop(queue.acquire((), Wait::default()));
    assert_pending!(unpolled.poll());
    let mut second = task::spawn(queue.acquire((), Wait::default()));
    assert_pending!(second.poll());
    assert_eq!(queue.waiting(), 2);
    drop(unpolled);
    assert_eq!(queue.waiting(), 1);
    drop(first);
    // Admitted and gone before it looked: the slot passes on.
    drop(second);
    assert_eq!(queue.with(|gate, _| gate.free), 1);
    assert_eq!(queue.with(|gate, _| gate.ends.clone()), [End::Unsent, End::Unsent]);
}

#[tokio::test(start_paused = true)]
async fn an_observer_may_use_the_queue_it_observes() {
    static QUEUE: OnceLock<Queue<Slots>> = OnceLock::new();
    static TOLD: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let observer = |released: &usize| {
        let free = QUEUE.get().expect("set before anything is observed").with(|gate, _| gate.free);
        TOLD.lock().unwrap().push(free * 10 + released);
    };
    let queue = QUEUE.get_or_init(|| Queue::new(Slots::new(1), QueueLimits::new(), observer));
    drop(queue.acquire((), Wait::default()).await);
    drop(queue.acquire((), Wait::default()).await);
    assert_eq!(*TOLD.lock().unwrap(), [11, 11]);
}

#[tokio::test(start_paused = true)]
async fn priority_may_outweigh_any_wait() {
    let queue = Queue::new(Slots::new(1), QueueLimits::new().ageing(Duration::MAX), |_| ());
    let first = queue.acquire((), Wait::default()).await.unwrap();
    let with = |priority| Wait::from(&CallOptions::new().with_priority(priority));
    let mut low = task::spawn(queue.acquire((), with(Priority::LOW)));
    assert_pending!(low.poll());
    tokio::time::advance(Duration::from_secs(86_400)).await;
    let mut high = task::spawn(queue.acquire((), with(Priority::HIGH)));
    assert_pending!(high.poll());
    drop(first);
    assert!(high.is_woken() && !low.is_woken());
}

#[tokio::test(start_paused = true)]
async fn the_oldest_wait_is_that_of_the_first_caller_that_still_waits() {
    let queue = Queue::new(Slots::new(0), QueueLimits::new(), |_| ());
    assert_eq!(queue.oldest_wait(), None);
    let mut first = task::spawn(queue.acquire((), Wait::default()));
    assert_pending!(first.poll());
    advance(3 * PACE).await;
    let mut second = task::spawn(queue.acquire((), Wait::default()));
    assert_pending!(second.poll());
    assert_eq!(queue.oldest_wait(), Some(3 * PACE));
    drop(first);
    assert_eq!(queue.oldest_wait(), Some(Duration::ZERO));
}
