//! The claims of the guide to the concurrency limit, in virtual time.

use aplomb::concurrency::Adaptive;
use aplomb_examples::concurrency::{
    CAPACITY, IDEAL, Moment, PROMPTS, WORKERS, adaptive, batch, changing, flaky, heavy_tailed, two_clients,
};

/// The mean limit between two times, in seconds.
#[expect(clippy::cast_precision_loss, reason = "limits are small")]
fn mean_limit(moments: &[Moment], from: f64, to: f64) -> f64 {
    let limits: Vec<_> = moments.iter().filter(|moment| (from..to).contains(&moment.at)).collect();
    limits.iter().map(|moment| moment.limits[0] as f64).sum::<f64>() / limits.len() as f64
}

/// The answers of each client between two times, in seconds.
fn answered(moments: &[Moment], from: f64, to: f64) -> [f64; 2] {
    let at = |second: f64| moments.iter().find(|moment| moment.at >= second).or(moments.last());
    let (Some(before), Some(after)) = (at(from), at(to)) else {
        return [0.0; 2];
    };
    [0, 1].map(|n| f64::from(u32::try_from(after.answered[n] - before.answered[n]).unwrap_or(u32::MAX)))
}

#[tokio::test(start_paused = true)]
async fn a_batch_ends_in_time_where_naive_retries_never_recover() {
    let batch_of = batch(Some(adaptive())).await;
    assert_eq!(batch_of.answered, PROMPTS);
    assert!(batch_of.took <= 1.5 * IDEAL, "{} s", batch_of.took);
    assert!(batch_of.requests <= PROMPTS as u64 * 105 / 100, "{} requests", batch_of.requests);

    let naive = batch(None).await;
    assert!(naive.answered < PROMPTS / 10, "{} answered", naive.answered);
    assert!(naive.requests > 20 * PROMPTS as u64, "{} requests", naive.requests);
}

#[tokio::test(start_paused = true)]
async fn without_looking_at_latency_the_batch_is_saved_too_but_later() {
    let batch = batch(Some(Adaptive::new())).await;
    assert_eq!(batch.answered, PROMPTS);
    assert!(batch.took <= 6.0 * IDEAL, "{} s", batch.took);
}

#[tokio::test(start_paused = true)]
async fn capacity_that_is_doubled_and_halved_is_followed_within_ten_round_trips() {
    let moments = changing().await;
    let capacity = f64::from(CAPACITY);
    // A round trip is a second. The limit is measured over ten seconds, from ten or twenty seconds after the change.
    for (from, capacity) in [(20.0, capacity), (70.0, 2.0 * capacity), (130.0, capacity)] {
        let limit = mean_limit(&moments, from, from + 10.0);
        assert!((0.8 * capacity..1.3 * capacity).contains(&limit), "{limit} of {capacity}");
        let [answered, _] = answered(&moments, from, from + 40.0);
        assert!(answered >= 0.7 * capacity * 40.0, "{answered} answered at {from} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_heavy_tail_does_not_collapse_the_limit() {
    for seed in 0..6 {
        let moments = heavy_tailed(seed).await;
        let mean = mean_limit(&moments, 10.0, 180.0);
        assert!(mean >= 50.0, "{mean} with seed {seed}");
        let lowest = moments.iter().filter(|moment| moment.at > 10.0).map(|moment| moment.limits[0]).min();
        assert!(lowest >= Some(WORKERS / 4), "{lowest:?} with seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_that_the_limit_does_not_cause_do_not_collapse_it() {
    for seed in 0..3 {
        for limit in [Adaptive::new(), adaptive()] {
            let moments = flaky(limit, seed).await;
            let mean = mean_limit(&moments, 60.0, 180.0);
            assert!(mean >= 30.0, "{mean} with seed {seed} and {limit:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_clients_share_fairly() {
    let moments = two_clients().await;
    // The second starts at 30 s. From a minute later on, both get a similar share.
    let [first, second] = answered(&moments, 90.0, 240.0);
    assert!((0.7..1.4).contains(&(first / second)), "{first} to {second}");
    assert!(first + second >= 0.7 * f64::from(CAPACITY) * 150.0, "{first} and {second}");
}
