#![doc = include_str!("../README.md")]

mod backoff;
mod call;
mod classification;
mod classify;
mod dimension;
mod error;
mod event;
mod exchange;
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
mod retry_after;
mod retry_mark;
mod short_duration;
mod unsendable;
mod usage;
mod wall_clock;

pub use backoff::{
    Backoff, BackoffFn, Bounded, Constant, Delays, Exponential, Failed, Jitter, Jittered, Plus, Take, Then,
    Uniform, backoff_fn, delays,
};
pub use call::{CallOptions, Priority};
pub use classification::Classification;
pub use classify::{Classify, WithReadings};
pub use dimension::Dimension;
pub use error::{BoxError, find, find_in};
pub use event::{
    CircuitCause, CircuitState, ConcurrencyCause, Event, EventKind, KeyLabel, LayerName, LogEvents,
    StopReason,
};
pub use exchange::Exchange;
pub use head::{RequestHead, ResponseHead};
pub use http_classifier::HttpClassifier;
pub use in_memory::InMemory;
pub use key::{Account, CallKey};
pub use observe::{Observe, notify};
pub use outcome::{Kind, Outcome, Scope};
pub use reading::{ReadLimits, Reading};
pub use reason::Reason;
pub use rejection::Rejection;
pub use replay::{Copied, Copyable, Once, Recorded, Recording, Replay, ReplayBody, Superseded};
pub use retry_after::{retry_after, sent_at};
pub use retry_mark::{RetryMark, SetMark};
pub use usage::Usage;
pub use wall_clock::WallClock;
