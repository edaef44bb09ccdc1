#![doc = include_str!("../README.md")]

mod client;
mod factory;
#[cfg(feature = "middleware")]
mod middleware;
mod origin;
mod prepare;
mod request_builder;
mod request_ext;
mod response;
mod service;
mod transport;

pub use client::Client;
pub use factory::RequestFactory;
#[cfg(feature = "middleware")]
pub use middleware::{Middleware, NextService};
pub use request_builder::RequestBuilder;
pub use request_ext::RequestExt;
pub use response::ResponseBody;
pub use service::{Reqwest, ReqwestFuture, ReqwestLayer};
pub use transport::{Transport, TransportFuture};
