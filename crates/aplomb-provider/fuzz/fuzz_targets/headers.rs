//! Headers: lines of names and values.
#![no_main]

use aplomb_provider_fuzz::{PROVIDERS, with_head};
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (status, lines) = input;
    let headers = lines.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        Some((name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?))
    });
    let headers = headers.take(100).collect::<HeaderMap>();
    with_head(status, &headers, |head| {
        for provider in PROVIDERS {
            assert!(provider.limits(head).len() <= 100);
            let _ = provider.judge(head, b"");
        }
    });
});
