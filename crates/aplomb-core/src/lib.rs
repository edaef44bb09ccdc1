#![doc = include_str!("../README.md")]

mod backoff;
mod call;
mod classification;
mod classify;
mod current_call;
mod dimension;
mod error;
mod event;
mod exchange;
mod grpc_classifier;
mod head;
mod http_classifier;
mod in_memory;
mod key;
mod observe;
mod outcome;
mod reading;
mod reason;
mod rejection;
mod replay;
mod request_view;
mod retry_after;
mod short_duration;
mod transport;
mod unsendable;
mod usage;
mod wall_clock;

pub use backoff::{Backoff, Exponential, FailedAttempt, Jitter, backoff_fn};
pub use call::{CallOptions, Priority};
pub use classification::Classification;
pub use classify::Classify;
#[doc(hidden)]
pub use classify::WithReadings;
#[doc(hidden)]
pub use current_call::{AttemptStep, CurrentCall};
pub use dimension::Dimension;
pub use error::{BoxError, find, find_in};
pub use event::{
    CircuitCause, CircuitState, ConcurrencyCause, Event, EventKind, KeyLabel, LayerName, LogEvents,
    StopReason,
};
pub use exchange::Exchange;
#[doc(hidden)]
pub use exchange::{ExchangeRecord, ExchangeState};
pub use grpc_classifier::GrpcClassifier;
pub use head::{RequestHead, ResponseHead};
pub use http_classifier::HttpClassifier;
pub use in_memory::InMemory;
pub use key::{Account, CallKey};
pub use observe::Observe;
#[doc(hidden)]
pub use observe::{notify, notify_rejected};
#[doc(hidden)]
pub use outcome::Pacing;
pub use outcome::{Kind, Outcome, Scope};
pub use reading::Reading;
pub use reason::Reason;
pub use rejection::Rejection;
#[doc(hidden)]
pub use replay::Recording;
pub use replay::{Copied, Copyable, Once, Recorded, Replay, ReplayBody};
pub use request_view::RequestView;
#[doc(hidden)]
pub use request_view::split_authority;
#[doc(hidden)]
pub use retry_after::sent_at;
#[doc(hidden)]
pub use transport::is_connection_lost;
pub use usage::Usage;
pub use wall_clock::WallClock;
