//! A circuit of its own for each key.

mod circuits;
mod error;
mod fail_fast;
mod layer;

pub use self::circuits::KeyedCircuits;
pub use self::error::TooManyKeys;
pub use self::fail_fast::CircuitOfKey;
pub use self::layer::{CircuitTerms, KeyedCircuitBreaker, KeyedCircuitBreakerLayer};
