//! A buffered body: its judgement, ending, text and usage.
#![no_main]

use aplomb_provider_fuzz::{PROVIDERS, with_head};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

const TYPES: [&str; 5] = [
    "application/json",
    "text/event-stream",
    "application/x-ndjson",
    "text/html",
    "application/vnd.amazon.eventstream",
];

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (status, media_type, body) = input;
    let mut headers = HeaderMap::new();
    if let Some(media_type) = TYPES.get(usize::from(media_type) % (TYPES.len() + 1)) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
    with_head(status, &headers, |head| {
        for provider in PROVIDERS {
            let judgement = provider.judge(head, body);
            assert!(judgement.message().is_none_or(|message| message.chars().count() <= 300));
            assert_eq!(provider.ending(head, body), provider.ending(head, body));
            let _ = (provider.text(head, body), provider.usage(head, body));
        }
    });
});
