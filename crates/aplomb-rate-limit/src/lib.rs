#![doc = include_str!("../README.md")]

mod active_quota;
mod bucket;
mod charge;
mod config;
mod cubic;
mod error;
mod keyed;
mod layer;
mod learned;
mod limiter;
mod limiter_gate;
mod pause;
mod permit;
mod pool;
mod quota;
mod quotas;
mod rate_estimator;
mod reported_limit;
#[cfg(feature = "serde")]
mod serialize;
mod settle;
mod snapshot;

pub use aplomb_core::{Dimension, Reading};
pub use charge::{Charge, Cost, FromBody, PerRequest, from_body};
pub use error::RateLimited;
pub use keyed::{KeyedLimiter, KeyedRateLimit, KeyedRateLimitLayer, LimitTerms};
pub use layer::{RateLimit, RateLimitLayer, RateLimitPolicy};
pub use learned::Learned;
pub use limiter::RateLimiter;
#[doc(hidden)]
pub use limiter_gate::LimiterGate;
pub use permit::{AcquireFuture, RateLimitPermit};
pub use pool::{Pool, PoolMember};
pub use quota::Quota;
pub use quotas::{Quotas, QuotasAtRest, RateLimitReason, Reservation};
pub use settle::Settle;
pub use snapshot::RateLimitSnapshot;
