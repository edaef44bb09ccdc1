#![doc = include_str!("../README.md")]
mod between;
mod budget;
mod by_kind;
mod config;
mod delay;
mod discard;
mod event;
mod future;
mod headers;
mod layer;
mod progress;
mod repeatable;
mod run;
mod service;
mod steps;
mod stop;
mod trace;

/// The words all layers share: outcomes, backoffs, classifiers, options of a call.
pub use aplomb_core as core;
pub use budget::{Budget, BudgetSnapshot};
pub use by_kind::ByKind;
pub use delay::Throttled;
pub use discard::{Discard, Drain, Draining, Dropped};
pub use event::{Event, Retried, Stopped};
pub use future::ResponseFuture;
pub use layer::RetryLayer;
pub use repeatable::Repeatable;
pub use run::EveryError;
pub use service::Retry;
pub use stop::{AfterDelay, AfterRetries, And, Or, Stop, Upcoming};
pub use trace::TracingObserver;
