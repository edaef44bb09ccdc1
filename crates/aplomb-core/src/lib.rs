#![doc = include_str!("../README.md")]

mod backoff;
mod call;
mod classify;
mod dimension;
mod error;
mod exchange;
mod gate;
mod gated;
mod head;
mod http_classifier;
mod in_memory;
mod keyed;
mod observe;
mod outcome;
mod queue;
mod reading;
mod refused;
mod replay;
mod retry_after;
mod retry_mark;
#[cfg(test)]
mod testing;
mod unsendable;
mod until;
mod usage;
mod wall_clock;

pub use backoff::{
    Backoff, BackoffFn, Bounded, Constant, Delays, Exponential, Failed, Jitter, Jittered, Plus, Take, Then,
    Uniform, backoff_fn, delays,
};
pub use call::{CallOptions, Priority};
pub use classify::{Classify, Verdict, WithReadings};
pub use dimension::Dimension;
pub use error::{BoxError, find, find_in, innermost};
pub use exchange::Exchange;
pub use gate::{Both, Decision, Either, End, Gate, Rests};
pub use gated::{Door, Gated, GatedFuture, Held, Plan, Unprepared};
pub use head::{RequestHead, ResponseHead};
pub use http_classifier::HttpClassifier;
pub use in_memory::InMemory;
pub use keyed::{
    Account, CallKey, Full, Idle, KeyNotice, KeyOf, KeyRefused, Keyed, KeyedDoor, Queues, Terms,
};
pub use observe::Observe;
pub use outcome::{Kind, Outcome, Scope};
pub use queue::{Acquire, Closing, InLine, Permit, Queue, QueueLimits, Stopped, Turned, TurnedBecause, Wait};
pub use reading::{ReadLimits, Reading};
pub use refused::Refused;
pub use replay::{Copied, Copyable, Once, Recorded, Recording, Replay, ReplayBody, Superseded};
pub use retry_after::{retry_after, sent_at};
pub use retry_mark::{RetryMark, SetMark};
pub use until::{AtBodyEnd, AtHead, BodyEnd, Guard, GuardedBody, Until};
pub use usage::Usage;
pub use wall_clock::WallClock;
