//! A client in front of which each request is led to the endpoint of its route.

mod future;
mod layer;
mod service;

use self::future::RouterFuture;
pub use self::layer::{RouterHandle, RouterLayer};
pub use self::service::Router;
