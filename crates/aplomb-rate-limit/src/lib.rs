#![doc = include_str!("../README.md")]

mod active_quota;
mod bucket;
mod charge;
mod config;
mod error;
mod gauge;
mod layer;
mod learned;
mod limiter;
mod limiter_gate;
mod limits;
mod permit;
mod pool;
mod quota;
mod quotas;
mod reported_limit;
#[cfg(feature = "serde")]
mod serialize;
mod settle;
mod snapshot;
mod template;

/// The vocabulary that all layers share: outcomes, backoffs, classifiers, events.
pub use aplomb_core as core;
pub use aplomb_core::{Dimension, Reading};
pub use charge::{Charge, Cost, FromBody, PerRequest};
pub use error::RateLimited;
#[doc(hidden)]
pub use layer::RateLimitPolicy;
pub use layer::{RateLimit, RateLimitLayer};
pub use learned::Learned;
pub use limiter::RateLimiter;
#[doc(hidden)]
pub use limiter_gate::LimiterGate;
#[doc(hidden)]
pub use limits::RateLimits;
pub use permit::RateLimitPermit;
pub use pool::Pool;
#[doc(hidden)]
pub use pool::PoolMember;
pub use quota::Quota;
pub use quotas::RateLimitReason;
#[doc(hidden)]
pub use quotas::{Quotas, Reservation, throttle_event};
pub use settle::Settle;
pub use snapshot::RateLimitSnapshot;
