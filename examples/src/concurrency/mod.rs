//! A limit before a server that collapses under load: what happens, in virtual time.

mod client;
mod scene;
mod server;

pub use client::Client;
pub use scene::{
    Batch, CAPACITY, CHANGES, IDEAL, Moment, PROMPTS, WORKERS, adaptive, batch, changing, flaky,
    heavy_tailed, two_clients,
};
pub use server::{Server, TooMuch};
