//! Rejections: when, and with which words.

use std::time::Duration;

use aplomb_admission::{Closing, RejectReason};
use aplomb_concurrency::{AtCapacity, ConcurrencyLimitLayer};
use aplomb_core::{BoxError, CallOptions, LayerName, Outcome, Rejection, find};
use http::Request;
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok};

use crate::support::{Req, SECOND, Stage, response};

fn with(options: CallOptions) -> Req {
    let mut request = Request::new(());
    request.extensions_mut().insert(options);
    request
}

fn refusal(error: &BoxError) -> &AtCapacity {
    find(&**error).unwrap_or_else(|| panic!("{error} is no refusal"))
}

/// A limit of two that has seen calls of ten seconds, with two in flight.
async fn busy(layer: &ConcurrencyLimitLayer) -> (Stage, [crate::support::Call; 2]) {
    let mut stage = Stage::with(layer);
    for _ in 0..8 {
        let calls = [stage.sent().await, stage.sent().await];
        advance(10 * SECOND).await;
        for (mut call, send) in calls {
            send.send_response(response(200));
            assert_ready_ok!(call.poll());
        }
    }
    let (first, _) = stage.sent().await;
    let (second, _) = stage.sent().await;
    (stage, [first, second])
}

#[tokio::test(start_paused = true)]
async fn one_more_than_may_wait_is_refused_with_an_estimate() {
    let (stage, _in_flight) = busy(&ConcurrencyLimitLayer::new(2).max_waiting(1)).await;
    let mut waits = stage.call();
    assert_pending!(waits.poll());
    let error = assert_ready_err!(stage.call().poll());
    let at_capacity = refusal(&error);
    assert_eq!((at_capacity.reject_reason(), at_capacity.ahead()), (RejectReason::QueueFull, Some(1)));
    // Two slots become free every ten seconds, and it would have been the second in the queue.
    assert_eq!(at_capacity.retry_after(), Some(10 * SECOND));
    let taken = (at_capacity.limit(), at_capacity.in_flight(), at_capacity.abandoned());
    assert_eq!(taken, (Some(2), Some(2), Some(0)));
    assert_eq!(
        error.to_string(),
        "too many calls are waiting for the concurrency limit (2 of 2 in flight)"
    );
    assert_eq!(find::<Rejection>(&*error).unwrap().layer(), LayerName::ConcurrencyLimit);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_cannot_succeed_is_refused_at_once() {
    let (stage, _in_flight) = busy(&ConcurrencyLimitLayer::new(2)).await;
    let mut line: Vec<_> = (0..9).map(|_| stage.call()).collect();
    for call in &mut line {
        assert_pending!(call.poll());
    }
    // Ten calls must end, one every five seconds; a deadline beyond half of that time is not rejected.
    let within = |seconds: u32| {
        let options = CallOptions::new().with_deadline(Instant::now() + seconds * SECOND);
        stage.call_with(with(options.with_attempts(2, Outcome::transient())))
    };
    assert_pending!(within(24).poll());
    let error = assert_ready_err!(within(20).poll());
    let at_capacity = refusal(&error);
    assert_eq!((at_capacity.reject_reason(), at_capacity.ahead()), (RejectReason::WaitTooLong, Some(9)));
    assert_eq!(at_capacity.retry_after(), Some(50 * SECOND));
    assert_eq!(find::<Rejection>(&*error).unwrap().attempts(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_to_the_deadline_or_as_long_as_allowed_is_refused() {
    let (stage, _in_flight) = busy(&ConcurrencyLimitLayer::new(2).max_wait(3 * SECOND)).await;
    let mut patient = stage.call();
    let options = CallOptions::new().with_deadline(Instant::now() + SECOND);
    let mut hasty = stage.call_with(with(options));
    // The wait of the call at the head is unknown.
    assert_pending!(hasty.poll());
    assert_pending!(patient.poll());
    advance(SECOND + Duration::from_millis(1)).await;
    assert!(hasty.is_woken() && !patient.is_woken());
    assert_eq!(refusal(&assert_ready_err!(hasty.poll())).reject_reason(), RejectReason::WaitTooLong);
    advance(2 * SECOND).await;
    let error = assert_ready_err!(patient.poll());
    assert_eq!(refusal(&error).retry_after(), Some(5 * SECOND), "until the next call ends");
    assert!(find::<Rejection>(&*error).unwrap().waited() >= 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn where_no_waiting_is_allowed_a_free_place_is_taken_all_the_same() {
    let mut stage = Stage::with(&ConcurrencyLimitLayer::new(1).max_wait(Duration::ZERO));
    let (_in_flight, _send) = stage.sent().await;
    let error = assert_ready_err!(stage.call().poll());
    assert_eq!(refusal(&error).reject_reason(), RejectReason::WaitTooLong);
    assert_eq!(refusal(&error).retry_after(), None, "no call has ended that could be an example");
}

#[tokio::test(start_paused = true)]
async fn a_closed_limit_says_so() {
    let mut stage = Stage::new(1);
    let (_in_flight, _send) = stage.sent().await;
    let mut waits = stage.call();
    assert_pending!(waits.poll());
    stage.limiter.close(Closing::Fail);
    for mut call in [waits, stage.call()] {
        let error = assert_ready_err!(call.poll());
        assert_eq!(error.to_string(), "concurrency limit is closed");
        assert_eq!(refusal(&error).reject_reason(), RejectReason::Closed);
    }
    assert_eq!(stage.counts(), (1, 0, 0));
}
