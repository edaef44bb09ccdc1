//! The cases, by what they do.

mod breaker;
mod concurrency;
mod limit;
mod retry;
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
        breaker::CLOSED,
        breaker::WINDOW,
        breaker::REFUSED,
        concurrency::ROOM,
        stack::WHOLE,
    ]
}
