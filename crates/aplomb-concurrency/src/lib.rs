#![doc = include_str!("../README.md")]

mod abandoned;
mod control;
mod error;
mod faults;
mod keyed;
mod latency;
mod layer;
mod limit;
mod limit_change;
mod limiter;
mod pace;
mod rest;
mod slots;
mod slowness;
mod snapshot;
mod stretch;

pub use error::{AtCapacity, Occupancy};
pub use keyed::{KeyedConcurrencyLimit, KeyedConcurrencyLimitLayer, KeyedLimiter, SlotsTerms};
pub use latency::Latency;
pub use layer::{ConcurrencyLimit, ConcurrencyLimitLayer, SlotsDoor};
pub use limit::{Adaptive, Limit};
pub use limit_change::{LimitChange, LimitChangeCause, TracingObserver};
pub use limiter::Limiter;
pub use rest::SlotsAtRest;
pub use slots::{SlotToken, Slots};
pub use snapshot::ConcurrencySnapshot;
