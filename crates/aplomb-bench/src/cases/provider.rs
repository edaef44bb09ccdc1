//! Reading a provider's answer, as every call of an endpoint does.

use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;

use aplomb::provider::{Anthropic, Head, OpenAi, Provider, StreamEnd};
use aplomb_core::WallClock;
use http::header::{CONTENT_TYPE, DATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tower::{Service, service_fn};

use super::retry::bare;
use crate::{Calls, Case, Group, Peer, Plain, Request, over};

pub(super) const READING: Group = Group {
    name: "provider",
    about: "beside a bare call, the reading of an answer of a few hundred bytes, of twenty events, or of a head",
    cases: &[
        Case::new("bare", bare::<Plain>),
        Case::new("chat-buffered", || buffered(&OpenAi, &CHAT)),
        Case::new("chat", || streamed(&OpenAi, &CHAT)),
        Case::new("chat-in-three", || in_three(&OpenAi, &CHAT)),
        Case::new("chat-events", || streamed(&OpenAi, &chat_events())),
        Case::new("messages-buffered", || buffered(&Anthropic, &MESSAGE)),
        Case::new("messages", || streamed(&Anthropic, &MESSAGE)),
        Case::new("messages-events", || streamed(&Anthropic, &message_events())),
        Case::new("limits-none", || limits(&OpenAi, &[])),
        Case::new("limits-openai", || limits(&OpenAi, OPENAI)),
        Case::new("limits-anthropic", || limits(&Anthropic, ANTHROPIC)),
    ],
};

/// A media type and a body.
struct Answer {
    media_type: &'static str,
    body: &'static str,
}

const CHAT: Answer = Answer {
    media_type: "application/json",
    body: r#"{
  "id": "chatcmpl-0123456789abcdefghijklmnopqrs",
  "object": "chat.completion",
  "created": 1760000000,
  "model": "gpt-4.1-2025-04-14",
  "choices": [
    {
      "index": 0,
      "message": {
        "role": "assistant",
        "content": "Because air scatters blue light more than red.",
        "refusal": null
      },
      "logprobs": null,
      "finish_reason": "stop"
    }
  ],
  "usage": {
    "prompt_tokens": 19,
    "completion_tokens": 10,
    "total_tokens": 29,
    "prompt_tokens_details": { "cached_tokens": 0, "audio_tokens": 0 },
    "completion_tokens_details": { "reasoning_tokens": 0, "audio_tokens": 0 }
  },
  "service_tier": "default"
}"#,
};

const MESSAGE: Answer = Answer {
    media_type: "application/json",
    body: concat!(
        r#"{"id":"msg_0123456789abcdefghijklmn","type":"message","role":"assistant","model":"claude-sonnet-4-5","#,
        r#""content":[{"type":"text","text":"Because air scatters blue light more than red."}],"#,
        r#""stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":19,"#,
        r#""cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":10,"#,
        r#""service_tier":"standard"}}"#
    ),
};

/// Headers of every answer.
const COMMON: &[(&str, &str)] = &[
    ("server", "cloudflare"),
    ("connection", "keep-alive"),
    ("x-request-id", "req_0123456789abcdef0123456789abcdef"),
    ("cf-ray", "0123456789abcdef-FRA"),
    ("cf-cache-status", "DYNAMIC"),
    ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
    ("x-content-type-options", "nosniff"),
    ("alt-svc", "h3=\":443\"; ma=86400"),
];

const OPENAI: &[(&str, &str)] = &[
    ("openai-organization", "org-0123456789"),
    ("openai-processing-ms", "482"),
    ("openai-version", "2020-10-01"),
    ("x-ratelimit-limit-requests", "10000"),
    ("x-ratelimit-limit-tokens", "2000000"),
    ("x-ratelimit-remaining-requests", "9999"),
    ("x-ratelimit-remaining-tokens", "1999700"),
    ("x-ratelimit-reset-requests", "6ms"),
    ("x-ratelimit-reset-tokens", "9ms"),
];

const ANTHROPIC: &[(&str, &str)] = &[
    ("anthropic-organization-id", "01234567-89ab-cdef-0123-456789abcdef"),
    ("anthropic-ratelimit-requests-limit", "4000"),
    ("anthropic-ratelimit-requests-remaining", "3999"),
    ("anthropic-ratelimit-requests-reset", "2025-10-09T08:53:21Z"),
    ("anthropic-ratelimit-input-tokens-limit", "2000000"),
    ("anthropic-ratelimit-input-tokens-remaining", "1999000"),
    ("anthropic-ratelimit-input-tokens-reset", "2025-10-09T08:53:21Z"),
    ("anthropic-ratelimit-output-tokens-limit", "400000"),
    ("anthropic-ratelimit-output-tokens-remaining", "399000"),
    ("anthropic-ratelimit-output-tokens-reset", "2025-10-09T08:53:21Z"),
    ("anthropic-ratelimit-tokens-limit", "2400000"),
    ("anthropic-ratelimit-tokens-remaining", "2398000"),
    ("anthropic-ratelimit-tokens-reset", "2025-10-09T08:53:21Z"),
];

