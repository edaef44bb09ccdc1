#![doc = include_str!("../README.md")]

mod abandoned_calls;
mod average_duration;
mod background_failures;
mod controller;
mod error;
mod gate;
mod latency;
mod layer;
mod limit;
mod limiter;
mod limits;
mod permit;
mod sample_window;
#[cfg(feature = "serde")]
mod serialize;
mod slots;
mod slowdown;
mod snapshot;
mod worth;

/// The vocabulary that all layers share: outcomes, backoffs, classifiers, events.
pub use aplomb_core as core;
pub use error::AtCapacity;
#[doc(hidden)]
pub use error::Occupancy;
#[doc(hidden)]
pub use gate::SlotToken;
pub use latency::Latency;
pub use layer::{ConcurrencyLimit, ConcurrencyLimitLayer};
pub use limit::{Adaptive, Limit};
pub use limiter::ConcurrencyLimiter;
#[doc(hidden)]
pub use limits::Limits;
pub use permit::ConcurrencyPermit;
pub use slots::Slots;
pub use snapshot::{ConcurrencySnapshot, LimitChange};
