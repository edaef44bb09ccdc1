//! Found in review: each fails, and says why it should not.

use std::time::{Duration, Instant};

use aplomb_core::{Kind, Scope};
use aplomb_provider::{Generic, OpenAi, Provider, Reason, StreamEnd, StreamEvent, detect};

use crate::support::{self, Response};

const SSE: &[(&str, &str)] = &[("content-type", "text/event-stream")];

type Said = (Reason, Kind, Scope, Option<u64>);

fn judge(url: &str, status: u16, headers: &[(&str, &str)], body: &str) -> Said {
    let judgement = detect(url).judge(&Response::new(status, headers).head(), body.as_bytes());
    let outcome = judgement.outcome();
    let delay = outcome.retry_after().map(|delay| delay.as_secs());
    (judgement.reason(), outcome.kind(), outcome.scope(), delay)
}

fn stream(url: &str, headers: &[(&str, &str)], body: &str) -> (Vec<StreamEvent<'static>>, StreamEnd) {
    let response = Response::new(200, headers);
    support::read(detect(url).stream(&response.head()), [body.as_bytes()])
}

/// providers.md, OpenRouter: `metadata:{error_type,limit_source,reason,…}` come together, and the
/// `openrouter_in_flight_budget` 402 is retryable. `error_type` repeats the status and must not win.
#[test]
fn openrouters_in_flight_budget_is_retryable_beside_the_error_type_of_its_402() {
    let body = r#"{"error": {"code": 402, "message": "m", "metadata": {"error_type": "payment_required",
        "limit_source": "openrouter_in_flight_budget", "reason": "in_flight_budget_exhausted"}}}"#;
    assert_eq!(
        judge("https://openrouter.ai/api/v1", 402, &[("retry-after", "3")], body),
        (Reason::TooManyAtOnce, Kind::Throttled, Scope::Account, Some(3))
    );
}

/// providers.md, OpenRouter: `X-RateLimit-{Limit,Remaining,Reset(epoch ms)}`, free 50/day; §5: `delay_s` is
/// the server's delay even when not retryable. The reset is dropped once the 429 is found to be of a day.
#[test]
fn a_used_up_day_keeps_the_reset_that_the_server_names() {
    let headers = [
        ("x-ratelimit-limit", "50"),
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", "1696032000000"),
    ];
    let body = r#"{"error": {"code": 429, "message": "Rate limit exceeded: free-models-per-day"}}"#;
    assert_eq!(
        judge("https://openrouter.ai/api/v1", 429, &headers, body),
        (Reason::QuotaExhausted, Kind::Exhausted, Scope::Account, Some(27_203))
    );
}

/// The same at Cerebras, whose headers name the window.
#[test]
fn a_used_up_day_at_cerebras_keeps_its_reset() {
    let headers = [
        ("x-ratelimit-remaining-tokens-day", "0"),
        ("x-ratelimit-reset-tokens-day", "33011.5"),
    ];
    let body = r#"{"message": "Tokens per day limit exceeded - too many tokens processed."}"#;
    assert_eq!(
        judge("https://api.cerebras.ai/v1", 429, &headers, body),
        (Reason::QuotaExhausted, Kind::Exhausted, Scope::Account, Some(33_011))
    );
}

/// providers.md, Mistral: "Service tier capacity exceeded for this model." (code 3505 or null, type
/// `invalid_request_error`) is capacity. Inside a stream there is no status, and the type wins: permanent.
#[test]
fn mistrals_capacity_inside_a_stream_is_not_an_invalid_request() {
    for code in ["null", "3505"] {
        let data = format!(
            "data: {{\"object\": \"error\", \"message\": \"Service tier capacity exceeded for this model.\", \
             \"type\": \"invalid_request_error\", \"param\": null, \"code\": {code}}}\n\n"
        );
        let (_, end) = stream("https://api.mistral.ai/v1", SSE, &data);
        assert_eq!(end.judgement().reason(), Reason::Overloaded, "code {code}");
    }
}

/// The same in a 200 that is JSON.
#[test]
fn mistrals_capacity_inside_a_200_is_not_an_invalid_request() {
    let body = r#"{"object": "error", "message": "Service tier capacity exceeded for this model.",
        "type": "invalid_request_error", "param": null, "code": null}"#;
    let said = judge("https://api.mistral.ai/v1", 200, &[("content-type", "application/json")], body);
    assert_eq!(said.0, Reason::Overloaded);
}

