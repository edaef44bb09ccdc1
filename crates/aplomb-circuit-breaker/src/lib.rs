#![doc = include_str!("../README.md")]

mod abandoned;
mod circuit;
mod cooldown;
mod error;
mod event;
mod handle;
mod health;
mod keyed;
mod layer;
mod monitor;
mod on_open;
mod probes;
mod ramp;
mod rule;
mod service;
mod shield;
mod sign;
mod slow;
mod trip;
mod watch;
mod window;

use std::time::Duration;

use tokio::time::Instant;

pub use abandoned::Abandoned;
pub use circuit::{Circuit, CircuitAtRest, Slip};
pub use cooldown::Cooldown;
pub use error::{Open, Why};
pub use event::{Cause, Snapshot, State, TracingObserver, Transition};
pub use handle::Handle;
pub use keyed::{
    CircuitOfKey, CircuitTerms, KeyedCircuitBreaker, KeyedCircuitBreakerLayer, KeyedCircuits, TooManyKeys,
};
pub use layer::CircuitBreakerLayer;
pub use on_open::OnOpen;
pub use probes::Probes;
pub use ramp::Ramp;
pub use rule::{Ended, Rule};
pub use service::{CircuitBreaker, CircuitDoor, ResponseFuture};
pub use shield::{Lookout, OneCircuit, Shield, ShieldFuture, ShieldLayer};
pub use slow::Slow;
pub use trip::Trip;
pub use watch::StateWatch;
pub use window::{Tally, Window};

/// `now + wait`, or about thirty years from now where that can not be told.
fn later(now: Instant, wait: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    now.checked_add(wait).unwrap_or_else(|| now + FAR)
}
