//! All layers, composed in the order that works.

mod answer;
mod attempts;
mod body;
mod calibration;
mod config;
mod deadline;
mod door;
mod entry;
mod frame_buffer;
mod future;
mod gates;
mod handle;
mod hook;
mod inspect;
mod keyed;
mod layer;
mod observer;
mod outbound;
mod sent;
mod service;
mod shared;
mod spent;
mod timeouts;
mod watched;

pub(crate) use self::entry::Entry;
pub(crate) use self::layer::Base;
pub(crate) use self::timeouts::Timeouts;

pub use self::answer::BrokenAnswer;
use self::answer::EndpointClassifier;
pub use self::body::EndpointBody;
use self::body::{ReadBody, UntilRead};
pub use self::deadline::DeadlinePassed;
pub use self::future::EndpointFuture;
pub use self::handle::{EndpointHandle, GatesHandle};
pub use self::hook::{HookFailed, HookFuture, Outgoing, RequestHook};
use self::inspect::Inspect;
pub use self::keyed::{KeyedEndpointHandle, KeyedEndpointLayer};
pub use self::layer::EndpointLayer;
pub use self::service::Endpoint;
pub use self::timeouts::{TimedOut, Timeout};
