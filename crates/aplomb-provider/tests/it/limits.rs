//! Limits in headers.

use std::time::Duration;

use aplomb_core::{Dimension, Reading};
use aplomb_provider::{
    Anthropic, AzureOpenAi, Cerebras, Cohere, Fireworks, Gemini, Generic, Groq, HuggingFace, LiteLlm,
    Mistral, OpenAi, OpenRouter, Provider, Together,
};

use crate::support::Response;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

fn read(provider: &dyn Provider, headers: &[(&str, &str)]) -> Vec<Reading> {
    provider.limits(&Response::new(200, headers).head())
}

fn of(dimension: Dimension, limit: u64, remaining: u64) -> Reading {
    Reading::of(dimension).with_limit(limit).with_remaining(remaining)
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn openai_and_its_copies() {
    let headers = [
        ("x-ratelimit-limit-requests", "60"),
        ("x-ratelimit-limit-tokens", "150000"),
        ("x-ratelimit-remaining-requests", "59"),
        ("x-ratelimit-remaining-tokens", "149984"),
        ("x-ratelimit-reset-requests", "1s"),
        ("x-ratelimit-reset-tokens", "6m0s"),
    ];
    let expected = [
        of(Dimension::REQUESTS, 60, 59).with_reset(s(1)),
        of(Dimension::TOKENS, 150_000, 149_984).with_reset(s(360)),
    ];
    for provider in [&OpenAi as &dyn Provider, &AzureOpenAi, &Generic, &LiteLlm] {
        assert_eq!(read(provider, &headers), expected, "{}", provider.name());
    }
    // Groq limits requests per day and tokens per minute.
    let windowed = [expected[0].with_window(DAY), expected[1].with_window(MINUTE)];
    assert_eq!(read(&Groq, &headers), windowed);
}

#[test]
fn of_two_limits_of_one_kind_the_tighter_counts() {
    let headers = [
        ("x-ratelimit-limit-tokens", "1000"),
        ("x-ratelimit-remaining-tokens", "900"),
        ("x-ratelimit-limit-project-tokens", "500"),
        ("x-ratelimit-remaining-project-tokens", "40"),
    ];
    assert_eq!(read(&OpenAi, &headers), [of(Dimension::TOKENS, 500, 40)]);
}

#[test]
fn nonsense_is_ignored() {
    for value in ["-1", "", "many", "99999999999999999999999999", "1e9", "\u{80}"] {
        let headers = [
            ("x-ratelimit-limit-tokens", value),
            ("x-ratelimit-remaining-tokens", value),
        ];
        assert_eq!(read(&AzureOpenAi, &headers), [], "{value}");
    }
    let half = [
        ("x-ratelimit-limit-tokens", "-1"),
        ("x-ratelimit-remaining-tokens", "5"),
        ("x-ratelimit-reset-tokens", "0"),
    ];
    assert_eq!(read(&OpenAi, &half), [Reading::of(Dimension::TOKENS).with_remaining(5)]);
    assert_eq!(read(&OpenAi, &[("x-ratelimit-reset-tokens", "5s")]), []);
    assert_eq!(read(&Gemini, &[("x-ratelimit-limit-tokens", "5")]), []);
}

#[test]
fn anthropic() {
    let requests = [
        ("anthropic-ratelimit-requests-limit", "50"),
        ("anthropic-ratelimit-requests-remaining", "49"),
        ("anthropic-ratelimit-requests-reset", "2023-09-29T16:26:38Z"),
        ("anthropic-ratelimit-tokens-limit", "100000"),
        ("anthropic-ratelimit-tokens-remaining", "99000"),
        // Before the response was made.
        ("anthropic-ratelimit-tokens-reset", "2023-09-29T16:26:36Z"),
    ];
    let expected = [
        of(Dimension::REQUESTS, 50, 49).with_reset(s(1)).with_window(MINUTE),
        of(Dimension::TOKENS, 100_000, 99_000).with_window(MINUTE),
    ];
    assert_eq!(read(&Anthropic, &requests), expected);
    assert_eq!(read(&Generic, &requests), expected);

    let mut apart = requests.to_vec();
    apart.extend([
        ("anthropic-ratelimit-input-tokens-limit", "80000"),
        ("anthropic-ratelimit-input-tokens-remaining", "79000"),
        ("anthropic-ratelimit-output-tokens-limit", "20000"),
        ("anthropic-ratelimit-output-tokens-remaining", "20000"),
    ]);
    let expected = [
        expected[0],
        of(Dimension::INPUT_TOKENS, 80_000, 79_000).with_window(MINUTE),
        of(Dimension::OUTPUT_TOKENS, 20_000, 20_000).with_window(MINUTE),
    ];
    assert_eq!(read(&Anthropic, &apart), expected, "`tokens` repeats the tightest of them");
}

#[test]
fn others() {
    let cerebras = [
        ("x-ratelimit-limit-requests-day", "1000"),
        ("x-ratelimit-remaining-requests-day", "999"),
        ("x-ratelimit-reset-requests-day", "33011.5"),
        ("x-ratelimit-limit-tokens-minute", "60000"),
        ("x-ratelimit-remaining-tokens-minute", "59000"),
        ("x-ratelimit-reset-tokens-minute", "11.5"),
    ];
    let expected = [
        of(Dimension::REQUESTS, 1_000, 999)
            .with_reset(Duration::from_secs_f64(33_011.5))
            .with_window(DAY),
        of(Dimension::TOKENS, 60_000, 59_000)
            .with_reset(Duration::from_secs_f64(11.5))
            .with_window(MINUTE),
    ];
    assert_eq!(read(&Cerebras, &cerebras), expected);
    assert_eq!(read(&Generic, &cerebras), expected);

    let mistral = [
        ("x-ratelimit-limit-req-minute", "60"),
        ("x-ratelimit-remaining-req-minute", "50"),
        ("x-ratelimitbysize-limit-minute", "500000"),
        ("x-ratelimitbysize-remaining-minute", "499000"),
    ];
    let expected = [
        of(Dimension::REQUESTS, 60, 50).with_window(MINUTE),
        of(Dimension::TOKENS, 500_000, 499_000).with_window(MINUTE),
    ];
    assert_eq!(read(&Mistral, &mistral), expected);

    let cohere = [
        ("x-trial-endpoint-call-limit", "20"),
        ("x-trial-endpoint-call-remaining", "19"),
        ("x-endpoint-monthly-call-limit", "1000"),
    ];
    let month = Reading::of(Dimension::REQUESTS).with_limit(1_000).with_window(s(30 * 86_400));
    assert_eq!(read(&Cohere, &cohere), [of(Dimension::REQUESTS, 20, 19).with_window(MINUTE), month]);

    let together = [
        ("x-ratelimit-limit", "60"),
        ("x-ratelimit-remaining", "59"),
        ("x-ratelimit-reset", "1"),
        ("x-ratelimit-limit-dynamic", "30"),
        ("x-ratelimit-remaining-dynamic", "29"),
        ("x-tokenlimit-limit", "180000"),
        ("x-tokenlimit-remaining", "170000"),
    ];
    let expected = [
        of(Dimension::REQUESTS, 30, 29).with_reset(s(1)),
        of(Dimension::TOKENS, 180_000, 170_000).with_reset(s(1)),
    ];
    assert_eq!(read(&Together, &together), expected);
    let larger = [
        ("x-ratelimit-limit", "10"),
        ("x-ratelimit-remaining", "1"),
        ("x-ratelimit-limit-dynamic", "50"),
        ("x-ratelimit-remaining-dynamic", "41"),
        ("x-tokenlimit-limit", "100"),
        ("x-tokenlimit-remaining", "10"),
        ("x-tokenlimit-limit-dynamic", "500"),
        ("x-tokenlimit-remaining-dynamic", "410"),
    ];
    let expected = [of(Dimension::REQUESTS, 50, 41), of(Dimension::TOKENS, 500, 410)];
    assert_eq!(read(&Together, &larger), expected);

    let fireworks = [
        ("x-ratelimit-limit-tokens-prompt", "72000"),
        ("x-ratelimit-remaining-tokens-prompt", "69338"),
        ("x-ratelimit-limit-tokens-generated", "900"),
        ("x-ratelimit-remaining-tokens-generated", "100"),
    ];
    let expected = [
        of(Dimension::INPUT_TOKENS, 72_000, 69_338).with_window(MINUTE),
        of(Dimension::OUTPUT_TOKENS, 900, 100).with_window(MINUTE),
    ];
    assert_eq!(read(&Fireworks, &fireworks), expected);

    let openrouter = [
        ("x-ratelimit-limit", "20"),
        ("x-ratelimit-remaining", "7"),
        ("x-ratelimit-reset", "1696004810000"),
    ];
    assert_eq!(read(&OpenRouter, &openrouter), [of(Dimension::REQUESTS, 20, 7).with_reset(s(13))]);
}

#[test]
fn the_ietfs_headers_are_read_everywhere() {
    let headers = [
        ("ratelimit-policy", r#""burst";q=100;w=60,"daily";q=1000;w=86400"#),
        ("ratelimit", r#""burst";r=50;t=30"#),
    ];
    let daily = Reading::of(Dimension::REQUESTS).with_limit(1_000).with_window(DAY);
    let expected = [
        of(Dimension::REQUESTS, 100, 50).with_reset(s(30)).with_window(MINUTE),
        daily,
    ];
    for provider in [&OpenAi as &dyn Provider, &HuggingFace, &Generic, &Gemini] {
        assert_eq!(read(provider, &headers), expected, "{}", provider.name());
    }
}

#[test]
fn behind_a_gateway() {
    let headers = [
        ("x-ratelimit-limit-requests", "100"),
        ("x-ratelimit-remaining-requests", "99"),
        ("llm_provider-x-ratelimit-limit-requests", "60"),
        ("llm_provider-x-ratelimit-remaining-requests", "12"),
        ("llm_provider-anthropic-ratelimit-output-tokens-limit", "8000"),
        ("llm_provider-anthropic-ratelimit-output-tokens-remaining", "7000"),
    ];
    // The gateway's own limits take precedence.
    let expected = [
        of(Dimension::REQUESTS, 100, 99),
        of(Dimension::OUTPUT_TOKENS, 8_000, 7_000).with_window(MINUTE),
    ];
    assert_eq!(read(&LiteLlm, &headers), expected);
}
