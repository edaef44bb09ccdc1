//! A limit of its own for each key.

mod layer;
mod limiter;

pub use self::layer::{KeyedConcurrencyLimit, KeyedConcurrencyLimitLayer, SlotsTerms};
pub use self::limiter::KeyedLimiter;