/// A code that is a number is passed over: 1300 says "rate limited" (providers.md, Mistral), whatever type
/// stands beside it, and z.ai's 1308 "used up".
#[test]
fn a_code_that_is_a_number_counts_as_much_as_one_that_is_text() {
    for (code, reason) in [
        (1_300, Reason::RateLimited),
        (3_505, Reason::Overloaded),
        (1_308, Reason::QuotaExhausted),
    ] {
        let data = format!("data: {{\"error\": {{\"message\": \"m\", \"code\": {code}}}}}\n\n");
        let (_, end) = stream("https://gateway.example.org", SSE, &data);
        assert_eq!(end.judgement().reason(), reason, "{code}");
    }
}

/// providers.md, Gemini: "(429|499) -> any quotaId containing PerDay/Daily => TERMINAL before RetryInfo". A 499
/// is judged by its status alone, and sent again.
#[test]
fn a_quota_per_day_is_terminal_with_a_499_too() {
    let body = r#"{"error": {"code": 499, "status": "RESOURCE_EXHAUSTED", "message": "m", "details": [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure",
         "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "36s"}]}}"#;
    let said = judge("https://generativelanguage.googleapis.com/v1beta", 499, &[], body);
    assert_eq!(said, (Reason::QuotaExhausted, Kind::Exhausted, Scope::Account, Some(36)));
}

/// Issue 7: OpenAI's images. Their streams end with `image_generation.completed`, which has the usage, and
/// without `[DONE]`: every one of them is judged truncated, none has content or a usage.
#[test]
fn a_stream_of_openais_images_ends_with_its_completed_event() {
    let body = "event: image_generation.partial_image\n\
        data: {\"type\": \"image_generation.partial_image\", \"b64_json\": \"aGk=\", \"partial_image_index\": 0}\n\n\
        event: image_generation.completed\n\
        data: {\"type\": \"image_generation.completed\", \"b64_json\": \"aGk=\", \
        \"usage\": {\"input_tokens\": 50, \"output_tokens\": 50, \"total_tokens\": 100}}\n\n";
    let (events, end) = stream("https://api.openai.com/v1", SSE, body);
    assert_eq!(end, StreamEnd::Complete);
    assert!(events.iter().any(StreamEvent::is_content));
    assert!(events.iter().any(|event| matches!(event, StreamEvent::Usage(usage) if usage.total() == Some(100))));
}

/// An event of an unknown shape that tells a usage: of an answer in JSON it is told, of an event it is lost.
#[test]
fn a_usage_in_an_event_of_an_unknown_shape_is_told() {
    let body = "data: {\"type\": \"transcript.text.done\", \"text\": \"I\", \
        \"usage\": {\"input_tokens\": 14, \"output_tokens\": 45, \"total_tokens\": 59}}\n\ndata: [DONE]\n\n";
    for url in ["https://api.openai.com/v1", "https://gateway.example.org"] {
        let (events, _) = stream(url, SSE, body);
        assert!(events.iter().any(|event| matches!(event, StreamEvent::Usage(_))), "{url} {events:?}");
    }
}

/// Groq says why a stream was cut short in `x_groq.error`, in its last chunk, before `[DONE]`: an error in a
/// 200 (providers.md §0.5) that is taken for an answer.
#[test]
fn groqs_error_in_its_last_chunk_is_an_error() {
    let body = "data: {\"choices\": [{\"index\": 0, \"delta\": {\"role\": \"assistant\"}}]}\n\n\
        data: {\"choices\": [], \"x_groq\": {\"id\": \"req_1\", \"error\": \"over capacity\"}}\n\ndata: [DONE]\n\n";
    let (_, end) = stream("https://api.groq.com/openai/v1", SSE, body);
    assert!(matches!(end, StreamEnd::Failed(_)), "{end:?}");
}

