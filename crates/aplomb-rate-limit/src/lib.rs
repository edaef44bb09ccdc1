#![doc = include_str!("../README.md")]

mod bucket;
mod charge;
mod error;
mod keyed;
mod layer;
mod limiter;
mod pause;
mod quota;
mod quotas;

pub use charge::{Charge, Cost, PerRequest};
pub use error::Exceeded;
pub use keyed::{KeyedLimiter, KeyedRateLimit, KeyedRateLimitLayer, LimitTerms};
pub use layer::{LimitDoor, RateLimit, RateLimitLayer};
pub use limiter::{Limiter, Snapshot};
pub use quota::{Dimension, Quota};
pub use quotas::{Drawn, Limit, Quotas, QuotasAtRest};
