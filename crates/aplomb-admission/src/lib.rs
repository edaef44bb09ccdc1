#![doc = include_str!("../README.md")]

mod admission;
mod completion;
mod entries;
mod gate;
mod handle;
mod key;
mod keyed;
mod layer_state;
mod queue;
pub mod server;
mod worth;

pub use admission::{Admission, AdmissionConfig, AdmissionFuture, HeadPolicy, PermitGuard, RequestPolicy};
pub use completion::{BodyEnd, Completion, GuardSlot, GuardedBody, OnBodyEnd, OnHead, ResponseGuard};
pub use entries::Entries;
pub use gate::{Decision, End, Gate, Hints, PooledGate, Progress};
pub use handle::Handle;
pub use key::{ErasedKey, KeyBy};
pub use keyed::{Full, Keyed};
pub use layer_state::{Configured, LayerState};
pub use queue::{Acquire, Closing, Permit, Queue, QueueLimits, RejectReason, Rejected, Wait};
pub use worth::{Evictable, Worth};