/// Cohere ends a stream that failed with `finish_reason: "ERROR"` and why: taken for an answer.
#[test]
fn cohere_says_in_its_last_event_that_it_failed() {
    let v2 = "event: message-start\ndata: {\"type\": \"message-start\", \"delta\": {\"message\": {\"role\": \"assistant\"}}}\n\n\
        event: message-end\ndata: {\"type\": \"message-end\", \"delta\": {\"finish_reason\": \"ERROR\", \"error\": \"boom\"}}\n\n";
    let (_, end) = stream("https://api.cohere.com/v2", SSE, v2);
    assert!(matches!(end, StreamEnd::Failed(_)), "{end:?}");
}

/// providers.md §0.5 and OpenRouter: an error as plain JSON in a 200. Where the head had promised events, its
/// one line is no event, and a used-up account is sent again as if the stream had been cut.
#[test]
fn an_error_in_json_where_events_were_promised_is_that_error() {
    let body = r#"{"error": {"message": "m", "code": "insufficient_quota"}}"#;
    let response = Response::new(200, SSE);
    let (_, end) = stream("https://openrouter.ai/api/v1", SSE, body);
    assert_eq!(end.judgement().outcome().kind(), Kind::Exhausted);
    let whole = OpenAi.whole(&response.head(), body.as_bytes());
    assert_eq!(whole.judgement().outcome().kind(), Kind::Exhausted);
}

/// Titan tells its input in the body and its output only in the list of results and in the header
/// `x-amzn-bedrock-output-token-count`: the header is not looked at once the body says anything.
#[test]
fn bedrocks_headers_complete_what_the_body_says() {
    let headers = [
        ("content-type", "application/json"),
        ("x-amzn-bedrock-input-token-count", "5"),
        ("x-amzn-bedrock-output-token-count", "10"),
    ];
    let body = r#"{"inputTextTokenCount": 5, "results": [{"tokenCount": 10, "outputText": "hi"}]}"#;
    let response = Response::new(200, &headers);
    let bedrock = detect("https://bedrock-runtime.us-east-1.amazonaws.com");
    let usage = bedrock.usage(&response.head(), body.as_bytes()).unwrap();
    assert_eq!((usage.input(), usage.output()), (Some(5), Some(10)));
}

/// providers.md, Together: the dynamic rate is the one above which a 429 comes ("at/below it a failure is 503"),
/// and `TOGETHER` says so itself. But the smaller of it and the base limit is read.
#[test]
fn togethers_dynamic_limit_counts_where_it_is_larger_too() {
    let headers = [
        ("x-ratelimit-limit", "10"),
        ("x-ratelimit-remaining", "1"),
        ("x-ratelimit-limit-dynamic", "50"),
        ("x-ratelimit-remaining-dynamic", "41"),
    ];
    let limits = detect("https://api.together.xyz/v1").limits(&Response::new(200, &headers).head());
    assert_eq!((limits[0].limit(), limits[0].remaining()), (Some(50), Some(41)));
}

/// Any status in capitals is taken for Google's form: Spring's `"status": "TOO_MANY_REQUESTS"` becomes the capacity
/// of Vertex, about the server; and what is above the limit is sent again, although its numbers say so.
#[test]
fn a_status_in_capitals_alone_is_not_googles_form() {
    let plain = r#"{"status": "TOO_MANY_REQUESTS", "message": "Too many requests"}"#;
    let said = judge("https://gateway.example.org", 429, &[], plain);
    assert_eq!(said, (Reason::RateLimited, Kind::Throttled, Scope::Account, None));
    let above = r#"{"error": {"status": "TOO_MANY_REQUESTS", "code": "rate_limit_exceeded",
        "message": "Limit 7000, Used 0, Requested 12903."}}"#;
    assert_eq!(judge("https://gateway.example.org", 429, &[], above).0, Reason::RequestTooLarge);
}

/// `ask_usage.rs` says that a key must not come twice; it does where `include_usage` is null, and the null counts.
#[test]
fn asking_for_a_usage_that_is_null_names_no_key_twice() {
    let body = br#"{"stream": true, "stream_options": {"include_usage": null}}"#;
    if let Some(changed) = OpenAi.ask_for_usage("/v1/chat/completions", body) {
        let text = String::from_utf8(changed).unwrap();
        assert_eq!(text.matches("include_usage").count(), 1, "{text}");
    }
}

