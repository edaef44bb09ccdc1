//! A request's body.
#![no_main]

use aplomb_provider_fuzz::PROVIDERS;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    for provider in PROVIDERS {
        let estimate = provider.estimate("/v1/chat/completions", body, None);
        let reserved = provider.accounting().reserved(&estimate);
        assert!(reserved.total() >= estimate.input());
    }
});
