//! The cases, by what they do.

mod breaker;
mod concurrency;
mod keyed;
mod limit;
mod provider;
mod retry;
mod settle;
mod stack;

use crate::Group;

/// All groups.
pub fn groups() -> &'static [Group] {
    &[
        retry::PLAIN,
        retry::AI,
        retry::OFF,
        retry::ONCE,
        limit::ADMITTED,
        limit::TOKENS,
        settle::SETTLED,
        keyed::KEYED,
        breaker::CLOSED,
        breaker::WINDOW,
        breaker::REFUSED,
        concurrency::FREE,
        provider::READING,
        stack::WHOLE,
        stack::EVERYTHING,
    ]
}

/// Cases of a peer that does not answer, for what a call holds while it is in flight.
pub const fn in_flight() -> &'static Group {
    &stack::IN_FLIGHT
}
