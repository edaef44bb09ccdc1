//! The limiter without a service, and the effect of setters.

use std::io;

use aplomb_concurrency::{Adaptive, AtCapacity, ConcurrencyLimitLayer, ConcurrencyLimiter};
use aplomb_core::{CallOptions, Outcome, find};
use tokio_test::{assert_pending, assert_ready_ok, task};

use crate::support::{SECOND, Stage};

#[tokio::test(start_paused = true)]
async fn a_slot_is_taken_only_if_one_is_free_and_nobody_waits_for_it() {
    let limiter = ConcurrencyLimiter::new(2);
    let first = limiter.try_acquire().unwrap();
    assert_eq!(limiter.available(), 1);
    let second = limiter.try_acquire().unwrap();
    assert!(limiter.try_acquire().is_none());
    let options = CallOptions::new();
    let mut waits = task::spawn(limiter.acquire(&options));
    assert_pending!(waits.poll());
    assert_eq!((limiter.available(), limiter.snapshot().waiting()), (0, 1), "trying leaves no trace");
    first.end(Outcome::success());
    assert!(limiter.try_acquire().is_none(), "it is taken by the call that waited");
    drop(assert_ready_ok!(waits.poll()));
    second.end(Outcome::success());
    assert_eq!(limiter.available(), 2);
}

#[tokio::test(start_paused = true)]
async fn any_operation_can_run_under_the_limit() {
    let limiter = ConcurrencyLimiter::new(Adaptive::new().initial(8));
    let answers = (0..8).map(|n| {
        limiter.run(async move || {
            tokio::time::sleep(SECOND).await;
            Ok::<_, io::Error>(n)
        })
    });
    for answer in futures_join(answers.collect()).await {
        answer.unwrap();
    }
    assert!(limiter.snapshot().limit() > 8, "answers raise it");
    let before = limiter.snapshot().limit();
    let error = limiter.run(async || Err::<(), _>(io::Error::other("lost"))).await.unwrap_err();
    assert_eq!(error.to_string(), "lost");
    assert!(limiter.snapshot().limit() < before, "a failure lowers it");
    let before = limiter.snapshot().limit();
    let harmless = |_: Result<&(), &io::Error>| Outcome::permanent();
    limiter
        .run_classified(&harmless, async || Err(io::Error::other("bad request")))
        .await
        .unwrap_err();
    assert_eq!(limiter.snapshot().limit(), before);
    limiter.close(aplomb_admission::Closing::Fail);
    let error = limiter.run(async || Ok::<_, io::Error>(())).await.unwrap_err();
    assert!(find::<AtCapacity>(&*error).is_some());
}

/// Runs all at the same time.
async fn futures_join<F: Future<Output: std::fmt::Debug>>(futures: Vec<F>) -> Vec<F::Output> {
    let mut tasks: Vec<_> = futures.into_iter().map(task::spawn).collect();
    for running in &mut tasks {
        assert_pending!(running.poll());
    }
    tokio::time::sleep(2 * SECOND).await;
    tasks.iter_mut().map(|running| tokio_test::assert_ready!(running.poll())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_limiter_taken_before_the_last_setter_follows_the_layer() {
    let layer = ConcurrencyLimitLayer::new(1);
    let limiter = layer.limiter();
    let mut stage = Stage::with(&layer.max_waiting(0));
    let (_call, _send) = stage.sent().await;
    assert_eq!(limiter.snapshot().in_flight(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_setter_on_a_clone_changes_nothing_that_runs() {
    let layer = ConcurrencyLimitLayer::new(1);
    let mut stage = Stage::with(&layer);
    let (_call, _send) = stage.sent().await;
    let other = layer.clone().max_waiting(0);
    assert_eq!((other.limiter().snapshot().in_flight(), layer.limiter().snapshot().in_flight()), (0, 1));
    // Calls wait as before.
    assert_pending!(stage.call().poll());

    let shared = ConcurrencyLimitLayer::with_limiter(stage.limiter.clone());
    assert_eq!(shared.limiter().snapshot().in_flight(), 1);
    assert_eq!(shared.max_waiting(0).limiter().snapshot().in_flight(), 0);
}
