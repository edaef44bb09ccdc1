//! A configured URL.
#![no_main]

use aplomb_provider::{Generic, Hosts, Provider, detect};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (url, set) = input;
    let name = detect(url).name();
    let found = Hosts::new().with(set, Generic).detect(url);
    assert!(found.name() == name || found.name() == Generic.name());
});
