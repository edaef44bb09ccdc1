#![doc = include_str!("../README.md")]

mod circuit;
mod cooldown;
mod detector;
mod error;
mod event;
mod fail_fast;
mod handle;
mod health;
mod layer;
mod on_open;
mod policy;
mod probes;
mod ramp;
mod rule;
mod trip;
mod watch;
mod window;

use std::time::Duration;

use tokio::time::Instant;

pub use aplomb_core::{CircuitCause, CircuitState};
pub use circuit::{Circuit, CircuitToken};
pub use cooldown::Cooldown;
pub use error::{CircuitOpen, OpenReason};
pub use event::{CircuitSnapshot, Transition};
pub use fail_fast::{FailFast, FailFastFuture, FailFastLayer};
pub use handle::CircuitHandle;
pub use layer::CircuitBreakerLayer;
pub use on_open::{OnAbandoned, OnOpen};
#[doc(hidden)]
pub use policy::CircuitPolicy;
pub use policy::{CircuitBreaker, CircuitBreakerFuture};
pub use probes::Probes;
pub use ramp::Ramp;
pub use rule::{CompletedCall, Rule};
pub use trip::{Slow, Trip};
pub use watch::StateWatch;
pub use window::{Window, WindowCounts};

/// `now + wait`, or about thirty years from now if that overflows.
fn later(now: Instant, wait: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    now.checked_add(wait).unwrap_or_else(|| now + FAR)
}
