//! A stream in any format reads the same however it is split.
#![no_main]

use aplomb_provider::{Head, Provider, StreamEnd, StreamEvent};
use aplomb_provider_fuzz::{PROVIDERS, with_head};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

const TYPES: [&str; 4] = [
    "application/json",
    "text/event-stream",
    "text/plain",
    "application/vnd.amazon.eventstream",
];

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (media_type, size, body) = input;
    let mut headers = HeaderMap::new();
    if let Some(media_type) = TYPES.get(usize::from(media_type) % (TYPES.len() + 1)) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
    let size = usize::from(size).max(1);
    with_head(0, &headers, |head| {
        for provider in PROVIDERS {
            let whole = read(*provider, head, body.chunks(body.len().max(1)));
            assert_eq!(read(*provider, head, body.chunks(size)), whole);
            // Nothing comes after what ends it.
            let ends = |event: &StreamEvent| matches!(event, StreamEvent::Done | StreamEvent::Error(_));
            assert!(whole.0.iter().position(ends).is_none_or(|at| at + 1 == whole.0.len()));
        }
    });
});

fn read<'a>(
    provider: &dyn Provider,
    head: &Head<'_>,
    chunks: impl Iterator<Item = &'a [u8]>,
) -> (Vec<StreamEvent<'static>>, StreamEnd) {
    let mut reader = provider.stream(head);
    let mut events = Vec::new();
    for chunk in chunks {
        reader.push(chunk, &mut |event| events.push(event.into_owned()));
    }
    let end = reader.finish(&mut |event| events.push(event.into_owned()));
    (events, end)
}