/// Scale's LLM Engine says in each event whether it is the last: one that is cut is taken for whole.
#[test]
fn a_stream_of_scales_that_is_cut_is_noticed() {
    let body = "data: {\"request_id\": \"a\", \"output\": {\"text\": \"Hel\", \"finished\": false, \
        \"num_prompt_tokens\": 4, \"num_completion_tokens\": 1}}\n\n";
    let (_, end) = stream("https://llm-engine.scale.com", SSE, body);
    assert_eq!(end, StreamEnd::Truncated);
}

/// providers.md §0.4: a 429 may be of a long window (a month); Mistral tells in `x-ratelimit-remaining-tokens-month`
/// that it is used up, and names no delay: it is sent again after a second, for the rest of the month.
#[test]
fn a_month_that_is_used_up_at_mistral_is_exhausted() {
    let headers = [
        ("x-ratelimit-limit-tokens-month", "1000000000"),
        ("x-ratelimit-remaining-tokens-month", "0"),
        ("x-ratelimit-limit-tokens-minute", "500000"),
        ("x-ratelimit-remaining-tokens-minute", "500000"),
    ];
    let body = r#"{"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "code": "1300"}"#;
    assert_eq!(judge("https://api.mistral.ai/v1", 429, &headers, body).1, Kind::Exhausted);
}

/// What a job of OpenAI's says while nothing has gone wrong with it. It is taken for a failed answer, and sent again.
#[test]
fn an_error_of_which_every_part_is_null_is_none() {
    let body = r#"{"object": "fine_tuning.job", "status": "running",
        "error": {"code": null, "message": null, "param": null}}"#;
    assert_eq!(judge("https://api.openai.com/v1", 200, &[], body).1, Kind::Success);
}

/// "Every other provider here reads such headers too": a subscription that is used up behind a gateway (providers.md,
/// Anthropic: `anthropic-ratelimit-unified-status`) is sent again.
#[test]
fn a_used_up_subscription_behind_a_gateway_is_exhausted() {
    let headers = [("llm_provider-anthropic-ratelimit-unified-status", "rejected")];
    let body = r#"{"error": {"message": "m", "type": "rate_limit_error", "code": "429"}}"#;
    assert_eq!(judge("https://gateway.example.org", 429, &headers, body).1, Kind::Exhausted);
}

/// The same amid a stream: Gemini writes an error as it is, without `data:` (its JavaScript SDK looks for that).
#[test]
fn an_error_in_json_amid_events_is_that_error() {
    let body = "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"Hi\"}]}}]}\n\n\
        {\n  \"error\": {\n    \"code\": 400,\n    \"message\": \"m\",\n    \"status\": \"INVALID_ARGUMENT\"\n  }\n}\n";
    let (_, end) = stream("https://generativelanguage.googleapis.com/v1beta", SSE, body);
    assert_eq!(end.judgement().outcome().kind(), Kind::Permanent);
}

/// The scheme is looked for anywhere: that of another URL within this one decides.
#[test]
fn a_url_within_the_query_is_not_the_host() {
    assert_eq!(detect("api.openai.com/v1?from=https://example.org").name(), "openai");
    assert_eq!(detect("example.org/v1?to=https://api.openai.com").name(), "generic");
}

/// Whatever is of no shape that is known is "cut" at a provider that is read strictly, before any content: so it is
/// retried, although it had been answered in full. Mistral's conversations end with `conversation.response.done`.
#[test]
fn a_stream_of_an_unknown_shape_is_not_cut_before_its_content() {
    for (url, body) in [
        ("https://api.mistral.ai/v1", "event: conversation.response.started\ndata: {\"type\": \"conversation.response.started\"}\n\n\
            event: message.output.delta\ndata: {\"type\": \"message.output.delta\", \"content\": \"Hi\"}\n\n\
            event: conversation.response.done\ndata: {\"type\": \"conversation.response.done\", \
            \"usage\": {\"prompt_tokens\": 4, \"completion_tokens\": 1, \"total_tokens\": 5}}\n\n"),
        ("https://api.openai.com/v1", "data: {\"type\": \"speech.audio.delta\", \"audio\": \"aGk=\"}\n\n\
            data: {\"type\": \"speech.audio.done\", \"usage\": {\"input_tokens\": 4, \"output_tokens\": 1, \"total_tokens\": 5}}\n\n"),
    ] {
        let (events, end) = stream(url, SSE, body);
        let is_sent_again = end.judgement().outcome().is_retryable() && !events.iter().any(StreamEvent::is_content);
        assert!(!is_sent_again, "{url} {events:?} {end:?}");
    }
}

