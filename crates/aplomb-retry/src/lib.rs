#![doc = include_str!("../README.md")]
mod by_kind;
mod delay;
mod discard;
mod event;
mod future;
mod layer;
mod progress;
mod service;
mod trace;

pub use by_kind::ByKind;
pub use delay::Throttled;
pub use discard::{Discard, Drain, Draining, Dropped};
pub use event::{Event, Retried, Stopped};
pub use future::ResponseFuture;
pub use layer::RetryLayer;
pub use service::Retry;
pub use trace::TracingObserver;
