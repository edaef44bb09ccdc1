#![doc = include_str!("../README.md")]

mod admission;
mod completion;
mod gate;
mod keyed;
mod queue;

pub use admission::{Admission, AdmissionConfig, AdmissionFuture, Door, PermitGuard, Unprepared};
pub use completion::{BodyEnd, Completion, GuardedBody, OnBodyEnd, OnHead, ResponseGuard};
pub use gate::{Decision, End, Gate, Hints, PooledGate, Progress};
pub use keyed::{Full, Idle, KeyNotice, KeyOf, KeyRefused, Keyed, KeyedDoor, Queues, Rests, Terms};
pub use queue::{
    Acquire, Closing, Permit, Queue, QueueLimits, Queued, RejectReason, Rejected, Stopped, Wait,
};
