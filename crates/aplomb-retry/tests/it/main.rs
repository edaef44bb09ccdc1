//! The promises of the retry layer, in virtual time.
#![expect(
    clippy::unwrap_used,
    reason = "the functions that tests share may panic as the tests do"
)]

mod budget;
mod contract;
mod delay;
mod dropped;
mod hints;
mod keys;
mod nested;
mod options;
mod over;
mod peer;
mod replayed;
mod response;
mod run;
mod sdk;
mod stop;
