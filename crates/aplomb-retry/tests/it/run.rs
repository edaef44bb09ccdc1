//! Retries around a closure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aplomb_core::{CallOptions, EventKind, Outcome, Priority, StopReason};
use aplomb_retry::{Budget, EveryError, RetryLayer};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::peer::{Log, secs};

/// Fails `failures` times with the number of the call, then succeeds with it.
fn failing(failures: u32) -> (impl Fn() -> std::future::Ready<Result<u32, u32>>, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let operation = move || {
        let call = counted.fetch_add(1, Ordering::SeqCst);
        std::future::ready(if call < failures { Err(call) } else { Ok(call) })
    };
    (operation, calls)
}

fn policy() -> RetryLayer<aplomb_core::Copied, EveryError> {
    RetryLayer::new().classifier(EveryError).backoff(secs(2))
}

#[tokio::test(start_paused = true)]
async fn it_runs_again_until_it_succeeds() {
    let log = Log::default();
    let (operation, _) = failing(3);
    let began = Instant::now();
    assert_eq!(policy().observer(log.clone()).run(operation).await, Ok(3));
    assert_eq!(began.elapsed(), secs(6));
    let [
        EventKind::AttemptStarted { attempt: 1, .. },
        EventKind::AttemptEnded { attempt: 1, .. },
        EventKind::Retrying { attempt: 1, .. },
        ..,
    ] = log.events()[..]
    else {
        panic!("{:?}", log.events())
    };
    let Some(EventKind::Recovered { attempts: 4, waited, .. }) = log.events().last().cloned() else {
        panic!("{:?}", log.events())
    };
    assert_eq!(waited, secs(6));
}

#[tokio::test(start_paused = true)]
async fn the_last_error_is_returned_and_the_reason_reported() {
    for (policy, attempts, why) in [
        (policy().max_retries(2), 3, StopReason::MaxRetries),
        (policy().max_elapsed(secs(5)), 3, StopReason::Deadline),
        (policy().budget(Budget::new().capacity(28).min_per_second(0.0)), 3, StopReason::Budget),
    ] {
        let log = Log::default();
        let (operation, calls) = failing(u32::MAX);
        assert_eq!(policy.observer(log.clone()).run(operation).await, Err(attempts - 1));
        assert_eq!(calls.load(Ordering::SeqCst), attempts);
        assert!(matches!(log.events().last(), Some(EventKind::GaveUp { why: told, .. }) if *told == why));
    }
}

#[tokio::test(start_paused = true)]
async fn a_custom_classifier_decides_what_is_retried_and_when() {
    let classifier = |result: Result<&u32, &u32>| match result {
        Ok(_) => Outcome::success(),
        Err(0) => Outcome::throttled().with_retry_after(secs(30)),
        Err(_) => Outcome::permanent(),
    };
    let (operation, calls) = failing(9);
    let began = Instant::now();
    let policy = RetryLayer::new().classifier(classifier);
    assert_eq!(policy.run(operation).await, Err(1));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    assert!(began.elapsed() >= secs(30) && began.elapsed() <= secs(36));
}

#[tokio::test(start_paused = true)]
async fn the_operation_finds_its_options() {
    let began = Instant::now();
    let options = CallOptions::new().with_priority(Priority::LOW).with_deadline(began + secs(60));
    let seen = std::sync::Mutex::new(Vec::new());
    let once_more = policy().max_retries(1);
    let call = once_more.run(|| async {
        seen.lock().unwrap().push(CallOptions::current().unwrap());
        Err::<(), _>("lost")
    });
    assert_eq!(options.scope(call).await, Err("lost"));
    let seen = seen.into_inner().unwrap();
    let second = options.with_arrival(began).with_attempts(1, Outcome::transient());
    assert_eq!(seen, [options, second]);
    let alone = CallOptions::new().without_retry();
    let (operation, calls) = failing(9);
    assert!(alone.scope(policy().run(operation)).await.is_err());
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_ends_the_delay_with_the_last_error() {
    let token = CancellationToken::new();
    let policy = policy().backoff(secs(60)).cancellation(token.clone());
    let (operation, calls) = failing(9);
    let began = Instant::now();
    let (result, ()) = tokio::join!(policy.run(operation), async {
        sleep(secs(7)).await;
        token.cancel();
    });
    assert_eq!((result, began.elapsed(), calls.load(Ordering::SeqCst)), (Err(0), secs(7), 1));
}

#[tokio::test(start_paused = true)]
async fn dropping_it_ends_the_attempt_or_the_wait() {
    struct Running(Arc<AtomicU32>);
    impl Drop for Running {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let running = Arc::new(AtomicU32::new(0));
    let calls = AtomicU32::new(0);
    let operation = || async {
        running.fetch_add(1, Ordering::SeqCst);
        let _running = Running(Arc::clone(&running));
        calls.fetch_add(1, Ordering::SeqCst);
        sleep(secs(1)).await;
        Err::<(), _>("lost")
    };
    // Attempts run from 0 to 1 s, 3 to 4 s, 6 to 7 s.
    for (patience, attempts) in [(500, 1), (2_000, 1), (3_500, 2), (5_000, 2)] {
        calls.store(0, Ordering::SeqCst);
        assert!(timeout(Duration::from_millis(patience), policy().run(operation)).await.is_err());
        sleep(secs(100)).await;
        let counts = (calls.load(Ordering::SeqCst), running.load(Ordering::SeqCst));
        assert_eq!(counts, (attempts, 0), "{patience}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_failure_is_dropped_before_the_delay() {
    struct Held(Arc<AtomicU32>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicU32::new(0));
    let policy = policy().max_retries(1);
    let run = policy.run(|| {
        let (error, future) = (Held(Arc::clone(&dropped)), Held(Arc::clone(&dropped)));
        async move {
            let _future = future;
            Err::<(), _>(error)
        }
    });
    let (result, ()) = tokio::join!(run, async {
        sleep(secs(1)).await;
        assert_eq!(dropped.load(Ordering::SeqCst), 2, "the error and the future");
    });
    assert!(result.is_err());
}

#[tokio::test(start_paused = true)]
async fn retries_without_a_delay_leave_room_for_others() {
    let (operation, calls) = failing(1_000_000);
    let policy = policy().backoff(Duration::ZERO).max_retries(u32::MAX);
    let impatient = timeout(secs(0), async { policy.run(operation).await });
    assert!(impatient.await.is_err());
    assert!(calls.load(Ordering::SeqCst) < 1_000);
}
