//! All layers, composed in the order that works.

mod admission;
mod answer_reader;
mod attempt_error;
mod attempt_request;
mod body;
mod broken_answer;
mod calibration;
mod call_stack;
mod classifier;
mod connections;
mod deadline;
mod estimate;
mod followed_server;
mod frame_buffer;
mod future;
mod gates;
mod handle;
mod hook;
mod in_force;
mod in_progress;
mod inspect;
mod inspected_body;
mod judge;
mod layer;
mod service;
mod settings;
mod snapshot;
mod stack;
mod state;
mod tenants;
mod timeouts;
mod unused_gates;

pub(crate) use self::calibration::PromptEstimate;
pub(crate) use self::state::EndpointState;
pub(crate) use self::timeouts::{MinThroughput, Timeouts};

pub use self::body::EndpointBody;
pub use self::broken_answer::BrokenAnswer;
pub use self::deadline::DeadlinePassed;
pub(crate) use self::future::EndpointFuture;
pub use self::handle::EndpointHandle;
pub use self::hook::{HookFailed, OutgoingRequest, RequestHook};
pub use self::layer::EndpointLayer;
pub use self::service::Endpoint;
pub use self::snapshot::EndpointSnapshot;
pub use self::timeouts::{TimedOut, Timeout};
