#![doc = include_str!("../README.md")]

mod active_quota;
mod bucket;
mod charge;
mod cubic;
mod error;
mod keyed;
mod layer;
mod learned;
mod limiter;
mod pause;
mod permit;
mod pool;
mod quota;
mod quotas;
mod rate_estimator;
mod reported_limit;
mod settle;
mod snapshot;
mod source;
mod waiting;

pub use aplomb_core::{Dimension, ReadLimits, Reading};
pub use charge::{Charge, Cost, FromBody, PerRequest, from_body};
pub use error::Exceeded;
pub use keyed::{KeyedLimiter, KeyedRateLimit, KeyedRateLimitLayer, LimitTerms};
pub use layer::{LimitDoor, RateLimit, RateLimitLayer};
pub use learned::Learned;
pub use limiter::Limiter;
pub use permit::{Acquiring, Permit};
pub use pool::{Member, Pool};
pub use quota::Quota;
pub use quotas::{Quotas, QuotasAtRest, RateLimitReason as Limit, Reservation as Drawn};
pub use settle::Settle;
pub use snapshot::Snapshot;
pub use source::Source;
pub use waiting::Waiting;
