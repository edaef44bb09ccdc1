//! Limits, exact in paused time.

use std::time::Duration;

use aplomb_mock::{Hints, Mock};
use serde_json::json;
use tokio::time::advance;

use crate::support::{ANTHROPIC, Answer, OPENAI, ask, post, question, send};

const MILLI: Duration = Duration::from_millis(1);

fn has_no_level(answer: &Answer) -> bool {
    answer.headers.keys().all(|name| !name.as_str().contains("ratelimit"))
}

#[tokio::test(start_paused = true)]
async fn openai_tells_everything_in_a_429() {
    // One request every 1.5 s.
    let mock = Mock::builder().requests_per_minute(40).request_burst(2).tokens_per_minute(6000).build();
    let first = ask(&mock, "abcd").await.unwrap();
    assert_eq!(first.header("x-ratelimit-limit-requests"), Some("40"));
    assert_eq!(first.header("x-ratelimit-remaining-requests"), Some("1"));
    assert_eq!(first.header("x-ratelimit-reset-requests"), Some("1.5s"));
    // 1 token of input and 100 of max_tokens, at 100 a second.
    assert_eq!(first.header("x-ratelimit-remaining-tokens"), Some("5899"));
    assert_eq!(first.header("x-ratelimit-reset-tokens"), Some("1.01s"));
    assert_eq!(ask(&mock, "b").await.unwrap().status, 200);

    let refused = ask(&mock, "c").await.unwrap();
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), Some("2"));
    assert_eq!(refused.header("retry-after-ms"), Some("1500"));
    assert_eq!(refused.header("x-ratelimit-remaining-requests"), Some("0"));
    assert_eq!(refused.header("x-ratelimit-reset-requests"), Some("3s"));
    let message = "Rate limit reached for m in organization org-mock on requests per min (RPM): Limit 40, Used 40, Requested 1. \
                   Please try again in 1.5s. Visit https://platform.openai.com/account/rate-limits to learn more.";
    let error = json!({"message": message, "type": "requests", "param": null, "code": "rate_limit_exceeded"});
    assert_eq!(refused.json(), json!({"error": error}));
}

#[tokio::test(start_paused = true)]
async fn admitted_at_the_delay_told_and_not_a_millisecond_before() {
    let mock = Mock::builder().requests_per_minute(40).request_burst(1).build();
    ask(&mock, "a").await.unwrap();
    assert_eq!(ask(&mock, "b").await.unwrap().header("retry-after-ms"), Some("1500"));
    advance(Duration::from_millis(1499)).await;
    assert_eq!(ask(&mock, "b").await.unwrap().status, 429);
    advance(MILLI).await;
    assert_eq!(ask(&mock, "b").await.unwrap().status, 200);
    let prompt = mock.prompt("b");
    assert_eq!((prompt.seen, prompt.accepted, prompt.retries, prompt.early_retries), (3, 1, 2, 1));
    assert_eq!(mock.stats().by_status, [(200, 2), (429, 2)].into());
}

#[tokio::test(start_paused = true)]
async fn the_delay_for_tokens_follows_the_formula() {
    let mock = Mock::builder().tokens_per_minute(30_000).build();
    let mut big = question("abcd");
    big["max_tokens"] = 14_566.into();
    send(&mock, post(OPENAI, &big)).await.unwrap();
    big["max_tokens"] = 24_753.into();
    let refused = send(&mock, post(OPENAI, &big)).await.unwrap();
    // As in a real report: (14567 + 24754 - 30000) * 60 / 30000.
    assert_eq!(refused.header("retry-after-ms"), Some("18642"));
    assert_eq!(refused.header("retry-after"), Some("19"));
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    let numbers =
        "on tokens per min (TPM): Limit 30000, Used 14567, Requested 24754. Please try again in 18.642s.";
    assert!(message.contains(numbers), "{message}");
    assert_eq!(refused.json()["error"]["type"], "tokens");
    advance(Duration::from_millis(18_641)).await;
    assert_eq!(send(&mock, post(OPENAI, &big)).await.unwrap().status, 429);
    advance(MILLI).await;
    assert_eq!(send(&mock, post(OPENAI, &big)).await.unwrap().status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_fits_is_told_no_delay() {
    let mock = Mock::builder().tokens_per_minute(50).build();
    let refused = ask(&mock, "abcd").await.unwrap();
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, None));
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("Request too large for m in organization org-mock"), "{message}");
    assert!(message.contains("Limit 50, Requested 101."), "{message}");
    let refused = send(&mock, post(ANTHROPIC, question("abcd"))).await.unwrap();
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, None));
}

#[tokio::test(start_paused = true)]
async fn anthropic_says_it_in_its_own_headers() {
    let mock = Mock::builder().requests_per_minute(40).request_burst(1).tokens_per_minute(60_000).build();
    let first = send(&mock, post(ANTHROPIC, question("abcd"))).await.unwrap();
    assert_eq!(first.header("anthropic-ratelimit-requests-limit"), Some("40"));
    assert_eq!(first.header("anthropic-ratelimit-requests-remaining"), Some("0"));
    for name in ["tokens", "input-tokens", "output-tokens"] {
        assert_eq!(first.header(&format!("anthropic-ratelimit-{name}-limit")), Some("60000"));
        assert_eq!(first.header(&format!("anthropic-ratelimit-{name}-remaining")), Some("60000"));
    }
    let refused = send(&mock, post(ANTHROPIC, question("abcd"))).await.unwrap();
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), Some("2"));
    assert_eq!(refused.header("retry-after-ms"), None);
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
    // 1.5 s from now, rounded up to a second; the date is rounded down.
    let date = httpdate::parse_http_date(refused.header("date").unwrap()).unwrap();
    let unix = date.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let reset = refused.header("anthropic-ratelimit-requests-reset").unwrap();
    let seconds: u64 = reset[17..19].parse().unwrap();
    assert!((2..=3).contains(&((seconds + 60 - unix % 60) % 60)), "{reset} {date:?}");
    // It was told 2 s, so 1.9 s is early even though it is admitted.
    advance(Duration::from_millis(1_900)).await;
    assert_eq!(send(&mock, post(ANTHROPIC, question("abcd"))).await.unwrap().status, 200);
    assert_eq!(mock.stats().early_retries, 1);
}

