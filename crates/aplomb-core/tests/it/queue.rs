use std::convert::Infallible;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use aplomb_core::{
    Both, CallOptions, Closing, Decision, End, Gate, Outcome, Priority, Queue, QueueLimits, TurnedBecause,
    Wait,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, timeout};
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};

use crate::gates::{PACE, Paced, Slots};

fn paced() -> Queue<Paced> {
    Queue::new(Paced::new(), QueueLimits::new(), ())
}

fn slots(free: usize) -> Queue<Slots> {
    Queue::new(Slots::new(free), QueueLimits::new(), ())
}

fn until(deadline: Instant) -> Wait {
    Wait::from(&CallOptions::new().with_deadline(deadline))
}

/// Says this to the heavy, and admits the light.
struct ForTheHeavy(Decision<()>);

enum Weight {
    Heavy,
    Light,
}

impl Gate for ForTheHeavy {
    type Ask = Weight;
    type Slip = ();
    type Why = ();
    type Notice = Infallible;

    fn check(&mut self, weight: &Weight, _: Instant) -> Decision<()> {
        match weight {
            Weight::Heavy => self.0,
            Weight::Light => Decision::Admit,
        }
    }

    fn admit(&mut self, _: &Weight, _: Instant) {}

    fn end(&mut self, (): (), _: End, _: Instant) {}
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
async fn who_arrived_before_and_comes_again_goes_before() {
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
    assert_eq!(permit.admitted_at() - start, PACE * 2);
    // It had its turn while it was not looking.
    assert_eq!(assert_ready_ok!(held.poll()).admitted_at() - start, PACE);
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
async fn a_wait_that_can_not_end_in_time_is_refused_at_once() {
    let queue = paced();
    let start = Instant::now();
    drop(queue.acquire((), Wait::default()).await);
    let mut second = task::spawn(queue.acquire((), Wait::default()));
    assert_pending!(second.poll());
    // The second goes after 1 s, so a third would go after 2 s.
    let turned = queue.acquire((), until(start + PACE * 2)).await.unwrap_err();
    assert_eq!(turned.because(), TurnedBecause::TooLong);
    assert_eq!(turned.retry_after(), Some(PACE * 2));
    assert_eq!(turned.place(), Some(1));
    assert_eq!(Instant::now(), start);
    let in_time = queue.acquire((), until(start + PACE * 2 + Duration::from_millis(1)));
    assert!(in_time.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_release_ends_at_the_deadline() {
    let queue = slots(1);
    let _first = queue.acquire((), Wait::default()).await.unwrap();
    let start = Instant::now();
    let turned = queue.acquire((), until(start + PACE)).await.unwrap_err();
    assert_eq!(turned.because(), TurnedBecause::TooLong);
    assert_eq!(turned.why(), Some(&"taken"));
    assert!(start.elapsed() >= PACE && start.elapsed() < PACE * 2);
    assert_eq!(queue.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_could_go_without_the_head_is_not_turned_away_with_it() {
    let start = Instant::now();
    let millis = |millis| start + Duration::from_millis(millis);
    let waits = |says| Queue::new(ForTheHeavy(says), QueueLimits::new(), ());

    // The instant of the head moves beyond everybody's deadline.
    let queue = waits(Decision::NotBefore(millis(5_000), ()));
    let mut heavy = task::spawn(queue.acquire(Weight::Heavy, until(millis(30_000))));
    assert_pending!(heavy.poll());
    let mut light = task::spawn(queue.acquire(Weight::Light, until(millis(20_000))));
    assert_pending!(light.poll());
    queue.with(|gate, _| gate.0 = Decision::NotBefore(millis(60_000), ()));
    assert_eq!(assert_ready!(heavy.poll()).unwrap_err().because(), TurnedBecause::TooLong);
    assert!(assert_ready!(light.poll()).is_ok());

    // Nothing is released, and both deadlines pass with the same tick of the timer.
    let queue = waits(Decision::WhenReleased(()));
    let deadline = |micros| until(start + Duration::from_micros(micros));
    let mut heavy = task::spawn(queue.acquire(Weight::Heavy, deadline(10_000_200)));
    assert_pending!(heavy.poll());
    let mut light = task::spawn(queue.acquire(Weight::Light, deadline(10_000_100)));
    assert_pending!(light.poll());
    advance(Duration::from_millis(10_001)).await;
    assert_eq!(assert_ready!(heavy.poll()).unwrap_err().because(), TurnedBecause::TooLong);
    assert!(assert_ready!(light.poll()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_waits_gives_up_with_the_shortest_of_deadline_bound_and_gate() {
    let waits = |bound, gate, deadline| async move {
        let queue = Queue::new(Slots::new(0), QueueLimits::new().max_wait(bound), ());
        queue.with(|slots, _| slots.longest_wait = gate);
        let start = Instant::now();
        let turned = queue.acquire((), until(start + deadline)).await.unwrap_err();
        assert_eq!(turned.because(), TurnedBecause::TooLong);
        start.elapsed().as_secs()
    };
    assert_eq!(waits(PACE * 9, Some(PACE * 2), PACE * 9).await, 2);
    assert_eq!(waits(PACE * 3, Some(PACE * 9), PACE * 9).await, 3);
    assert_eq!(waits(PACE * 9, Some(PACE * 9), PACE * 4).await, 4);
    assert_eq!(waits(PACE * 5, None, PACE * 9).await, 5);
    // Two gates are waited for as long as the queue says.
    let joined = Both(Slots::new(1), Slots::new(0));
    let queue = Queue::new(joined, QueueLimits::new().max_wait(PACE * 6), ());
    queue.with(|both, _| both.0.longest_wait = Some(PACE));
    let start = Instant::now();
    queue.acquire(((), ()), Wait::default()).await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 6);
}

#[tokio::test(start_paused = true)]
async fn no_waiting_means_now_or_never() {
    let limits = QueueLimits::new().max_wait(Duration::ZERO);
    let queue = Queue::new(Slots::new(1), limits, ());
    let first = queue.acquire((), Wait::default()).await.unwrap();
    let turned = queue.acquire((), Wait::default()).await.unwrap_err();
    assert_eq!(turned.because(), TurnedBecause::TooLong);
    drop(first);
    assert!(queue.acquire((), Wait::default()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_full_line_refuses() {
    let queue = Queue::new(Slots::new(0), QueueLimits::new().max_waiting(1), ());
    let mut first = task::spawn(queue.acquire((), Wait::default()));
    assert_pending!(first.poll());
    let turned = queue.acquire((), Wait::default()).await.unwrap_err();
    assert_eq!((turned.because(), turned.place()), (TurnedBecause::Full, Some(1)));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_refused_at_the_door_and_in_the_line() {
    let queue = slots(0);
    let mut waiting = task::spawn(queue.acquire((), Wait::default()));
    assert_pending!(waiting.poll());
    queue.with(|gate, _| gate.refuses = true);
    assert!(waiting.is_woken());
    let turned = tokio_test::assert_ready_err!(waiting.poll());
    assert_eq!((turned.because(), turned.why()), (TurnedBecause::Refused, Some(&"refuses")));
    assert!(queue.acquire((), Wait::default()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn closing_refuses_the_new_and_drains_or_fails_the_waiting() {
    for (closing, served) in [(Closing::Drain, true), (Closing::Fail, false)] {
        let queue = slots(1);
        let first = queue.acquire((), Wait::default()).await.unwrap();
        let mut waiting = task::spawn(queue.acquire((), Wait::default()));
        assert_pending!(waiting.poll());
        queue.close(closing);
        let turned = queue.acquire((), Wait::default()).await.unwrap_err();
        assert_eq!(turned.because(), TurnedBecause::Closed);
        drop(first);
        assert_eq!(waiting.await.is_ok(), served);
    }
}

#[tokio::test(start_paused = true)]
async fn four_thousand_deadlines_pass_without_a_storm() {
    let queue = slots(0);
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..4_000 {
        let waiting = queue.acquire((), until(start + PACE));
        callers.spawn(async move { waiting.await.unwrap_err().because() });
    }
    let because = callers.join_all().await;
    assert!(because.iter().all(|because| *because == TurnedBecause::TooLong));
    assert_eq!(queue.waiting(), 0);
}

#[test]
fn a_permit_dropped_outside_of_a_runtime_lets_the_next_one_in() {
    let queue = slots(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let permit = runtime.block_on(queue.acquire((), Wait::default())).unwrap();
    let waiting = {
        let mut waiting = task::spawn(queue.acquire((), Wait::default()));
        assert_pending!(waiting.poll());
        waiting
    };
    drop(permit);
    assert!(waiting.is_woken());
}

#[test]
fn the_line_survives_the_runtime_whose_timer_it_used() {
    let queue = {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { paced() })
    };
    let build = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
    };
    let first = build();
    let mut waiting = Box::pin(queue.acquire((), Wait::default()));
    first.block_on(async {
        drop(queue.acquire((), Wait::default()).await);
        assert!(timeout(PACE / 2, &mut waiting).await.is_err());
    });
    drop(first);
    build().block_on(async { assert!(waiting.await.is_ok()) });
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
async fn a_task_that_waits_is_polled_twice() {
    let queue = paced();
    drop(queue.acquire((), Wait::default()).await);
    let mut polls = 0;
    let mut waiting = std::pin::pin!(queue.acquire((), Wait::default()));
    let permit = std::future::poll_fn(|cx| {
        polls += 1;
        waiting.as_mut().poll(cx)
    })
    .await;
    assert!(permit.is_ok());
    assert_eq!(polls, 2);
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_names_the_past_is_asked_again_a_tick_later() {
    struct Undecided(u32);

    impl aplomb_core::Gate for Undecided {
        type Ask = ();
        type Slip = ();
        type Why = ();
        type Notice = std::convert::Infallible;

        fn check(&mut self, (): &(), now: Instant) -> aplomb_core::Decision<()> {
            self.0 += 1;
            if self.0 < 10 {
                aplomb_core::Decision::NotBefore(now, ())
            } else {
                aplomb_core::Decision::Admit
            }
        }

        fn admit(&mut self, (): &(), _: Instant) {}

        fn end(&mut self, (): (), _: End, _: Instant) {}
    }

    let queue = Queue::new(Undecided(0), QueueLimits::new(), ());
    let start = Instant::now();
    assert!(queue.acquire((), Wait::default()).await.is_ok());
    assert!(start.elapsed() <= Duration::from_millis(10));
}

#[test]
fn the_alarm_is_set_where_the_next_caller_waits() {
    let build = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (first, second) = (build(), build());
    let queue = first.block_on(async { paced() });
    drop(first.block_on(queue.acquire((), Wait::default())));
    let waits = |queue: Queue<Paced>| async move {
        timeout(PACE * 10, queue.acquire((), Wait::default()))
            .await
            .is_ok_and(|permit| permit.is_ok())
    };
    let (one, two) = (waits(queue.clone()), waits(queue));
    // The first runtime lives on, and nobody drives it when its caller has been served.
    let other = std::thread::spawn(move || second.block_on(two));
    assert!(first.block_on(one));
    assert!(other.join().unwrap());
}

#[test]
#[should_panic(expected = "outside of a tokio runtime")]
fn waiting_for_an_instant_outside_of_a_runtime_panics_rather_than_spins() {
    let queue = paced();
    for _ in 0..2 {
        drop(task::spawn(queue.acquire((), Wait::default())).poll());
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_deadline_has_passed_is_not_let_through() {
    let queue = slots(1);
    let now = Instant::now();
    tokio::time::advance(PACE).await;
    let turned = queue.acquire((), until(now)).await.unwrap_err();
    assert_eq!(turned.because(), TurnedBecause::TooLong);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_sent_again_passes_a_queue_that_drains() {
    let queue = slots(1);
    queue.close(Closing::Drain);
    let arrived = CallOptions::new().with_arrival(Instant::now());
    assert!(queue.acquire((), Wait::from(&arrived)).await.is_err(), "it may say so for the first time");
    let again = Wait::from(&arrived.with_attempts(1, Outcome::transient()));
    assert!(queue.acquire((), again).await.is_ok());
    queue.close(Closing::Fail);
    assert!(queue.acquire((), again).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_full_line_says_when_it_will_have_passed() {
    let limits = QueueLimits::new().max_waiting(100);
    let queue = Queue::new(Paced::new(), limits, ());
    drop(queue.acquire((), Wait::default()).await);
    let mut waiting: Vec<_> = (0..100).map(|_| task::spawn(queue.acquire((), Wait::default()))).collect();
    for waiting in &mut waiting {
        assert_pending!(waiting.poll());
    }
    let turned = queue.acquire((), Wait::default()).await.unwrap_err();
    assert_eq!((turned.because(), turned.retry_after()), (TurnedBecause::Full, Some(PACE * 101)));
}

#[tokio::test(start_paused = true)]
async fn priority_may_outweigh_any_wait() {
    let queue = Queue::new(Slots::new(1), QueueLimits::new().ageing(Duration::MAX), ());
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
async fn the_oldest_wait_is_that_of_who_came_first_and_still_waits() {
    let queue = Queue::new(Slots::new(0), QueueLimits::new(), ());
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

#[tokio::test(start_paused = true)]
async fn who_is_looked_at_too_late_is_told_what_it_waited_for() {
    let queue = slots(0);
    let mut waits = task::spawn(queue.acquire((), until(Instant::now() + PACE)));
    assert_pending!(waits.poll());
    // The thread was busy: the alarm rings long after it should have.
    advance(10 * PACE).await;
    let turned = assert_ready!(waits.poll()).err().unwrap();
    assert_eq!((turned.because(), turned.why().is_some()), (TurnedBecause::TooLong, true));
}
