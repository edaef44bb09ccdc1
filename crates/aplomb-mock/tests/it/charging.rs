//! How tokens count against the limits, exactly, in paused time.

use std::time::Duration;

use aplomb_mock::{Charging, Fault, Mock, Plan, answer};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::time::advance;
use tower_service::Service;

use crate::support::{ANTHROPIC, Answer, OPENAI, post, question, send, streamed};

const SECOND: Duration = Duration::from_secs(1);

/// Makes it 100 tokens of input, and at most 100 of output.
fn long(mut question: Value) -> Value {
    question["messages"][0]["content"] = "x".repeat(400).into();
    question
}

fn left(answer: &Answer) -> u64 {
    answer.header("x-ratelimit-remaining-tokens").unwrap().parse().unwrap()
}

fn anthropic_left(answer: &Answer, name: &str) -> u64 {
    answer.header(&format!("anthropic-ratelimit-{name}-remaining")).unwrap().parse().unwrap()
}

async fn post_to(mock: &Mock, path: &str, body: Value) -> Answer {
    send(mock, post(path, body)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_charges_on_admission_and_settles_in_its_own_way() {
    for (charging, admitted, settled) in [
        (Charging::Larger, 100, 100),
        (Charging::Sum, 200, 200),
        (Charging::Produced, 100, 140),
        (Charging::Corrected, 200, 140),
    ] {
        for body in [question("p"), streamed("p")] {
            let mock = Mock::builder().tokens_per_minute(6_000).charging(charging).answer_words(40).build();
            let first = post_to(&mock, OPENAI, long(body)).await;
            assert_eq!(left(&first), 6_000 - admitted, "{charging:?}");
            // An empty prompt costs as much as its answer.
            let second = post_to(&mock, OPENAI, question("")).await;
            let more = if charging == Charging::Produced { 0 } else { 100 };
            assert_eq!(left(&second), 6_000 - settled - more, "{charging:?}");
            let stats = mock.stats();
            assert_eq!((stats.input_tokens, stats.output_tokens), (100, 80));
            let of_second = if charging == Charging::Sum || charging == Charging::Larger {
                100
            } else {
                40
            };
            assert_eq!(stats.charged_tokens, settled + of_second, "{charging:?}");
            assert_eq!(stats.charged_input_tokens, 100);
            assert_eq!(stats.charged_output_tokens, of_second * 2, "{charging:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_max_tokens_the_longest_answer_is_reserved() {
    for (charging, admitted) in [
        (Charging::Larger, 2),
        (Charging::Sum, 52),
        (Charging::Corrected, 52),
    ] {
        let mock = Mock::builder()
            .tokens_per_minute(6_000)
            .charging(charging)
            .answer_words_between(1..=50)
            .build();
        let mut body = question("12345678");
        body.as_object_mut().unwrap().remove("max_tokens");
        assert_eq!(left(&post_to(&mock, OPENAI, body).await), 6_000 - admitted, "{charging:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn anthropic_limits_input_and_output_apart() {
    let mock = Mock::builder()
        .input_tokens_per_minute(600)
        .output_tokens_per_minute(60)
        .charging(Charging::Produced)
        .answer_words(70)
        .build();
    let first = post_to(&mock, ANTHROPIC, long(question("p"))).await;
    assert_eq!(anthropic_left(&first, "input-tokens"), 500);
    // `max_tokens` does not matter, and nothing of the output had been produced when the head was sent.
    assert_eq!(anthropic_left(&first, "output-tokens"), 60);
    assert_eq!(anthropic_left(&first, "tokens"), 60);
    assert_eq!(first.json()["usage"]["output_tokens"], 70);

    // Ten tokens of debt and one to spend, at one a second.
    let refused = post_to(&mock, ANTHROPIC, question("p")).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, Some("11")));
    assert_eq!(
        (anthropic_left(&refused, "input-tokens"), anthropic_left(&refused, "output-tokens")),
        (500, 0)
    );
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("rate limit of 60 output tokens per minute"), "{message}");
    advance(Duration::from_millis(10_999)).await;
    assert_eq!(post_to(&mock, ANTHROPIC, question("p")).await.status, 429);
    advance(Duration::from_millis(1)).await;
    assert_eq!(post_to(&mock, ANTHROPIC, question("p")).await.status, 200);

    advance(SECOND * 120).await;
    let mut large = question("p");
    large["messages"][0]["content"] = "x".repeat(2_404).into();
    let refused = post_to(&mock, ANTHROPIC, large).await;
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("This request of 601 input tokens is larger"), "{message}");
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, None));
}

#[tokio::test(start_paused = true)]
async fn output_counts_word_by_word_as_it_is_sent() {
    for charging in [Charging::Produced, Charging::Corrected] {
        let mock = Mock::builder().tokens_per_minute(600_000).charging(charging).build();
        let response = mock.clone().call(post(OPENAI, streamed(""))).await.unwrap();
        let mut body = response.into_body();
        // The opening, and five words.
        for _ in 0..6 {
            body.frame().await.unwrap().unwrap();
        }
        assert_eq!(mock.stats().output_tokens, 5);
        let probe = async || {
            600_000
                - left(
                    &post_to(
                        &mock,
                        OPENAI,
                        json!({"model": "m", "max_tokens": 1,
            "messages": [{"role": "user", "content": ""}]}),
                    )
                    .await,
                )
        };
        // Before the end, all of it is reserved, or the words sent are used; the probe's own token comes last.
        let (before, own) = if charging == Charging::Produced {
            (5, 0)
        } else {
            (100, 1)
        };
        assert_eq!(probe().await, before + own, "{charging:?}");
        // If the client goes away, the words sent stay used.
        drop(body);
        assert_eq!(probe().await, 5 + 1 + own, "{charging:?}");
        assert_eq!(mock.stats().abandoned, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_answer_counts_for_its_prompt_and_for_what_was_produced() {
    for (fault, produced) in [
        (Fault::InternalError, 0),
        (Fault::Reset, 0),
        (Fault::StreamError, 0),
        (Fault::Unfinished, 16),
        (Fault::Truncate, 16),
    ] {
        for (charging, kept) in [
            (Charging::Sum, 200),
            (Charging::Produced, 100 + produced),
            (Charging::Corrected, 100 + produced),
        ] {
            let plan = Plan::default().request(1, fault);
            let mock = Mock::builder().tokens_per_minute(6_000).charging(charging).plan(plan).build();
            let _ = send(&mock, post(OPENAI, long(streamed("p")))).await;
            let own = if charging == Charging::Produced { 0 } else { 100 };
            assert_eq!(
                left(&post_to(&mock, OPENAI, question("")).await),
                6_000 - kept - own,
                "{fault:?} {charging:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_ends_after_a_reset_changes_nothing() {
    for charging in [Charging::Produced, Charging::Corrected] {
        let mock = Mock::builder().tokens_per_minute(6_000).charging(charging).build();
        let response = mock.clone().call(post(OPENAI, streamed("p"))).await.unwrap();
        mock.reset();
        post_to(&mock, OPENAI, long(question("p"))).await;
        let used = 6_000 - left(&post_to(&mock, OPENAI, question("")).await);
        response.into_body().collect().await.unwrap();
        let after = 6_000 - left(&post_to(&mock, OPENAI, question("")).await);
        // Only the first one's own answer came between the two.
        assert_eq!(after - used, 32, "{charging:?}");
        assert_eq!(mock.stats().output_tokens, 96);
    }
}

#[tokio::test(start_paused = true)]
async fn a_debt_is_paid_by_time_alone() {
    // An answer of 30 tokens a second is half of the limit of 3,600 a minute, one of 90 is more than it.
    for (words, answered) in [(30, 600), (90, 402)] {
        let mock = Mock::builder()
            .output_tokens_per_minute(3_600)
            .token_burst(60)
            .charging(Charging::Produced)
            .answer_words(words)
            .build();
        for n in 0..600 {
            send(&mock, post(OPENAI, question(&n.to_string()))).await.unwrap();
            advance(SECOND).await;
        }
        let stats = mock.stats();
        // Two answers in three, and the burst.
        assert!(stats.answered.abs_diff(answered) <= 2, "{words}: {stats:?}");
    }
}

#[tokio::test]
async fn answers_are_as_long_as_their_prompts_say() {
    let mock = Mock::builder().answer_words_by(|prompt| prompt.parse().unwrap_or(0)).build();
    for (prompt, words, reason) in [
        ("7", 7, "stop"),
        ("100", 100, "stop"),
        ("101", 100, "length"),
        ("x", 1, "stop"),
    ] {
        let json = post_to(&mock, OPENAI, question(prompt)).await.json();
        assert_eq!(json["choices"][0]["message"]["content"], answer(prompt, words));
        assert_eq!(json["choices"][0]["finish_reason"], reason);
        assert_eq!(json["usage"]["completion_tokens"], words);
    }
}

#[tokio::test]
async fn lengths_and_true_sizes_are_drawn_by_seed_and_reported_everywhere() {
    let all = async |seed| {
        let mock = Mock::builder()
            .plan(Plan::seeded(seed))
            .answer_words_between(10..=90)
            .input_factor(0.5..=2.0)
            .build();
        let mut all = Vec::new();
        for n in 0..200 {
            let mut body = long(question("p"));
            body["messages"][0]["content"] = format!("{n} {}", "x".repeat(400)).into();
            let usage = post_to(&mock, OPENAI, body.clone()).await.json()["usage"].clone();
            let (input, output) =
                (usage["prompt_tokens"].as_u64().unwrap(), usage["completion_tokens"].as_u64().unwrap());
            // The same on the next attempt, in the other API and in a stream.
            let other = post_to(&mock, ANTHROPIC, body.clone()).await.json()["usage"].clone();
            assert_eq!(
                (other["input_tokens"].as_u64(), other["output_tokens"].as_u64()),
                (Some(input), Some(output))
            );
            body["stream"] = true.into();
            body["stream_options"] = json!({"include_usage": true});
            let stream = post_to(&mock, OPENAI, body).await;
            let (_, last) = stream.events().into_iter().rev().nth(1).unwrap();
            let last: Value = serde_json::from_str(last).unwrap();
            assert_eq!(last["usage"], usage);
            assert!((50..=202).contains(&input) && (10..=90).contains(&output), "{usage}");
            all.push((input, output));
        }
        all
    };
    let one = all(1).await;
    assert_eq!(one, all(1).await);
    assert_ne!(one, all(2).await);
    // A client that counts a quarter of the characters is wrong both ways.
    let under = one.iter().filter(|(input, _)| *input > 101).count();
    assert!((60..140).contains(&under), "{under}");
}

#[tokio::test(start_paused = true)]
async fn limits_count_the_true_size() {
    let mock = Mock::builder().tokens_per_minute(6_000).input_factor(2.0..=2.0).build();
    assert_eq!(left(&post_to(&mock, OPENAI, long(question("p"))).await), 6_000 - 300);
}
