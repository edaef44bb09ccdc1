//! The claims of the guide to the rate limit, in virtual time.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use aplomb_examples::rate_limit::{CALLERS, PROMPTS, coming_back, ideal, in_line, run};

#[tokio::test(start_paused = true)]
async fn an_unknown_limit_is_found_with_few_refusals_and_in_no_more_time() {
    let learning = run(true).await.unwrap();
    assert_eq!(learning.answered.len(), PROMPTS as usize);
    assert!(learning.sent.len() <= 130, "{} requests", learning.sent.len());
    assert!(*learning.answered.last().unwrap() <= 1.05 * (ideal().last().unwrap() + 0.2));
}

#[tokio::test(start_paused = true)]
async fn without_learning_more_than_one_is_refused_for_each_that_is_answered() {
    let pauses = run(false).await.unwrap();
    assert_eq!(pauses.answered.len(), PROMPTS as usize);
    assert!(pauses.refused.len() >= PROMPTS as usize, "{} refused", pauses.refused.len());
    assert_eq!(pauses.sent.len(), pauses.answered.len() + pauses.refused.len());
}

#[tokio::test(start_paused = true)]
async fn every_run_is_the_same() {
    for learning in [true, false] {
        assert_eq!(run(learning).await.unwrap(), run(learning).await.unwrap());
    }
    assert_eq!(coming_back().await.unwrap(), coming_back().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn in_line_nobody_is_overtaken_and_the_full_rate_is_reached() {
    let waits = in_line().await.unwrap();
    assert!(waits.served.iter().map(|served| served.number).eq(0..CALLERS), "someone was overtaken");
    assert!(waits.served.last().unwrap().waited <= 4.0 * 1.01);
    assert_eq!(waits.asked, CALLERS as u64);
}

#[tokio::test(start_paused = true)]
async fn those_who_come_back_are_mostly_overtaken_and_ask_over_and_over() {
    let waits = coming_back().await.unwrap();
    assert_eq!(waits.served.len(), CALLERS);
    let mut latest = 0;
    let overtaken = waits.served.iter().filter(|served| {
        latest = latest.max(served.number);
        served.number < latest
    });
    assert!(overtaken.count() > CALLERS / 2);
    assert!(waits.asked > 10 * CALLERS as u64, "asked {} times", waits.asked);
}
