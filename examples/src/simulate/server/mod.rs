//! A server in virtual time that does what its [`World`] says.

mod body;
mod draw;
mod in_flight;
mod ledger;
pub(crate) mod limit;
mod mock;
pub(crate) mod model;
mod service;
mod words;
mod world;

pub use body::Body;
pub use ledger::{Came, Seen};
pub use service::Server;
pub use world::{
    Down, Fault, Headers, Hint, Latency, Limit, Outage, Refusal, Shape, Unit, What, Words, Work, World,
};
