#![doc = include_str!("../README.md")]

mod abandoned;
mod control;
mod error;
mod faults;
mod keyed;
mod latency;
mod layer;
mod limit;
mod limiter;
mod moved;
mod pace;
mod rest;
mod slots;
mod slowness;
mod snapshot;
mod stretch;

pub use error::{Saturated, Why};
pub use keyed::{KeyedConcurrencyLimit, KeyedConcurrencyLimitLayer, KeyedLimiter, SlotsTerms};
pub use latency::Latency;
pub use layer::{ConcurrencyLimit, ConcurrencyLimitLayer, SlotsDoor};
pub use limit::{Adaptive, Limit};
pub use limiter::Limiter;
pub use moved::{Cause, Moved, TracingObserver};
pub use rest::SlotsAtRest;
pub use slots::{Slot, Slots};
pub use snapshot::Snapshot;
