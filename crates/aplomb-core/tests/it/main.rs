//! The behaviour of the queue and of the service that all gates share.

mod gated;
mod gates;
mod queue;
