//! All layers, composed in the order that works.

mod answer;
mod deadline;
mod gates;
mod handle;
mod inspect;
mod layer;
mod read;
mod service;

pub use self::answer::{BrokenAnswer, EndpointClassifier};
pub use self::deadline::{Account, Deadline, DeadlineFuture, DeadlinePassed};
pub use self::gates::{EndpointDoor, Gates};
pub use self::handle::EndpointHandle;
pub use self::inspect::{Inspect, InspectFuture};
pub use self::layer::EndpointLayer;
pub use self::read::ReadBody;
pub use self::service::{Endpoint, EndpointBody, EndpointFuture};