#[tokio::test(start_paused = true)]
async fn hints_can_be_left_out() {
    for (hints, seconds, text) in [
        (Hints::RetryAfter, Some("2"), false),
        (Hints::Text, None, true),
        (Hints::None, None, false),
    ] {
        let mock = Mock::builder().requests_per_minute(40).request_burst(1).hints(hints).build();
        assert!(has_no_level(&ask(&mock, "a").await.unwrap()));
        let refused = ask(&mock, "b").await.unwrap();
        assert!(has_no_level(&refused));
        assert_eq!((refused.header("retry-after"), refused.header("retry-after-ms")), (seconds, None));
        assert_eq!(refused.body.contains("Please try again in 1.5s."), text);
        // A client that was told nothing is never early.
        ask(&mock, "b").await.unwrap();
        assert_eq!(mock.stats().early_retries, u64::from(hints != Hints::None));
    }
}

#[tokio::test(start_paused = true)]
async fn refused_calls_can_count() {
    let mock = Mock::builder().requests_per_minute(60).request_burst(1).refused_calls_count(true).build();
    ask(&mock, "a").await.unwrap();
    for _ in 0..10 {
        advance(Duration::from_millis(900)).await;
        assert_eq!(ask(&mock, "b").await.unwrap().header("retry-after-ms"), Some("1000"));
    }
    advance(Duration::from_secs(1)).await;
    assert_eq!(ask(&mock, "b").await.unwrap().status, 200);
}

#[tokio::test(start_paused = true)]
async fn the_rate_holds_over_time() {
    let mock = Mock::builder().requests_per_minute(600).request_burst(20).build();
    for n in 0..6_000 {
        advance(10 * MILLI).await;
        let _ = ask(&mock, &n.to_string()).await.unwrap();
    }
    // The burst, and one every 100 ms for a minute less 10 ms.
    assert_eq!(mock.stats().accepted, 20 + 599);
}

#[tokio::test(start_paused = true)]
async fn a_fixed_window_is_used_up_and_begins_again() {
    let mock = Mock::builder().requests_per_window(2, Duration::from_secs(10)).build();
    advance(3_000 * MILLI).await;
    let first = ask(&mock, "a").await.unwrap();
    assert_eq!(first.header("x-ratelimit-limit-requests"), Some("2"));
    assert_eq!(first.header("x-ratelimit-remaining-requests"), Some("1"));
    assert_eq!(first.header("x-ratelimit-reset-requests"), Some("7s"));
    ask(&mock, "b").await.unwrap();
    let refused = ask(&mock, "c").await.unwrap();
    assert_eq!((refused.status.as_u16(), refused.header("retry-after-ms")), (429, Some("7000")));
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("on requests per 10s: Limit 2, Used 2, Requested 1."), "{message}");
    advance(6_999 * MILLI).await;
    assert_eq!(ask(&mock, "c").await.unwrap().status, 429);
    advance(MILLI).await;
    // All of the next window is there at once.
    assert_eq!(ask(&mock, "c").await.unwrap().status, 200);
    assert_eq!(ask(&mock, "d").await.unwrap().status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_window_can_limit_tokens_too() {
    // 1 token of input and 100 of max_tokens.
    let mock = Mock::builder().tokens_per_window(250, Duration::from_secs(10)).build();
    let statuses = [
        ask(&mock, "a").await,
        ask(&mock, "b").await,
        ask(&mock, "c").await,
    ];
    assert_eq!(statuses.map(|answer| answer.unwrap().status.as_u16()), [200, 200, 429]);
    advance(Duration::from_secs(10)).await;
    assert_eq!(ask(&mock, "c").await.unwrap().status, 200);
}

#[tokio::test(start_paused = true)]
async fn limits_can_change_while_the_mock_runs() {
    let mock = Mock::builder()
        .requests_per_minute(60)
        .request_burst(1)
        .request_limit_from(Duration::from_secs(10), 600)
        .request_limit_from(Duration::from_secs(20), 6)
        .build();
    let delay = async |mock: &Mock| {
        ask(mock, "a").await.unwrap();
        ask(mock, "b").await.unwrap().header("retry-after-ms").map(str::to_owned)
    };
    for expected in ["1000", "100", "10000"] {
        assert_eq!(delay(&mock).await.as_deref(), Some(expected));
        advance(Duration::from_secs(10)).await;
    }
    // A reset starts over.
    mock.reset();
    assert_eq!(delay(&mock).await.as_deref(), Some("1000"));
}

#[tokio::test(start_paused = true)]
async fn other_clients_use_the_same_limit() {
    let mock = Mock::builder().requests_per_minute(60).other_requests_per_minute(45).build();
    let mut accepted = 0;
    for n in 0..600_u32 {
        accepted += u32::from(ask(&mock, &n.to_string()).await.unwrap().status == 200);
        advance(1_000 * MILLI).await;
    }
    // The burst of 60, and a quarter of the rate for ten minutes.
    assert!((205..=212).contains(&accepted), "{accepted}");
}
