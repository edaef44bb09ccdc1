//! All layers, composed in the order that works.

mod answer;
mod body;
mod deadline;
mod gates;
mod handle;
mod inspect;
mod layer;
mod observer;
mod service;
mod timeouts;
mod watched;

pub use self::answer::{BrokenAnswer, EndpointClassifier};
pub use self::body::ReadBody;
pub use self::deadline::{Account, Deadline, DeadlineFuture, DeadlinePassed};
pub use self::gates::{EndpointDoor, Gates};
pub use self::handle::EndpointHandle;
pub use self::inspect::{Inspect, InspectFuture};
pub use self::layer::EndpointLayer;
pub use self::service::{Endpoint, EndpointBody, EndpointFuture};
pub use self::timeouts::{TimedOut, Timeout};
