#![doc = include_str!("../README.md")]

mod circuit;
mod circuits;
mod cooldown;
mod detector;
mod error;
mod fail_fast;
mod handle;
mod health;
mod layer;
mod on_open;
mod permit;
mod probes;
mod ramp;
mod rule;
#[cfg(feature = "serde")]
mod serialize;
mod settings;
mod snapshot;
mod trip;
mod window;

use std::time::Duration;

use tokio::time::Instant;

/// The vocabulary that all layers share: outcomes, backoffs, classifiers, events.
pub use aplomb_core as core;
pub use aplomb_core::CircuitState;
#[doc(hidden)]
pub use circuit::{Circuit, CircuitToken};
#[doc(hidden)]
pub use circuits::Circuits;
pub use cooldown::Cooldown;
pub use error::CircuitOpen;
#[doc(hidden)]
pub use error::OpenReason;
pub use fail_fast::{FailFast, FailFastLayer};
pub use handle::CircuitHandle;
pub use layer::{CircuitBreaker, CircuitBreakerLayer};
pub use on_open::{OnAbandoned, OnOpen};
pub use permit::CircuitPermit;
pub use probes::Probes;
pub use ramp::Ramp;
pub use rule::{CompletedCall, Rule};
pub use settings::CircuitSettings;
pub use snapshot::CircuitSnapshot;
#[doc(hidden)]
pub use snapshot::Transition;
pub use trip::{Slow, Trip};
pub use window::{Window, WindowCounts};

/// `now + wait`, or about thirty years from now if that overflows.
fn later(now: Instant, wait: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    now.checked_add(wait).unwrap_or_else(|| now + FAR)
}
