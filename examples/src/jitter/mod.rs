//! The example `jitter`: many clients contend for one row, with different kinds of jitter.
//!
//! It repeats the comparison of Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015), with the same
//! proportions and a hundred times the durations: a base of 0.5 s, a cap of 200 s, and messages that take 1 s on average,
//! with a standard deviation of 0.2 s.

mod plot;
mod row;
mod strategy;
mod sweep;

pub use plot::{Measure, plot};
pub use row::{Contest, contend};
pub use strategy::Strategy;
pub use sweep::{Point, sweep};
