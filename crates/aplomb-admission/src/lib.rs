#![doc = include_str!("../README.md")]

mod gate;
mod gated;
mod keyed;
mod queue;
#[cfg(test)]
mod testing;
mod until;

pub use gate::{Both, Decision, Either, End, Gate, Rests};
pub use gated::{Door, Gated, GatedFuture, Held, Plan, Unprepared};
pub use keyed::{Full, Idle, KeyNotice, KeyOf, KeyRefused, Keyed, KeyedDoor, Queues, Terms};
pub use queue::{Acquire, Closing, InLine, Permit, Queue, QueueLimits, Stopped, Turned, TurnedBecause, Wait};
pub use until::{AtBodyEnd, AtHead, BodyEnd, Guard, GuardedBody, Until};
