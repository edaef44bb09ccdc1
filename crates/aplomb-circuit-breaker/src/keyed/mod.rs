//! A circuit of its own for each key.

mod circuits;
mod error;
mod layer;
mod shield;

pub use self::circuits::KeyedCircuits;
pub use self::error::TooManyKeys;
pub use self::layer::{CircuitTerms, KeyedCircuitBreaker, KeyedCircuitBreakerLayer};
pub use self::shield::CircuitOfKey;
