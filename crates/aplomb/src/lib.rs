#![doc = include_str!("../README.md")]

mod adapted_body;
mod client;
mod context;
mod endpoint;
mod error;
mod error_response;
mod policy;
mod report;
pub mod route;
mod router;

#[doc(hidden)]
pub use aplomb_admission as admission;
#[doc(inline)]
pub use aplomb_circuit_breaker as circuit_breaker;
#[doc(inline)]
pub use aplomb_concurrency as concurrency;
#[doc(inline)]
pub use aplomb_core as core;
#[doc(inline)]
pub use aplomb_provider as provider;
#[doc(inline)]
pub use aplomb_rate_limit as rate_limit;
#[doc(inline)]
pub use aplomb_retry as retry;

#[doc(hidden)]
pub use adapted_body::AdaptedBody;
pub use aplomb_admission::Closing;
pub use aplomb_core::{
    BoxError, CallOptions, Classification, Event, EventKind, Exchange, Kind, LayerName, LogEvents, Observe,
    Outcome, Priority, Reason, Rejection, RequestView, Scope, Usage, WallClock, find, find_in,
};
pub use client::HttpClient;
pub use endpoint::{
    BrokenAnswer, DeadlinePassed, Endpoint, EndpointBody, EndpointHandle, EndpointLayer, EndpointSnapshot,
    HookFailed, OutgoingRequest, RequestHook, TimedOut, Timeout,
};
pub use error::EndpointError;
pub use error_response::{ErrorResponse, ErrorResponseFuture, ErrorResponseLayer, Shape, ToResponse};
pub use policy::{InvalidPolicy, Policy};
pub use report::{Attempt, Report};
pub use router::{Router, RouterHandle, RouterLayer};
