#![doc = include_str!("../README.md")]

mod abandoned_calls;
mod average_duration;
mod background_failures;
mod controller;
mod error;
mod gate;
mod keyed;
mod latency;
mod layer;
mod limit;
mod limiter;
mod rest;
mod sample_window;
mod slots;
mod slowdown;
mod snapshot;

pub use aplomb_core::ConcurrencyCause;
pub use error::{AtCapacity, Occupancy};
pub use gate::SlotToken;
pub use keyed::{KeyedConcurrencyLimit, KeyedConcurrencyLimitLayer, KeyedLimiter, SlotsTerms};
pub use latency::Latency;
pub use layer::{ConcurrencyLimit, ConcurrencyLimitLayer, SlotsDoor};
pub use limit::{Adaptive, Limit};
pub use limiter::Limiter;
pub use rest::SlotsAtRest;
pub use slots::Slots;
pub use snapshot::{ConcurrencySnapshot, LimitChange, TracingObserver};
