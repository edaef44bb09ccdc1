//! A caller gives up while there is still time for a response.

use std::convert::Infallible;
use std::time::Duration;

use crate::gate_support::simple;
use aplomb_admission::{Decision, End, Gate, Hints, Queue, QueueLimits, RejectReason, Wait};
use aplomb_core::CallOptions;
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};

const SECOND: Duration = Duration::from_secs(1);
const NANOSECOND: Duration = Duration::from_nanos(1);
const NEARLY: Duration = Duration::from_nanos(999_999_999);

/// One at a time, which takes two seconds.
struct Slow {
    taken: bool,
}

impl Gate for Slow {
    type Cost = ();
    type Token = ();
    type Reason = ();
    type Event = Infallible;

    fn check(&mut self, (): &(), _: Instant) -> Decision<()> {
        if self.taken {
            Decision::WhenReleased(())
        } else {
            Decision::Admit
        }
    }

    fn admit(&mut self, (): &(), _: Instant) {
        self.taken = true;
    }

    fn end(&mut self, (): (), _: End, _: Instant) {
        self.taken = false;
    }

    fn hints(&self) -> Hints {
        Hints { expected_latency: 2 * SECOND, ..Hints::default() }
    }

    simple!(on forecast next_event pooled);
}

fn within(time: Duration) -> Wait {
    Wait::from(&CallOptions::new().with_deadline(Instant::now() + time))
}

#[tokio::test(start_paused = true)]
async fn a_call_that_could_not_be_answered_any_more_gives_up() {
    let queue = Queue::new(Slow { taken: false }, QueueLimits::new(), |_| ());
    // Nobody is before it: it may try, however little time there is.
    let held = assert_ready_ok!(task::spawn(queue.acquire((), within(SECOND))).poll());
    let mut waits = task::spawn(queue.acquire((), within(10 * SECOND)));
    // The duration of a call is a guess, so half of the time may still be spent waiting.
    let mut hurried = task::spawn(queue.acquire((), within(2 * SECOND)));
    assert_pending!(waits.poll());
    assert_pending!(hurried.poll());
    advance(NEARLY).await;
    assert_pending!(hurried.poll());
    advance(NANOSECOND).await;
    assert!(hurried.is_woken());
    assert_eq!(assert_ready!(hurried.poll()).unwrap_err().reason(), RejectReason::WaitTooLong);
    advance(6 * SECOND + NEARLY).await;
    assert_pending!(waits.poll());
    advance(NANOSECOND).await;
    assert!(waits.is_woken());
    assert_eq!(assert_ready!(waits.poll()).unwrap_err().reason(), RejectReason::WaitTooLong);
    drop(held);
}
