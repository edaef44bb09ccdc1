#![doc = include_str!("../README.md")]

mod attempts;
mod backoff_wait;
mod budget;
mod by_kind;
mod call;
mod context;
mod decision;
mod discard;
mod future;
mod headers;
mod layer;
mod repeatable;
mod retried;
mod run;
mod service;
mod settings;
mod stop;

/// The vocabulary that all layers share: outcomes, backoffs, classifiers, events.
pub use aplomb_core as core;
pub use budget::{Budget, BudgetSnapshot};
pub use by_kind::ByKind;
pub use decision::Throttled;
pub use discard::{Discard, Draining};
pub use layer::RetryLayer;
pub use repeatable::Repeatable;
pub use retried::Retried;
pub use run::EveryError;
pub use service::Retry;
pub use stop::{After, Stop, Upcoming};
