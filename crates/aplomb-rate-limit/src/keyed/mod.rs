//! Quotas of their own for each key.

mod layer;
mod limiter;

pub use self::layer::{KeyedRateLimit, KeyedRateLimitLayer, LimitTerms};
pub use self::limiter::KeyedLimiter;
