//! All layers, composed in the order that works.

mod admission;
mod answer_reader;
mod attempt_error;
mod attempt_request;
mod body;
mod broken_answer;
mod calibration;
mod classifier;
mod deadline;
mod estimate;
mod frame_buffer;
mod future;
mod gates;
mod handle;
mod hook;
mod in_force;
mod inspect;
mod inspected_body;
mod judge;
mod layer;
mod service;
mod snapshot;
mod stack;
mod state;
mod tenants;
mod timeouts;

pub(crate) use self::calibration::PromptEstimate;
pub(crate) use self::state::EndpointState;
pub(crate) use self::timeouts::Timeouts;

pub use self::body::EndpointBody;
use self::body::{ReadBody, UntilRead};
pub use self::broken_answer::BrokenAnswer;
use self::classifier::EndpointClassifier;
pub use self::deadline::DeadlinePassed;
pub(crate) use self::future::EndpointFuture;
pub use self::handle::EndpointHandle;
pub use self::hook::{HookFailed, OutgoingRequest, RequestHook};
use self::inspect::Inspect;
pub use self::layer::EndpointLayer;
pub use self::service::Endpoint;
pub use self::snapshot::EndpointSnapshot;
pub use self::timeouts::{TimedOut, Timeout};