/// An image of Gemini's is longer than what is kept of an event. Its chunk says at its end why it is the last, which
/// is not seen: an answer that is whole is "cut", since the chunk before it was of a known shape.
#[test]
fn a_last_chunk_too_long_to_look_into_does_not_cut_an_answer() {
    let image = "A".repeat(1 << 20);
    let body = format!(
        "data: {{\"candidates\": [{{\"content\": {{\"parts\": [{{\"text\": \"Here\"}}]}}}}]}}\n\n\
        data: {{\"candidates\": [{{\"content\": {{\"parts\": [{{\"inlineData\": {{\"mimeType\": \"image/png\", \
        \"data\": \"{image}\"}}}}]}}, \"finishReason\": \"STOP\"}}]}}\n\n"
    );
    let (_, end) = stream("https://generativelanguage.googleapis.com/v1beta", SSE, &body);
    assert_eq!(end, StreamEnd::Complete);
}

fn timed(name: &str, headers: &[(&str, &str)], body: &[u8], size: usize) {
    let response = Response::new(200, headers);
    let start = Instant::now();
    let mut reader = Generic.stream(&response.head());
    for chunk in body.chunks(size) {
        reader.push(chunk, &mut |_| {});
    }
    reader.finish(&mut |_| {});
    let took = start.elapsed();
    println!("{name} by {size}: {took:?}");
    assert!(took < Duration::from_secs(5), "{name} by {size}: {took:?}");
}

/// Holds: nothing takes more than linear time.
#[test]
fn hostile_bytes_take_linear_time() {
    const MIB: usize = 256 * 1024;
    let json = &[("content-type", "application/json")][..];
    let none = &[][..];
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("open lists", vec![b'['; 2 * MIB]),
        ("open objects", b"{\"a\":".repeat(MIB / 2)),
        ("choices", [&b"{\"choices\":["[..], &b"{},".repeat(MIB / 4), b"{}]}"].concat()),
        ("usages", [&b"{"[..], &b"\"usage\":{},".repeat(MIB / 12), b"\"a\":1}"].concat()),
        ("candidates", [&b"{\"candidates\":["[..], &b"{\"content\":{\"parts\":[{\"text\":\"a\"}]}},".repeat(MIB / 40), b"{}]}"].concat()),
        ("texts", [&b"{\"choices\":[{\"message\":{\"content\":["[..], &b"{\"text\":\"a\"},".repeat(MIB / 14), b"{}]}}]}"].concat()),
        ("backslashes", [&b"{\"content\":\""[..], &b"\\\\".repeat(MIB / 2 - 100), b"\"}"].concat()),
        ("cut", [&b"{\"content\":\""[..], &b"\\\\".repeat(MIB)].concat()),
        ("lines", b"data: x\n".repeat(MIB / 8)),
        ("comments", b":\n".repeat(MIB)),
        ("one line", [&b"data: "[..], &vec![b'x'; 3 * MIB]].concat()),
        ("values", b"{}".repeat(MIB)),
        ("bad values", b"{]".repeat(MIB)),
        ("half values", b"{\"a\":tru}".repeat(MIB / 8)),
        ("numbers", b"1 ".repeat(MIB)),
        ("space", vec![b' '; 2 * MIB]),
        ("events", b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n".repeat(MIB / 48)),
    ];
    for (name, body) in &bodies {
        for headers in [json, SSE, none] {
            for size in [body.len(), 1_000, 1] {
                timed(name, headers, body, size);
            }
        }
        let start = Instant::now();
        let response = Response::new(200, &[]);
        let _ = Generic.judge(&response.head(), body);
        Generic.usage(&response.head(), body);
        Generic.text(&response.head(), body);
        Generic.whole(&response.head(), body);
        Generic.estimate(body);
        Generic.ask_for_usage("/chat/completions", body);
        let _ = Generic.judge(&Response::new(500, &[]).head(), body);
        assert!(start.elapsed() < Duration::from_secs(5), "{name}: {:?}", start.elapsed());
    }
}