/// The head of a successful answer, and the clock to read it with.
struct Received {
    headers: HeaderMap,
    clock: WallClock,
}

impl Received {
    fn new(media_type: &'static str, others: &[(&'static str, &'static str)]) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, HeaderValue::from_static("Thu, 09 Oct 2025 08:53:20 GMT"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        for &(name, value) in COMMON.iter().chain(others) {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Self { headers, clock: WallClock::system() }
    }

    fn head(&self) -> Head<'_> {
        Head::new(StatusCode::OK, &self.headers, &self.clock)
    }
}

/// Calls that also read something.
fn with(read: impl Fn() -> bool + Send + Sync + 'static) -> Box<dyn Calls> {
    let read = Arc::new(read);
    over::<Plain, _, _>(service_fn(move |request: Request| {
        assert!(read(), "it is healthy");
        Peer.call(request)
    }))
}

/// Classifies a complete body, and reads its usage and its end.
fn buffered(provider: &'static dyn Provider, answer: &Answer) -> Box<dyn Calls> {
    let (received, body) = (Received::new(answer.media_type, &[]), answer.body);
    with(move || {
        let (head, body) = (received.head(), black_box(body.as_bytes()));
        provider.judge(&head, body).outcome().is_success()
            && provider.usage(&head, body).is_some()
            && provider.ending(&head, body) == StreamEnd::Complete
    })
}

/// Reads the body as it passes by.
fn streamed(provider: &'static dyn Provider, answer: &Answer) -> Box<dyn Calls> {
    watched(provider, answer, usize::MAX)
}

fn in_three(provider: &'static dyn Provider, answer: &Answer) -> Box<dyn Calls> {
    watched(provider, answer, answer.body.len().div_ceil(3))
}

fn watched(provider: &'static dyn Provider, answer: &Answer, chunk: usize) -> Box<dyn Calls> {
    let (received, body) = (Received::new(answer.media_type, &[]), answer.body);
    with(move || {
        let mut reader = provider.stream(&received.head());
        for chunk in black_box(body.as_bytes()).chunks(chunk) {
            reader.push(chunk, &mut |event| drop(black_box(event)));
        }
        reader.finish(&mut |event| drop(black_box(event))) == StreamEnd::Complete
    })
}

fn limits(provider: &'static dyn Provider, headers: &[(&'static str, &'static str)]) -> Box<dyn Calls> {
    let received = Received::new("application/json", headers);
    let told = !headers.is_empty();
    with(move || provider.limits(black_box(&received.head())).is_empty() != told)
}

/// Pieces of text in a stream.
const PIECES: usize = 20;

fn events(body: String) -> Answer {
    Answer { media_type: "text/event-stream", body: body.leak() }
}

fn chat_events() -> Answer {
    let chunk = |rest: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-0123456789\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\
             \"model\":\"gpt-4.1-2025-04-14\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_0123456789\",{rest}}}\n\n"
        )
    };
    let choice = |delta: &str, reason: &str| {
        chunk(&format!(
            "\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{reason}}}],\"usage\":null"
        ))
    };
    let mut body = choice(r#"{"role":"assistant","content":"","refusal":null}"#, "null");
    for _ in 0..PIECES {
        body += &choice(r#"{"content":" scatters"}"#, "null");
    }
    body += &choice("{}", "\"stop\"");
    body += &chunk(
        "\"choices\":[],\"usage\":{\"prompt_tokens\":19,\"completion_tokens\":20,\"total_tokens\":39,\
         \"prompt_tokens_details\":{\"cached_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0}}",
    );
    events(body + "data: [DONE]\n\n")
}

fn message_events() -> Answer {
    let mut body = String::new();
    let mut event = |kind: &str, rest: &str| {
        let _ = write!(body, "event: {kind}\ndata: {{\"type\":\"{kind}\"{rest}}}\n\n");
    };
    event(
        "message_start",
        ",\"message\":{\"id\":\"msg_0123456789\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\
         \"model\":\"claude-sonnet-4-5\",\"stop_reason\":null,\"usage\":{\"input_tokens\":19,\"output_tokens\":1}}",
    );
    event("content_block_start", ",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}");
    event("ping", "");
    for _ in 0..PIECES {
        event(
            "content_block_delta",
            ",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" scatters\"}",
        );
    }
    event("content_block_stop", ",\"index\":0");
    event(
        "message_delta",
        ",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":20}",
    );
    event("message_stop", "");
    events(body)
}
