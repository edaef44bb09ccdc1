//! Many clients, one row: which jitter gets them through. The example `jitter`.
//!
//! The comparison is that of Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog,
//! 2015), with its proportions and a hundred times its durations: a base of 0.5 s, a cap of 200 s, and
//! messages that take 1 s, give or take 0.2 s.

mod plot;
mod row;
mod strategy;
mod sweep;

pub use plot::{Measure, plot};
pub use row::{Contest, contend};
pub use strategy::Strategy;
pub use sweep::{Point, sweep};
