//! The example `concurrency`: a concurrency limit in front of a server that collapses under load, in virtual time.

mod client;
mod scenario;
mod server;

pub use client::Client;
pub use scenario::{
    Batch, CAPACITY, CHANGES, IDEAL, Moment, PROMPTS, WORKERS, adaptive, batch, changing, flaky,
    heavy_tailed, two_clients,
};
pub use server::{Overloaded, Server};
